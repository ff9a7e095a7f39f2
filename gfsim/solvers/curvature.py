"""Linear algebra of an implicit step: the curvature K = −J of a flow, and systems (I + cK) x = b."""

import abc
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

Vector = Float[Array, "P"]


class AbstractCurvature(eqx.Module):
    """How the symmetric K = −∂field/∂x is found, held, and solved with; what holds it may be any pytree."""

    @abc.abstractmethod
    def at(self, field: Callable[[Vector], Vector], x: Vector) -> PyTree:
        """K at x, of x' = field(x)."""

    @abc.abstractmethod
    def factor(self, curvature: PyTree, c: Float[Array, ""]) -> PyTree:
        """What `solve` needs of I + cK; NaN where that cannot be solved with."""

    @abc.abstractmethod
    def solve(self, factor: PyTree, b: Vector) -> Vector:
        """x with (I + cK) x = b."""

    @abc.abstractmethod
    def products(self, size: int) -> int:
        """What `at` costs for P = `size`, in Jacobian–vector products."""

    @abc.abstractmethod
    def operations(self, size: int) -> float:
        """Floating-point operations of `factor` for P = `size`."""

    @abc.abstractmethod
    def numbers(self, size: int) -> int:
        """How many numbers K is held in for P = `size`; its factor takes as many."""


class DenseCurvature(AbstractCurvature):
    """K as a matrix, and the Cholesky factor of I + cK: P² numbers each, P products and P³/3 operations."""

    def at(self, field: Callable[[Vector], Vector], x: Vector) -> Float[Array, "P P"]:
        # J is symmetric: its rows, by one pass back each, cost a fifth to a third less than its columns. A block of
        # them stays within a few megabytes; one pass forward for each costs less than handing what it found to a loop.
        block = max(1, min(x.size, 2**17 // x.size))
        rows = jax.lax.map(lambda v: jax.vjp(field, x)[1](v)[0], jnp.eye(x.size), batch_size=block)
        return -0.5 * (rows + rows.T)

    def factor(self, curvature: Float[Array, "P P"], c: Float[Array, ""]) -> Float[Array, "P P"]:
        # Where I + cK is not positive definite, LAPACK gives NaN, which fails the step. K is symmetric to the last bit
        # already. LAPACK goes by columns, XLA by rows: handed a transpose, it makes no copy.
        return jax.lax.linalg.cholesky(jnp.eye(curvature.shape[0]) + c * curvature.T, symmetrize_input=False)

    def solve(self, factor: Float[Array, "P P"], b: Vector) -> Vector:
        # The transpose, for the reason given at `factor`.
        return jax.scipy.linalg.cho_solve((factor.T, False), b)

    def products(self, size: int) -> int:
        return size

    def operations(self, size: int) -> float:
        return size**3 / 3

    def numbers(self, size: int) -> int:
        return size**2
