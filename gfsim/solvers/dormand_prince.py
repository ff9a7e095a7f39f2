"""The explicit pair of Dormand & Prince that was chosen for a long real stability interval.

Its tableau and error estimate are the RK5(4)7S of J. R. Dormand & P. J. Prince, "A family of embedded Runge-Kutta
formulae", J. Comput. Appl. Math. 6 (1980) 19–26; the weights at the step's middle, which they do not give, solve the
conditions of order four there.
"""

from collections.abc import Callable
from typing import ClassVar

import diffrax as dfx
import numpy as np
from jaxtyping import PyTree

from gfsim.solvers.dense import DenseOutput

# Weights of order five at the step's end, of order four there, and of order four at its middle.
_WEIGHTS = np.array([19 / 200, 0, 3 / 5, -243 / 400, 33 / 40, 7 / 80, 0])
_EMBEDDED = np.array([431 / 5000, 0, 333 / 500, -7857 / 10000, 957 / 1000, 193 / 2000, -1 / 50])
_MIDDLE = np.array([293 / 3200, 0, 189 / 320, -3321 / 6400, 231 / 640, -31 / 1280, 0])


def _quartics() -> np.ndarray:
    """Coefficients c_pi of θ^p in b_i(θ), p = 1 … 4: these weights at 1 and 1/2, the slopes k_1 and k_7 at 0 and 1."""
    first, last = np.eye(7)[[0, -1]]
    values_and_slopes = np.array([[1, 1, 1, 1], [1 / 2, 1 / 4, 1 / 8, 1 / 16], [1, 0, 0, 0], [1, 2, 3, 4]])
    return np.linalg.solve(values_and_slopes, np.stack([_WEIGHTS, _MIDDLE, first, last]))


class _Quartic(DenseOutput):
    powers: ClassVar[np.ndarray] = _quartics()


class Dopri5S(dfx.AbstractERK):
    """RK5(4)7S of Dormand & Prince: order 5, six evaluations a step, stable on −5.70 ≤ hλ ≤ 0.

    The popular pairs of as many stages, Tsit5 and Dopri5, are chosen for a small error and stable to 3.5 and 3.3. A
    gradient flow's steps are often as long as stability allows, and its Jacobian −∇²L has no spectrum but the real
    axis: there this one takes six gradients where those take ten. Where accuracy limits the step it takes 0.8 to 1.2
    times as many as Tsit5 at an error of 1e-4 to 1e-8, the more the smaller: its error terms of order six are larger.
    R(z) = Σ_{k≤5} z^k/k! + z⁶/1296. Dense output is a quartic of order four.

    Source: Dormand & Prince (1980).
    """

    tableau: ClassVar[dfx.ButcherTableau] = dfx.ButcherTableau(  # pyright: ignore
        a_lower=(
            np.array([2 / 9]),
            np.array([1 / 12, 1 / 4]),
            np.array([55 / 324, -25 / 108, 50 / 81]),
            np.array([83 / 330, -13 / 22, 61 / 66, 9 / 110]),
            np.array([-19 / 28, 9 / 4, 1 / 7, -27 / 7, 22 / 7]),
            _WEIGHTS[:-1],
        ),
        b_sol=_WEIGHTS,
        b_error=_WEIGHTS - _EMBEDDED,
        c=np.array([2 / 9, 1 / 3, 5 / 9, 2 / 3, 1.0, 1.0]),
    )
    interpolation_cls: ClassVar[Callable[..., dfx.AbstractLocalInterpolation]] = _Quartic

    def order(self, terms: PyTree) -> int:
        return 5
