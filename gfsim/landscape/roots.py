"""The zero of a function of one variable, to rounding."""

from collections.abc import Callable

import numpy as np
from scipy.optimize import brentq


def zero_between(function: Callable[[float], float], low: float, high: float) -> float:
    """Where `function` vanishes between two points of different sign, by Brent's method."""
    root: float = brentq(function, low, high, xtol=1e-17, rtol=np.float64(1e-15))  # pyright: ignore[reportAssignmentType]
    return root
