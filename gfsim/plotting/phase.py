"""Phase portraits of the plane."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.patheffects import withStroke
from numpy.typing import ArrayLike

from gfsim.checks import real_array
from gfsim.plotting.style import COLOURS, current_axes, lined
from gfsim.portraits import Portrait

Background = Literal["level", "speed", "outside", "basin", "none"]
# A minimum is a place to stay, a maximum a hole, a saddle a crossing.
POINT_MARKS: dict[str, dict[str, Any]] = {
    "minimum": {"marker": "o", "mfc": "black"},
    "saddle": {"marker": "X", "mfc": "white"},
    "maximum": {"marker": "o", "mfc": "white"},
    "degenerate": {"marker": "s", "mfc": COLOURS["reference"]},
    "sink": {"marker": "o", "mfc": "black"},
    "source": {"marker": "o", "mfc": "white"},
    "centre": {"marker": "o", "mfc": COLOURS["reference"]},
}
# Neighbours differ in lightness too.
_BASIN_COLOURS = ("#56B4E9", "#E69F00", "#009E73", "#CC79A7", "#0072B2", "#D55E00")


def phase_portrait(
    field: Portrait | Any,
    x: tuple[float | int, float | int] | None = None,
    y: tuple[float | int, float | int] | None = None,
    *,
    ax: Axes | None = None,
    background: Background | None = None,
    nullclines: bool = False,
    arrows: bool = True,
    **computing: Any,
) -> dict[str, Any]:
    """A phase portrait on axes of the caller's choice.

    **Arguments:**

    - `field`: a `gfsim.portraits.Portrait`, which is drawn without solving; or what `gfsim.portraits.planar` takes (a
      problem of two parameters, a plane through a larger one, a function R² → R²) with its window `x`, `y` and
      `computing`.
    - `background`: the "level" of the descended function or the "speed", in logarithmic shades of grey; the share of
      the velocity that leaves the plane ("outside", white where none does, 1 is black); "basin"; or "none". By default
      "outside" where the plane is left, so that nobody is misled, and "level" or "speed" elsewhere.
    - `nullclines`: also draw where one component of the velocity vanishes, dashed for the first, dotted for the second.

    Streamlines are thin and grey; manifolds of saddles blue, dashed where stable; level sets of a conserved quantity
    dotted; curves of degenerate points thick, dotted where they repel. A minimum or sink is a black disc, a maximum or
    source a white one, a saddle a white cross, a centre a grey disc, a degenerate point a grey square. Returns the
    artists by name.

    Raises ValueError for a portrait of the sphere, for ranges and options that a computed portrait leaves no room for,
    for ranges left out where one is to be computed, and for an unknown background.
    """
    if not isinstance(field, Portrait):
        if x is None or y is None:
            raise ValueError("x, y must be given as ranges where field is not a Portrait, were left out")
        from gfsim.portraits import planar

        field = planar(field, x, y, **computing)
    elif computing or x is not None or y is not None:
        raise ValueError("x, y and options of the computation must be left out for a Portrait, which is computed")
    if field.spherical:
        raise ValueError("field must be a portrait of the plane, was of the sphere (use sphere_portrait)")
    ax = current_axes(ax)
    axis_x, axis_y = field.grid[0, :, 0], field.grid[:, 0, 1]
    artists: dict[str, Any] = {}
    values, look = background_values(field, background)
    if values is not None:
        extent = (axis_x[0], axis_x[-1], axis_y[0], axis_y[-1])
        artists["background"] = ax.imshow(
            values, extent=extent, origin="lower", aspect="auto", interpolation="bilinear", zorder=0, **look
        )
    conserved = np.ma.masked_invalid(field.conserved)
    if conserved.count():
        # Through values at the places where a regular pattern would be, whatever the scale of the quantity.
        heights = np.unique(np.quantile(conserved.compressed(), np.linspace(0.05, 0.95, 9)))
        artists["conserved"] = ax.contour(
            axis_x, axis_y, conserved, heights, colors=COLOURS["theory"], linewidths=0.5, linestyles="dotted"
        )
    if nullclines:
        for k, dashes in ((0, (0, (4, 2))), (1, (0, (1, 1.5)))):
            artists[f"nullcline {k}"] = ax.contour(
                axis_x,
                axis_y,
                field.velocity[..., k],
                [0],
                colors=COLOURS["other"],
                linewidths=0.8,
                linestyles=[dashes],
            )
    artists |= draw_curves(ax, field, lambda points: points, arrows)
    ax.set(xlim=(axis_x[0], axis_x[-1]), ylim=(axis_y[0], axis_y[-1]))
    return artists


def background_values(portrait: Portrait, background: Background | None) -> tuple[np.ndarray | None, dict[str, Any]]:
    """What the background shows, and matplotlib's colours for it."""
    if background not in (None, "level", "speed", "outside", "basin", "none"):
        raise ValueError(f"background must be level, speed, outside, basin or none, was {background!r}")
    leaves = bool(np.nanmax(portrait.outside) > 1e-6)
    known = bool(np.isfinite(portrait.level).any())
    if background == "basin" and not np.any(portrait.basin >= 0):
        raise ValueError('background must be another than basin, of which the portrait has none (parts=("basins", …))')
    background = background or ("outside" if leaves else "level" if known else "speed")
    if background == "none" or (background == "level" and not known):
        return None, {}
    if background == "outside":
        # No darker than lets the streamlines be seen.
        return portrait.outside, {"cmap": "Greys", "vmin": 0.0, "vmax": 1.0, "alpha": 0.4}
    if background == "basin":
        return _basin_colours(portrait), {"alpha": 0.35}
    values = portrait.level if background == "level" else np.linalg.norm(portrait.velocity, axis=-1)
    values = np.where(np.isfinite(values), values, np.nan)
    if np.nanmin(values) >= 0:
        largest = np.nanmax(values)
        values = np.log10(np.maximum(values, 1e-6 * (largest if largest > 0 else 1.0)))
        return values, {"cmap": "Greys", "alpha": 0.45}
    # No logarithm tames a level of both signs, which often is steep in a corner of the window.
    return values, {"cmap": "Greys", "alpha": 0.45, "vmax": float(np.nanquantile(values, 0.9))}


