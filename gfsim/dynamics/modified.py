"""The flow whose time-η map is a step of gradient descent, to any order in η."""

from collections.abc import Callable
from numbers import Integral
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gfsim.checks import positive_integer
from gfsim.dynamics.base import AbstractFlow
from gfsim.dynamics.descent import positive_step
from gfsim.norms import inner
from gfsim.problems.problem import Problem, checked_problem
from gfsim.types import Scalar, Theta, Time

HIGHEST_ORDER = 8


class ModifiedFlow(AbstractFlow):
    """θ' = f₁(θ) + ηf₂(θ) + … + η^k f_{k+1}(θ), the modified equation of gradient descent to order k = `order`.

    f₁ = −g, f₂ = −½Hg, f₃ = −(⅓H²g + (1/12)∇³L[g, g]), with g = ∇L, H = ∇²L. With order k the flow stays within
    O(η^{k+1}) of gradient descent with `step_size` η at t = nη, and within O(η^{k+2}) over one step; order 0 is
    gradient flow. Order 1 is the gradient flow of L + (η/4)‖g‖². The fields f_j are the coefficients of
    η^{−1}(Δ − Δ²/2 + Δ³/3 − …)θ, Δ the difference of successive iterates: the logarithm of the map as a power series.

    `order="quadratic"` sums every term without third derivatives, θ' = η^{−1}H^{−1}ln(I − ηH)g. Where L is quadratic
    it passes through the iterates themselves: an eigenvalue λ acts as −η^{−1}ln(1 − ηλ). It forms the Hessian.

    With `batch_size` b the flow follows stochastic gradient descent in the mean over its shuffles, on
    L + (η/4)‖g‖² + (η/4)·(n − b)/((n − 1)b)·(1/n)Σ_i‖∇L_i − g‖², order 1 alone. The last term is (η/4m)Σ_k‖∇L_k − g‖²
    over the m = n/b batches of an epoch, in the mean over the shuffles that form them.

    The series converges where ηλ_max < 1: `simulate` refuses to start elsewhere and ends where that is lost.

    The potential is L, whose decay −⟨g, θ'⟩ need not be positive.

    Raises ValueError or TypeError for a `step_size` that is not positive and finite, an order that is neither an
    integer from 0 to 8 nor "quadratic", and a `batch_size` that is not in 1 … n or comes with another order. To compile
    an order takes up to twice as long as the one before, at 8 about a minute.

    Source: Hairer, Lubich & Wanner, Geometric Numerical Integration, IX.1; Barrett & Dherin, arXiv 2009.11162 (order
    1); Smith et al., arXiv 2101.12176 (batches).
    """

    problem: Problem
    step_size: Float[Array, ""]
    order: int | Literal["quadratic"] = eqx.field(static=True)
    batch_size: int | None = eqx.field(static=True)

    def __init__(
        self,
        problem: Problem,
        step_size: float,
        order: int | Literal["quadratic"] = 1,
        *,
        batch_size: int | None = None,
    ):
        checked_problem(problem)
        whole = isinstance(order, Integral) and not isinstance(order, bool)
        if order != "quadratic" and not (whole and 0 <= int(order) <= HIGHEST_ORDER):
            raise ValueError(f'order must be an integer from 0 to {HIGHEST_ORDER} or "quadratic", was {order!r}')
        if batch_size is not None:
            if order != 1:
                raise ValueError(f"batch_size needs order 1, order was {order!r}")
            if positive_integer("batch_size", batch_size) > problem.data.n:
                raise ValueError(f"batch_size must lie between 1 and n = {problem.data.n}, was {batch_size}")
        self.problem = problem
        self.step_size = positive_step(step_size)
        self.order = order if order == "quadratic" else int(order)
        self.batch_size = batch_size

    def vector_field(self, clock: Time, state: Theta) -> Theta:
        if self.order == "quadratic":
            return self._resummed(state)
        fields = modified_fields(self.problem.grad, state, self.order)
        field = self.step_size ** jnp.arange(float(self.order + 1)) @ fields
        if self.batch_size is None:
            return field
        return field - self.step_size / 4 * jax.grad(self._batch_noise)(state, self.batch_size)

    def parameters(self, state: Theta) -> Theta:
        return state

    def log_time(self, clock: Time, state: Theta) -> Time:
        return jnp.log(clock)

    def potential(self, state: Theta) -> Scalar:
        return self.problem.loss(state)

    def dissipation(self, state: Theta, velocity: Theta) -> Scalar:
        return -inner(self.problem.grad(state), velocity)

    def _resummed(self, theta: Theta) -> Theta:
        eigenvalues, vectors = jnp.linalg.eigh(self.problem.hessian(theta))
        x = self.step_size * eigenvalues
        # ln(1 − x)/x, whose limit at 0 is −1; past the radius of convergence there is no flow.
        small = jnp.abs(x) < 1e-8
        factor = jnp.where(small, -1 - x / 2, jnp.log1p(-jnp.where(small, 1.0, x)) / jnp.where(small, 1.0, x))
        return vectors @ (factor * (self.problem.grad(theta) @ vectors))

    def _batch_noise(self, theta: Theta, b: int) -> Scalar:
        """E (1/m)Σ_k‖∇L_k − g‖² over the shuffles; L_k is n/b times the part of L that its batch contributes."""
        data, criterion = self.problem.data, self.problem.criterion
        n = data.n
        if n == 1:
            return jnp.zeros(())

        def sample_loss(theta: Theta, x: Array, y: Array) -> Scalar:
            output = self.problem.network_at(theta)(x)
            return n * criterion.scale(n) * criterion.values(output[None], y[None])[0]

        each = jax.vmap(jax.grad(sample_loss), (None, 0, 0))(theta, data.inputs, data.targets)
        return (n - b) / ((n - 1) * b) * jnp.sum(jnp.var(each, axis=0))


