"""Dense output: what lies between the ends of a step."""

from typing import Any, ClassVar

import diffrax as dfx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

# Where a step's slope is evaluated between its ends. Near these the quintic errs least, by 0.0020 h⁶y⁽⁶⁾/720.
NODES = (0.2, 0.8)


class DenseOutput(dfx.AbstractLocalInterpolation):
    """y(t0 + θh) = y0 + Σ_i b_i(θ) k_i with polynomials b_i: a sum for each time, and no vectors beside y0 and k."""

    t0: Any  # pyright: ignore
    t1: Any  # pyright: ignore
    y0: PyTree
    k: PyTree

    powers: ClassVar[np.ndarray]
    """Coefficients of θ^p, p = 1, 2, … (rows), in each b_i."""

    def __init__(self, *, t0: Any, t1: Any, y0: PyTree, y1: PyTree, k: PyTree):
        del y1  # that is y(t1)
        self.t0, self.t1, self.y0, self.k = t0, t1, y0, k

    def evaluate(self, t0: Any, t1: Any = None, left: bool = True) -> PyTree:
        weights = self._weights(t0) if t1 is None else self._weights(t1) - self._weights(t0)
        moved = jax.tree.map(lambda k: jnp.tensordot(weights.astype(k.dtype), k, axes=1), self.k)
        return moved if t1 is not None else jax.tree.map(jnp.add, self.y0, moved)

    def _weights(self, t: Any) -> Float[Array, " terms"]:
        share = jnp.asarray((t - self.t0) / (self.t1 - self.t0))
        return share ** jnp.arange(1.0, 1.0 + len(self.powers)) @ self.powers


def _quintics() -> np.ndarray:
    """y' is the quartic with given values at 0, `NODES` and 1, and a given integral."""
    at = np.array([0, *NODES, 1])[:, None] ** np.arange(5)
    integral = 1 / np.arange(1, 6)
    return np.linalg.inv(np.vstack([at, integral])) * integral[:, None]


class Quintic(DenseOutput):
    """Order five from k = (hy' at 0, `NODES` and 1; y1 − y0)."""

    powers: ClassVar[np.ndarray] = _quintics()