def basin_palette(portrait: Portrait) -> dict[int, str]:
    """The colour of every basin that the portrait's grid meets, by its label. Raises TypeError for no portrait."""
    if not isinstance(portrait, Portrait):
        raise TypeError(f"portrait must be a gfsim.portraits.Portrait, was {type(portrait).__name__}")
    labels = np.unique(portrait.basin[portrait.basin >= 0])
    return {int(label): _BASIN_COLOURS[k % len(_BASIN_COLOURS)] for k, label in enumerate(labels)}


def _basin_colours(portrait: Portrait) -> np.ndarray:
    """The colour (…, 4) of every grid point's basin; transparent where it has none."""
    colours = np.zeros((*portrait.basin.shape, 4))
    for label, colour in basin_palette(portrait).items():
        colours[portrait.basin == label] = to_rgba(colour)
    return colours


def draw_curves(ax: Axes, portrait: Portrait, project: Any, arrows: bool) -> dict[str, Any]:
    """Streamlines, manifolds, curves and points, after `project` has taken them to the plane of the drawing."""
    artists: dict[str, Any] = {}

    def line(name: str, points: np.ndarray, **look: Any) -> None:
        if len(points):
            (artists[name],) = ax.plot(*project(points).T, label=name, **look)

    thin = {"color": COLOURS["reference"], "lw": 0.4, "zorder": 1.5}
    line("streamlines", portrait.streamlines, **thin)
    if arrows and len(portrait.streamlines):
        artists["arrows"] = _arrows(ax, project(portrait.streamlines))
    # Thinner than the runs that `path` draws, which are of the same colour because they are of the same flow.
    line("stable manifold", portrait.stable, color=COLOURS["flow"], lw=0.8, ls=(0, (3, 1.2)), zorder=2.2)
    line("unstable manifold", portrait.unstable, color=COLOURS["flow"], lw=0.8, zorder=2.3)
    attracting = portrait.attracting[:, None]
    for name, wanted, ls in (("degenerate minima", 1.0, "-"), ("degenerate, repelling", 0.0, ":")):
        shown = np.where(attracting == wanted, portrait.curves, np.nan)
        if np.isfinite(shown).any():
            line(name, shown, color="black", lw=1.8, ls=ls, zorder=2.4)
    for kind, marks in POINT_MARKS.items():
        if chosen := [k for k, own in enumerate(portrait.kind) if own == kind]:
            line(kind, portrait.points[chosen], ls="", ms=4, mec="black", mew=0.7, zorder=4, **marks)
    return artists