def modified_fields(gradient: Callable[[Theta], Theta], theta: Theta, order: int) -> Float[Array, "fields P"]:
    """f₁(θ), …, f_{order+1}(θ) of the modified equation θ' = Σ η^{j−1}f_j(θ) of θ ↦ θ − η·gradient(θ)."""
    size = order + 2

    def step(series: Float[Array, "size P"], _: None) -> tuple[Float[Array, "size P"], Float[Array, "size P"]]:
        # One more power of η on the gradient's series: the last coefficient falls off the end.
        after = series.at[1:].add(-_composed(gradient, series[:-1]))
        return after, after

    # Taylor coefficients in η of the iterates θ_0, …, θ_{order+1} as functions of the step.
    start = jnp.zeros((size, theta.size)).at[0].set(theta)
    _, iterates = jax.lax.scan(step, start, length=order + 1)
    differences = jnp.concatenate([start[None], iterates])
    total = jnp.zeros_like(start)
    for k in range(1, size):
        differences = jnp.diff(differences, axis=0)
        total = total - (-1) ** k / k * differences[0]
    return total[1:]


def _composed(function: Callable[[Theta], Theta], series: Float[Array, "terms P"]) -> Float[Array, "terms P"]:
    """Taylor coefficients of function(Σ_j series[j]·s^j) at s = 0.

    By nested forward mode, which costs twice as much per order: `jax.experimental.jet` has no rule for functions with
    derivatives of their own, such as softplus.
    """

    def value(s: Scalar) -> Float[Array, "terms P"]:
        point = series[-1]
        for coefficient in series[-2::-1]:
            point = point * s + coefficient
        return function(point)[None]

    derivatives: Callable[[Scalar], Array] = value
    for _ in range(series.shape[0] - 1):
        derivatives = _with_one_more(derivatives)
    factorials = jnp.cumprod(jnp.maximum(jnp.arange(float(series.shape[0])), 1.0))
    return derivatives(jnp.zeros(())) / factorials[:, None]


def _with_one_more(derivatives: Callable[[Scalar], Array]) -> Callable[[Scalar], Array]:
    """From the function that stacks h, h', …, h^{(m)} to the one that stacks h^{(m+1)} as well."""

    def more(s: Scalar) -> Array:
        values, slopes = jax.jvp(derivatives, (s,), (jnp.ones_like(s),))
        return jnp.concatenate([values, slopes[-1:]])

    return more
