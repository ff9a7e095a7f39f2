"""The flow that gradient flow follows near the origin."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from gfsim.checks import true_or_false
from gfsim.dynamics.base import AbstractFlow
from gfsim.norms import inner
from gfsim.problems.problem import Problem, checked_problem
from gfsim.types import Scalar, Theta, Time


class Polar(eqx.Module):
    """u = ρ·direction, and the time τ of the unscaled flow."""

    direction: Theta
    log_norm: Float[Array, ""]
    time: Float[Array, ""]


class CorrelationFlow(AbstractFlow):
    """u' = ∇N(u), the ascent of the neural correlation function N(u) = Σ_i ⟨z_i, H(x_i; u)⟩, z_i = −∂ℓ_i(0).

    It is the limit δ → 0 of `GradientFlow(problem, scale=δ)` in the same state and clock. For a degree L > 2 and
    N(u0) > 0 the norm becomes infinite at a finite T*, 1/(L(L−2)N*) ≤ T* ≤ 1/(L(L−2)N(u0)) where ‖u0‖ = 1 and N* is
    the maximum of N over directions; for L = 2 it grows exponentially.

    With `polar=True` the same path runs on the clock dσ = ρ^{L−2} dτ, in the state (û, log ρ, τ):
    û' = (I − ûûᵀ)∇N(û), (log ρ)' = L N(û), τ' = ρ^{2−L}. The norm may then grow by any factor, τ tends to T*, and
    the potential is −N(û), so that the energy residual checks N(û(σ)) − N(û(0)) = ∫‖û'‖² dσ. `log_t` is log τ.

    Raises ValueError if the problem's network is not homogeneous of degree at least 2, TypeError for a `polar` that is
    no boolean.

    Source: Kumar & Haupt, arXiv 2403.08121 (L > 2) and 2402.09226 (L = 2).
    """

    problem: Problem
    polar: bool = eqx.field(static=True)

    def __init__(self, problem: Problem, *, polar: bool = False):
        degree = checked_problem(problem).degree
        if degree is None or degree < 2:
            raise ValueError(
                "problem must have a network homogeneous of degree at least 2 in its parameters, "
                f"problem.degree was {degree}"
            )
        self.problem = problem
        self.polar = true_or_false("polar", polar)

    def initial_state(self, theta0: Theta) -> Theta | Polar:
        if not self.polar:
            return theta0
        norm = jnp.linalg.norm(theta0)
        return Polar(theta0 / norm, jnp.log(norm), jnp.zeros_like(norm))

    def vector_field(self, clock: Time, state: PyTree) -> PyTree:
        if not self.polar:
            return jax.grad(self.problem.correlation)(state)
        u = state.direction
        # Normalising here as well keeps rounding from carrying the direction off the sphere.
        u = u / jnp.linalg.norm(u)
        gradient = jax.grad(self.problem.correlation)(u)
        radial = inner(u, gradient)  # L N(û), by Euler's identity
        return Polar(gradient - radial * u, radial, jnp.exp((2 - self._degree) * state.log_norm))

    @property
    def _degree(self) -> int:
        degree = self.problem.degree
        assert degree is not None
        return degree

    def parameters(self, state: PyTree) -> Theta:
        return jnp.exp(state.log_norm) * state.direction if self.polar else state

    def log_time(self, clock: Time, state: PyTree) -> Time:
        return jnp.log(state.time) if self.polar else jnp.log(clock)

    def potential(self, state: PyTree) -> Scalar:
        return -self.problem.correlation(state.direction if self.polar else state)

    def dissipation(self, state: PyTree, velocity: PyTree) -> Scalar:
        v = velocity.direction if self.polar else velocity
        return inner(v, v)
