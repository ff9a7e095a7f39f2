"""Phase portraits of the sphere."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Circle
from numpy.typing import ArrayLike

from gfsim.checks import real_array
from gfsim.plotting.phase import Background, background_values, draw_curves
from gfsim.plotting.style import COLOURS, lined

if TYPE_CHECKING:
    from gfsim.portraits import Portrait

# A line that crosses the rim is drawn this far beyond it, and clipped.
_OVER = 0.03
_NAMES = ("$u_1$", "$u_2$", "$u_3$")


def sphere_portrait(
    field: "Portrait | Any",
    *,
    axes: Sequence[Axes] | np.ndarray | None = None,
    background: Background | None = None,
    arrows: bool = True,
    names: Sequence[str] = _NAMES,
    **computing: Any,
) -> list[dict[str, Any]]:
    """A phase portrait of S² on two axes: the hemispheres u₃ ≥ 0 and u₃ ≤ 0, both seen from above.

    Each is Lambert's azimuthal projection, (u₁, u₂)/√(1 + |u₃|): equal areas of the sphere are equal areas of the
    drawing, so that a basin's area is the share of uniformly drawn directions that it takes. An orthographic view
    would hide what lies near the rim, and no map of the whole sphere on one sheet keeps areas without tearing.

    `field` is a `gfsim.portraits.Portrait`, drawn without solving, or what `gfsim.portraits.spherical` takes, with
    `computing`. The other arguments are those of `phase_portrait`. Returns the artists of each hemisphere by name.

    Raises TypeError or ValueError for a portrait of the plane, for other than two axes and three names, and for options
    that a computed portrait leaves no room for.
    """
    from gfsim.portraits import Portrait

    # Before what takes long.
    if len(names) != 3:
        raise ValueError(f"names must be three, was {names!r}")
    pair = plt.gcf().subplots(1, 2) if axes is None else _pair(axes)
    if not isinstance(field, Portrait):
        from gfsim.portraits import spherical

        field = spherical(field, **computing)
    elif computing:
        raise ValueError("options of the computation must be left out for a Portrait, which is computed")
    if not field.spherical:
        raise ValueError("field must be a portrait of the sphere, was of the plane (use phase_portrait)")
    values, look = background_values(field, background)
    drawn = []
    for side, ax in zip((1, -1), pair, strict=True):
        artists: dict[str, Any] = {}
        if values is not None:
            half = values[0 if side > 0 else 1]
            artists["background"] = ax.imshow(half, extent=(-1, 1, -1, 1), origin="lower", zorder=0, **look)
        artists |= draw_curves(ax, field, lambda points, side=side: hemisphere(points, side), arrows)
        rim = Circle((0, 0), 1, fill=False, lw=0.6, ec="black", zorder=5)
        ax.add_patch(rim)
        for name in ("background", "streamlines", "stable manifold", "unstable manifold", "arrows"):
            if artists.get(name) is not None:
                artists[name].set_clip_path(rim)
        ax.set(xlim=(-1.05, 1.05), ylim=(-1.05, 1.05), aspect="equal", xticks=[], yticks=[])
        for spine in ax.spines.values():
            spine.set_visible(False)
        ax.set(xlabel=f"{names[0]}   ({names[2]} {'>' if side > 0 else '<'} 0)", ylabel=names[1])
        drawn.append(artists)
    return drawn


def sphere_points(directions: ArrayLike, axes: Sequence[Axes] | np.ndarray, **look: Any) -> list[Any]:
    """Directions, shape (members, 3), as points on the axes of a `sphere_portrait`; returns the artists.

    `look` holds matplotlib's properties of the points. Raises ValueError for a direction of norm zero.
    """
    look = lined(look, linestyle="", marker="o", markersize=2, color=COLOURS["reference"], zorder=3)
    u = real_array("directions", directions, "T", 3)
    norms = np.linalg.norm(u, axis=1, keepdims=True)
    if not np.all((norms > 0) & np.isfinite(norms)):
        raise ValueError("directions must have positive, finite norms, one had not")
    u = u / norms
    artists = []
    for side, ax in zip((1, -1), _pair(axes), strict=True):
        # On the rim a direction belongs to one hemisphere.
        own = u[u[:, 2] >= 0] if side > 0 else u[u[:, 2] < 0]
        artists += ax.plot(*hemisphere(own, side).T, **look)
    return artists


def _pair(axes: Sequence[Axes] | np.ndarray) -> list[Axes]:
    pair = list(axes) if isinstance(axes, (Sequence, np.ndarray)) else []
    if len(pair) != 2 or not all(isinstance(ax, Axes) for ax in pair):
        raise TypeError(f"axes must be two matplotlib axes, was {axes!r}")
    return pair


def hemisphere(points: np.ndarray, side: int) -> np.ndarray:
    """Lambert's projection of the points with side·u₃ ≥ 0, or little less; NaN for the others."""
    height = side * points[:, 2]
    shown = np.where(height > -_OVER, height, np.nan)
    return points[:, :2] / np.sqrt(1 + shown)[:, None]