def path(
    points: ArrayLike,
    t: ArrayLike | None = None,
    marks: Sequence[float | int] = (),
    *,
    ax: Axes | None = None,
    **look: Any,
) -> list[Any]:
    """A trajectory in the plane: its start as a dot, and white dots at the times `marks` with their numbers.

    `points` has shape (T, 2), `t` (T,); places between two rows are interpolated. `look` holds matplotlib's properties
    of the line. Returns the artists.

    Raises TypeError or ValueError for other shapes, for marks without the times `t` or outside of them, and for times
    that fall.
    """
    ax = current_axes(ax)
    points = real_array("points", points, "T", 2)
    places = _marked(points, t, marks)
    look = lined(look, color=COLOURS["flow"], linewidth=1.5, zorder=3)
    artists: list[Any] = [*ax.plot(*points.T, **look)]
    artists += ax.plot(*points[0], "o", ms=2.5, color=look["color"], zorder=3.1)
    if len(places):
        artists += ax.plot(*places.T, "o", ms=3, mew=0.7, mfc="white", mec=look["color"], zorder=3.1)
    halo = [withStroke(linewidth=1.2, foreground="white")]
    artists += [
        ax.annotate(f"{mark:g}", place, xytext=(3, -4), textcoords="offset points", size=5, zorder=5, path_effects=halo)
        for mark, place in zip(marks, places, strict=True)
    ]
    return artists


def _marked(points: np.ndarray, t: ArrayLike | None, marks: Sequence[float | int]) -> np.ndarray:
    """Where the trajectory is at the times `marks`, (marks, 2)."""
    if not len(points):
        raise ValueError("points must be one row or more, was none")
    wanted = real_array("marks", marks)
    if wanted.ndim != 1:
        raise ValueError(f"marks must be a sequence of times, was {marks!r}")
    if t is None:
        if len(wanted):
            raise ValueError("t must be given with marks, was left out")
        return np.zeros((0, 2))
    times = real_array("t", t)
    if times.shape != points.shape[:1] or not np.all(np.diff(times) >= 0):
        raise ValueError(f"t must hold {len(points)} times that do not fall, had shape {times.shape}")
    # The last row of a run may miss a time by rounding.
    slack = 1e-9 * np.abs(times[[0, -1]])
    if not np.all((times[0] - slack[0] <= wanted) & (wanted <= times[-1] + slack[1])):
        raise ValueError(f"marks must lie between {times[0]:g} and {times[-1]:g}, was {list(marks)}")
    return np.stack([np.interp(wanted, times, column) for column in points.T], axis=1)


def iterates(points: ArrayLike, *, ax: Axes | None = None, **look: Any) -> Any:
    """Iterates of a descent as points joined by straight steps; `points` has shape (T, 2).

    `look` holds matplotlib's properties of the line.
    """
    ax = current_axes(ax)
    look = lined(look, color=COLOURS["gradient descent"], marker="o", markersize=2, linewidth=0.5, zorder=3.2)
    return ax.plot(*real_array("points", points, "T", 2).T, **look)[0]


def _arrows(ax: Axes, points: np.ndarray) -> Any:
    """A head in the middle of each curve."""
    breaks = np.flatnonzero(np.isnan(points[:, 0]))
    at, along = [], []
    for start, end in zip(np.concatenate([[0], breaks[:-1] + 1]), breaks, strict=True):
        middle = (start + end) // 2
        if end - start > 4 and np.isfinite(points[middle - 1 : middle + 2]).all():
            at.append(points[middle])
            along.append(points[middle + 1] - points[middle - 1])
    if not at:
        return None
    at, along = np.array(at), np.array(along)
    along = along / np.maximum(np.linalg.norm(along, axis=1, keepdims=True), np.finfo(float).tiny)
    # Three points long on paper, in the direction that the curve has there whatever the axes' scales.
    look = {"units": "inches", "width": 0.006, "headwidth": 7, "headlength": 7, "headaxislength": 6, "minlength": 0}
    place = {"angles": "xy", "scale_units": "inches", "scale": 1 / 0.042, "pivot": "mid", "zorder": 1.6}
    return ax.quiver(*at.T, *along.T, color=COLOURS["reference"], **look, **place)
