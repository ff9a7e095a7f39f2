"""Scaling laws: a power law fitted on logarithmic axes, with its residuals."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from gfsim.checks import positive_integer


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


# Whether x, and whether y is taken by its logarithm, in which the law is a straight line.
FORMS = {"power": (True, True), "exponential": (False, True), "logarithmic": (True, False)}


class Fit(NamedTuple):
    """y ≈ prefactor·x^exponent (`form` "power"), prefactor·e^(exponent·x) ("exponential"), or
    exponent·ln x + prefactor ("logarithmic", such as an escape time against the distance from the saddle).

    `interval` of the exponent and `band` (2, points of `at`) of the curve hold the central `level` of the bootstrap.
    """

    form: str
    exponent: float
    prefactor: float
    interval: tuple[float, float]
    at: Float[np.ndarray, "points"]
    band: Float[np.ndarray, "2 points"]
    level: float

    def curve(self, x: ArrayLike) -> Float[np.ndarray, "points"]:
        x = np.asarray(x, float)
        if self.form == "logarithmic":
            return self.prefactor + self.exponent * np.log(x)
        return self.prefactor * (x**self.exponent if self.form == "power" else np.exp(self.exponent * x))


def bootstrap_fit(
    x: ArrayLike,
    y: ArrayLike,
    group: ArrayLike,
    form: str = "power",
    *,
    draws: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Fit:
    """The law with an interval from resampling whole groups: the points of one seed are drawn together or not at all.

    Least squares in the logarithms in which the law is a straight line, every point with equal weight; the interval
    runs between the percentiles (1 ± level)/2 of `draws` refits, each to as many groups as there are, drawn with
    replacement.

    Raises ValueError for lengths that differ, values that are not finite or have no such logarithm, fewer than two
    different x or groups, a form or level that is none, and draws that are no positive integer (or TypeError).
    """
    draws = positive_integer("draws", draws)
    x, y, group = np.asarray(x, float), np.asarray(y, float), np.asarray(group)
    if form not in FORMS:
        raise ValueError(f"form must be one of {', '.join(FORMS)}, was {form!r}")
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, was {level}")
    if x.ndim != 1 or not x.shape == y.shape == group.shape:
        raise ValueError(f"x, y and group must be 1-d of equal length, had shapes {x.shape}, {y.shape}, {group.shape}")
    for name, values, logarithmic in zip("xy", (x, y), FORMS[form], strict=True):
        if not np.all(np.isfinite(values) & ((values > 0) | (not logarithmic))):
            wanted = "positive and finite" if logarithmic else "finite"
            raise ValueError(f"{name} of the {form} form must be {wanted}, held other values")
    names, member = np.unique(group, return_inverse=True)
    if len(np.unique(x)) < 2 or len(names) < 2:
        raise ValueError(f"x and group must hold two different values each, had {len(np.unique(x))} and {len(names)}")
    log_x, log_y = FORMS[form]
    abscissa, ordinate = np.log(x) if log_x else x, np.log(y) if log_y else y
    slope, intercept = _lines(abscissa, ordinate, np.ones((1, x.size)))
    drawn = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), size=draws)
    # A draw whose points share one x has no slope, and is left out.
    slopes, intercepts = _lines(abscissa, ordinate, drawn[:, member].astype(float))
    kept = np.isfinite(slopes)
    tails = np.array([(1 - level) / 2, (1 + level) / 2])
    low, high = np.quantile(slopes[kept], tails)
    at = np.linspace(abscissa.min(), abscissa.max(), 60)
    band = np.quantile(slopes[kept, None] * at + intercepts[kept, None], tails, axis=0)
    prefactor = float(np.exp(intercept[0]) if log_y else intercept[0])
    at, band = np.exp(at) if log_x else at, np.exp(band) if log_y else band
    return Fit(form, float(slope[0]), prefactor, (float(low), float(high)), at, band, level)


def _lines(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Slopes and intercepts of the weighted least-squares lines, one for each row of weights."""
    total = weights.sum(axis=1)
    x_mean, y_mean = weights @ x / total, weights @ y / total
    away = x - x_mean[:, None]
    spread = np.sum(weights * away**2, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        slope = np.sum(weights * away * (y - y_mean[:, None]), axis=1) / spread
    slope = np.where(spread > 1e-20 * np.ptp(x) ** 2, slope, np.nan)
    return slope, y_mean - slope * x_mean
