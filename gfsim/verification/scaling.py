"""Scaling laws: a power law fitted on logarithmic axes, with its residuals."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike


class PowerLaw(NamedTuple):
    """y ≈ prefactor·x^exponent, and log y − log(fit) at every point."""

    exponent: float
    prefactor: float
    residuals: Float[np.ndarray, "points"]


def fit_power_law(x: ArrayLike, y: ArrayLike) -> PowerLaw:
    """Least squares of log y against log x, every point with equal weight.

    Where a value is not positive or not finite there is no power law, and all of the result is NaN: a claim on it
    fails instead of resting on the remaining points.

    Raises ValueError unless x and y are one-dimensional, of equal length and of at least two different x.
    """
    x, y = np.asarray(x, float), np.asarray(y, float)
    if x.ndim != 1 or x.shape != y.shape or len(np.unique(x)) < 2:
        raise ValueError(f"x and y must be 1-d of equal length with two different x, had shapes {x.shape}, {y.shape}")
    if not (np.all(np.isfinite(x) & np.isfinite(y)) and np.all((x > 0) & (y > 0))):
        return PowerLaw(np.nan, np.nan, np.full(x.shape, np.nan))
    log_x, log_y = np.log(x), np.log(y)
    exponent, intercept = np.polyfit(log_x - log_x.mean(), log_y, 1)
    intercept = intercept - exponent * log_x.mean()
    return PowerLaw(float(exponent), float(np.exp(intercept)), log_y - (intercept + exponent * log_x))
