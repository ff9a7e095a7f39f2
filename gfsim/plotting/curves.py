"""Curves and laws on axes of the caller's choice."""

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike

from gfsim.checks import finite_array, real_array, real_number
from gfsim.plotting.style import COLOURS, current_axes, lined


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

    Raises TypeError or ValueError unless x and y are positive, finite and of one shape (n,), the exponent a finite
    number and the prefactor a positive one.
    """
    x, y, exponent, prefactor = _checked_law(x, y, exponent, prefactor)
    ax = current_axes(ax)
    ends = np.array([x.min() / 1.3, x.max() * 1.3])
    (line,) = ax.loglog(ends, prefactor * ends**exponent, color=COLOURS["theory"], lw=0.7, zorder=1)
    (points,) = ax.loglog(x, y, **lined(marks, linestyle="", marker="o", markersize=3.5, zorder=2))
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

    Raises TypeError and ValueError where `power_law` does.
    """
    x, y, exponent, prefactor = _checked_law(x, y, exponent, prefactor)
    ax = current_axes(ax)
    ax.axhline(0, color=COLOURS["theory"], lw=0.7, zorder=1)
    percent = 100 * (y / (prefactor * x**exponent) - 1)
    (points,) = ax.semilogx(x, percent, **lined(marks, linestyle="", marker="o", markersize=2.5, zorder=2))
    return points


def weight_images(weights: ArrayLike, limit: float | int, *, ax: Axes | None = None) -> list[AxesImage]:
    """Each row of `weights` as a square image, one beside the other, red positive and blue negative up to ±limit.

    `weights` has shape (images, side²). Returns the images.

    Raises TypeError or ValueError for weights of another shape or that are not finite, and a limit that is not positive
    and finite.
    """
    weights = finite_array("weights", weights)
    side = math.isqrt(weights.shape[-1]) if weights.ndim == 2 else 0
    if weights.shape[1:] != (side**2,) or not weights.size:
        raise ValueError(f"weights must have shape (images, side²), was {weights.shape}")
    if not 0 < real_number("limit", limit) < np.inf:
        raise ValueError(f"limit must be positive and finite, was {limit}")
    ax = current_axes(ax)
    images, apart = [], 1.5
    for k, row in enumerate(weights):
        extent = k * apart, k * apart + 1, 1, 0
        images.append(ax.imshow(row.reshape(side, side), extent=extent, cmap="RdBu_r", vmin=-limit, vmax=limit))
        ax.add_patch(Rectangle((k * apart, 0), 1, 1, fill=False, lw=0.3, clip_on=False))
    ax.set(xlim=(0, (len(weights) - 1) * apart + 1), ylim=(1, 0))
    ax.axis("off")
    return images


def _checked_law(
    x: ArrayLike, y: ArrayLike, exponent: float | int, prefactor: float | None
) -> tuple[np.ndarray, np.ndarray, float, float]:
    """The same as arrays and numbers, with the prefactor of the line through the mean where none is given."""
    x, y = real_array("x", x), real_array("y", y)
    if x.ndim != 1 or x.size == 0 or x.shape != y.shape:
        raise ValueError(f"x and y must be 1-d, not empty and of equal length, had shapes {x.shape}, {y.shape}")
    for name, values in (("x", x), ("y", y)):
        if not np.all((values > 0) & np.isfinite(values)):
            raise ValueError(f"{name} of a power law must be positive and finite, held {values.min():g}")
    exponent = real_number("exponent", exponent)
    if not np.isfinite(exponent):
        raise ValueError(f"exponent must be finite, was {exponent}")
    if prefactor is None:
        return x, y, exponent, float(np.exp(np.mean(np.log(y) - exponent * np.log(x))))
    prefactor = real_number("prefactor", prefactor)
    if not 0 < prefactor < np.inf:
        raise ValueError(f"prefactor must be positive and finite, was {prefactor}")
    return x, y, exponent, prefactor
