"""A record as a film: paths and curves drawn up to a moment that moves."""

from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import xarray
from matplotlib.animation import FuncAnimation
from matplotlib.figure import Figure
from matplotlib.image import BboxImage

from gfsim.checks import positive_integer
from gfsim.plotting.series import Plane, Series, unfold
from gfsim.plotting.style import COLOURS, style

_CURVES = 3
MOST_FRAMES = 2000
_PALETTE = [COLOURS[name] for name in ("flow", "gradient descent", "modified", "central", "other", "correlation flow")]


def film(record: xarray.Dataset, clock: str | None = None, frames: int = 120) -> FuncAnimation:
    """An animation of the record's first plane of states and up to three of its curves along one clock.

    `clock` is a dimension of the record, by default the one that most curves and planes have. Save the result with
    `film(record).save("film.gif", writer="pillow")`. `gfsim.plotting.series` says what is read as a clock.

    Raises ValueError where the record has no clock, or not this one, or for fewer than two frames or more than
    2,000, which a GIF would hold in memory all at once.
    """
    series, planes = unfold(record)
    clocks = [panel.clock for panel in (*planes, *series)]
    if not clocks:
        raise ValueError("record must hold a curve along a clock (time, row, step, …), was without one")
    clock = max(dict.fromkeys(clocks), key=clocks.count) if clock is None else clock
    if clock not in clocks:
        raise ValueError(f"clock must be one of {', '.join(dict.fromkeys(clocks))}, was {clock!r}")
    if not 2 <= positive_integer("frames", frames) <= MOST_FRAMES:
        raise ValueError(f"frames must be at least 2 and at most {MOST_FRAMES}, was {frames}")
    panels = [p for p in planes if p.clock == clock][:1] + [s for s in series if s.clock == clock][:_CURVES]
    with style("beamer"):
        figure, axes = plt.subplots(1, len(panels), squeeze=False, figsize=(2.4 * len(panels), 2.2), dpi=150)
        drawn = [_prepare(ax, panel) for ax, panel in zip(axes[0], panels, strict=True)]
        _still(figure, [artist for *_, pairs in drawn for pair in pairs for artist in pair])
    rows = max(y.shape[1] for _, y, _ in drawn)

    def update(frame: int) -> list[Any]:
        last = round(frame / (frames - 1) * (rows - 1))
        for x, y, artists in drawn:
            for k, (line, head) in enumerate(artists):
                line.set_data(x[k, : last + 1], y[k, : last + 1])
                head.set_data(x[k, last : last + 1], y[k, last : last + 1])
        return [artist for _, _, pairs in drawn for pair in pairs for artist in pair]

    return FuncAnimation(figure, update, frames=frames, interval=50, blit=False)


def _still(figure: Figure, moving: list[Any]) -> None:
    """Layout, axes, ticks and texts are drawn once, and are a picture behind what moves from then on."""
    figure.canvas.draw()
    # Left with any engine, even the empty one, matplotlib would walk through the figure twice for each frame.
    with mpl.rc_context({"figure.constrained_layout.use": False}):
        figure.set_layout_engine(None)
    picture = np.array(figure.canvas.buffer_rgba())  # pyright: ignore[reportAttributeAccessIssue]
    for ax in figure.axes:
        for artist in set(ax.get_children()) - set(moving):
            artist.set_visible(False)
    behind = BboxImage(figure.bbox, interpolation="none", origin="upper", zorder=-1)
    behind.set_data(picture)
    figure.add_artist(behind)


def _prepare(ax: Any, panel: Series | Plane) -> tuple[np.ndarray, np.ndarray, list[Any]]:
    """Pale whole curves, which fix the limits, and the artists that move over them."""
    if isinstance(panel, Plane):
        x, y = panel.points[..., 0], panel.points[..., 1]
        ax.set(xlabel=panel.axes[0], ylabel=panel.axes[1], title=panel.name)
    else:
        x, y = panel.x, panel.y
        ax.set(xlabel=panel.x_name, ylabel=panel.name)
        for name, values in (("x", x), ("y", y)):
            if _spans_decades(values):
                ax.set(**{f"{name}scale": "log"})
    artists = []
    for k in range(len(y)):
        colour = _PALETTE[k % len(_PALETTE)]
        ax.plot(x[k], y[k], color=COLOURS["reference"], lw=0.4, alpha=0.5)
        (line,) = ax.plot([], [], color=colour)
        (head,) = ax.plot([], [], "o", ms=3, color=colour)
        artists.append((line, head))
    if 1 < len(y) <= len(_PALETTE):
        ax.legend([line for line, _ in artists], panel.labels)
    return x, y, artists


def _spans_decades(values: np.ndarray) -> bool:
    values = values[np.isfinite(values)]
    positive = values[values > 0]
    return positive.size > 0 and bool((values >= 0).all()) and bool(positive.max() > 300 * positive.min())
