"""Implicit steps of gradient flow for sums over neurons, in O(nP) memory."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from gfsim.problems.neurons import neuron_places, separable_hessian
from gfsim.problems.objectives import NetworkObjective
from gfsim.problems.problem import Problem
from gfsim.solvers.curvature import AbstractCurvature, Vector
from gfsim.types import Array, Scalar, Theta

Blocks = Float[Array, "own own neurons"]
Rows = Float[Array, "n P"]


class NeuronCurvature(AbstractCurvature):
    """K = `outer`·∇²𝓛(`inner`·x) of a sum over neurons, as S + RᵀR: S couples no two neurons, R has n rows.

    With A = I + cS and G = √c R, by Woodbury's identity (I + cK)⁻¹ = A⁻¹ − A⁻¹Gᵀ(I + GA⁻¹Gᵀ)⁻¹GA⁻¹. For neurons of k
    parameters each this takes nP numbers and O((n² + k²)P + n³) operations, and O((n + k)P) for every system, where a
    dense matrix takes P² numbers, P³/3 and 2P². Inside, the parameters are in the order of `_order`.
    """

    problem: Problem
    inner: Scalar | float = 1.0
    outer: Scalar | float = 1.0

    @property
    def _places(self) -> Int[np.ndarray, "neurons own"]:
        places = neuron_places(self.problem.objective)
        assert places is not None
        return places

    def _order(self) -> Int[np.ndarray, "P"]:
        """Each first parameter of all neurons, each second one, …, then those that belong to none."""
        grouped = self._places.T.ravel()
        return np.concatenate([grouped, np.setdiff1d(np.arange(self.problem.size), grouped)])

    def at(self, field: Callable[[Vector], Vector], x: Theta) -> tuple[Blocks, Rows]:
        assert isinstance(self.problem.objective, NetworkObjective)
        blocks, rows = separable_hessian(self.problem.objective, self.inner * x)
        return self.outer * jnp.moveaxis(blocks, 0, -1), jnp.sqrt(self.outer) * rows[:, self._order()]

    def factor(self, curvature: tuple[Blocks, Rows], c: Scalar) -> tuple[Blocks, Rows, Float[Array, "n n"]]:
        blocks, rows = curvature
        inverse = _inverses(jnp.eye(blocks.shape[0])[..., None] + c * blocks)
        rows = jnp.sqrt(c) * rows
        turned = jax.vmap(_applied, (None, 0))(inverse, rows)
        return inverse, turned, jnp.linalg.inv(jnp.eye(rows.shape[0]) + turned @ rows.T)

    def solve(self, factor: tuple[Blocks, Rows, Float[Array, "n n"]], b: Theta) -> Theta:
        inverse, turned, small = factor
        order = self._order()
        b = b[order]
        x = _applied(inverse, b) - (small @ (turned @ b)) @ turned
        return x[np.argsort(order)]

    def products(self, size: int) -> int:
        # Its rows are one pass back more.
        return self._places.shape[1] + 1

    def operations(self, size: int) -> float:
        n, k = self.problem.data.n, self._places.shape[1]
        return 2.0 * size * (n**2 + k**2 + n * k) + 2.0 * n**3

    def numbers(self, size: int) -> int:
        return size * (self.problem.data.n + self._places.shape[1])


def _inverses(matrices: Blocks) -> Blocks:
    """Inverses of all the blocks, by Gauss–Jordan sweeps without pivots; Newton's method sees to what they lose."""
    index = jnp.arange(matrices.shape[0])

    def sweep(k: Array, a: Blocks) -> Blocks:
        pivot = a[k, k]
        row, column = (a[k] / pivot[None])[None], a[:, k][:, None]
        at_row, at_column = (index == k)[:, None, None], (index == k)[None, :, None]
        swept = jnp.where(at_column, -column / pivot[None, None], a - column * row)
        return jnp.where(at_row, jnp.where(at_column, 1 / pivot[None, None], row), swept)

    return jax.lax.fori_loop(0, matrices.shape[0], sweep, matrices)


def _applied(blocks: Blocks, x: Theta) -> Theta:
    """The block-diagonal matrix times x, the identity beyond the blocks."""
    own, _, neurons = blocks.shape
    inside = jnp.sum(blocks * x[: own * neurons].reshape(1, own, neurons), axis=1)
    return jnp.concatenate([inside.ravel(), x[own * neurons :]])
