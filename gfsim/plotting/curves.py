"""Curves and laws on axes of the caller's choice."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike

from gfsim.plotting.style import COLOURS, current_axes


def power_law(
    x: ArrayLike,
    y: ArrayLike,
    exponent: float | int,
    prefactor: float | None = None,
    *,
    ax: Axes | None = None,
    **marks: Any,
) -> tuple[Line2D, Line2D]:
    """Measured points on logarithmic axes, and prefactor·x^exponent as a line through the range of x.

    Without a prefactor the line has the predicted exponent alone and goes through the points' mean. `marks` are
    matplotlib's properties of the points. Returns the artists of points and line.
    """
    ax = current_axes(ax)
    x, y = np.asarray(x, float), np.asarray(y, float)
    if prefactor is None:
        prefactor = _through_mean(x, y, exponent)
    ends = np.array([x.min() / 1.3, x.max() * 1.3])
    (line,) = ax.loglog(ends, prefactor * ends**exponent, color=COLOURS["theory"], lw=0.7, zorder=1)
    (points,) = ax.loglog(x, y, **{"ls": "", "marker": "o", "ms": 3.5, "zorder": 2, **marks})
    return points, line


def residuals(
    x: ArrayLike,
    y: ArrayLike,
    exponent: float | int,
    prefactor: float | None = None,
    *,
    ax: Axes | None = None,
    **marks: Any,
) -> Line2D:
    """y/(prefactor·x^exponent) − 1 in percent against x, for the same arguments as `power_law`.

    Returns the artist of the points; x is logarithmic, and a line marks zero.
    """
    ax = current_axes(ax)
    x, y = np.asarray(x, float), np.asarray(y, float)
    if prefactor is None:
        prefactor = _through_mean(x, y, exponent)
    ax.axhline(0, color=COLOURS["theory"], lw=0.7, zorder=1)
    percent = 100 * (y / (prefactor * x**exponent) - 1)
    (points,) = ax.semilogx(x, percent, **{"ls": "", "marker": "o", "ms": 2.5, "zorder": 2, **marks})
    return points


def weight_images(weights: ArrayLike, limit: float, *, axes: ArrayLike) -> list[Any]:
    """Each row of `weights` as a square image on one of `axes`, red positive and blue negative up to ±limit.

    `weights` has shape (images, side²); `axes` holds as many axes. Returns the images.
    """
    images = []
    for row, ax in zip(np.asarray(weights), np.asarray(axes, dtype=object).ravel(), strict=True):
        side = round(row.size**0.5)
        images.append(ax.imshow(row.reshape(side, side), cmap="RdBu_r", vmin=-limit, vmax=limit))
        ax.set(xticks=[], yticks=[])
        for spine in ax.spines.values():
            spine.set(visible=True, linewidth=0.3)
    return images


def _through_mean(x: np.ndarray, y: np.ndarray, exponent: float | int) -> float:
    return float(np.exp(np.mean(np.log(y) - exponent * np.log(x))))
