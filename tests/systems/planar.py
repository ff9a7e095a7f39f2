"""Planar gradient systems whose critical sets are known, all of one compiled form.

L(x, y) = Σ c_ij x^i y^j + ½(Σ s_ij x^i y^j)².
"""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

Terms = dict[tuple[int, int], float]


class Potential(eqx.Module):
    """L itself."""

    plain: Array
    squared: Array

    def __call__(self, x: Array) -> Array:
        powers = jnp.stack([jnp.ones(()), x[0], x[0] ** 2, x[0] ** 3, x[0] ** 4])
        others = jnp.stack([jnp.ones(()), x[1], x[1] ** 2, x[1] ** 3, x[1] ** 4])
        return powers @ self.plain @ others + 0.5 * (powers @ self.squared @ others) ** 2


class Descent(eqx.Module):
    """−∇L."""

    potential: Potential

    def __call__(self, x: Array) -> Array:
        return -jax.grad(self.potential)(x)


class Known(NamedTuple):
    """A system on the window (−side, side)², its isolated critical points, and a function that is zero on curves."""

    plain: Terms
    squared: Terms
    side: float
    points: dict[tuple[float, float], str]
    curve: Callable[[np.ndarray], np.ndarray] | None = None
    branches: int = 0

    @property
    def field(self) -> Descent:
        """The field."""
        tables = []
        for terms in (self.plain, self.squared):
            table = np.zeros((5, 5))
            for place, value in terms.items():
                table[place] = value
            tables.append(jnp.asarray(table))
        return Descent(Potential(*tables))


# ∂L = (x³ − x, y³ − y): every pair of −1, 0, 1, with the Hessian diag(3x² − 1, 3y² − 1).
_WELLS = {
    (float(i), float(j)): {2: "minimum", 1: "saddle", 0: "maximum"}[abs(i) + abs(j)]
    for i in (-1, 0, 1)
    for j in (-1, 0, 1)
}
KNOWN: dict[str, Known] = {
    # The scalar two-layer net ½(aw − 1)²: critical where aw = 1, or a = w = 0, where the Hessian is [[0, −1], [−1, 0]].
    "two-layer net": Known(
        {}, {(1, 1): 1, (0, 0): -1}, 2, {(0, 0): "saddle"}, lambda z: z[:, 0] * z[:, 1] - 1, branches=2
    ),
    # A diagonal network in the form β = ½(p² − q²), β = 1 fits: the hyperbola p² − q² = 2, and the saddle at 0.
    "diagonal network": Known(
        {},
        {(2, 0): 0.5, (0, 2): -0.5, (0, 0): -1},
        2.5,
        {(0, 0): "saddle"},
        lambda z: 0.5 * (z[:, 0] ** 2 - z[:, 1] ** 2) - 1,
        branches=2,
    ),
    # Two neurons of degree 2 on their balanced rays, f = r³ + s³, target 1: ∇L = 3(f − 1)(r², s²).
    "two neurons of degree 2": Known(
        {},
        {(3, 0): 1, (0, 3): 1, (0, 0): -1},
        1.6,
        {(0, 0): "degenerate"},
        lambda z: z[:, 0] ** 3 + z[:, 1] ** 3 - 1,
        branches=1,
    ),
    "double well": Known(
        {(4, 0): 0.25, (2, 0): -0.5, (0, 2): 0.5}, {}, 1.7, {(-1, 0): "minimum", (0, 0): "saddle", (1, 0): "minimum"}
    ),
    "four wells": Known({(4, 0): 0.25, (2, 0): -0.5, (0, 4): 0.25, (0, 2): -0.5}, {}, 1.7, _WELLS),
    # A closed curve, x² + y² = 1, around a maximum.
    "circle": Known(
        {},
        {(2, 0): 1, (0, 2): 1, (0, 0): -1},
        1.5,
        {(0, 0): "maximum"},
        lambda z: z[:, 0] ** 2 + z[:, 1] ** 2 - 1,
        branches=1,
    ),
}
