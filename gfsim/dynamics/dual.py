"""Gradient flow of a diagonal linear network in its dual variable."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gfsim.checks import real_number
from gfsim.dynamics.base import AbstractFlow
from gfsim.problems.networks import DiagonalLinear
from gfsim.problems.problem import Problem, checked_problem
from gfsim.types import Scalar, Theta, Time

# A trial step may be too long; the squares of e^150 are still finite.
_LARGEST = 150.0


class DualFlow(AbstractFlow):
    """Gradient flow of f(x) = (u ⊙ v)·x from u = √2·α, v = 0, on the clock t̃ = t/ln(1/α), for any α < 1.

    With κ = ln(1/α) and the dual variable s, ds/dt̃ = −∂L/∂β from s = 0,

        u = √2·α·cosh(κs),   v = √2·α·sinh(κs),   β = u ⊙ v = α² sinh(2κs),

    which is θ' = −∇L exactly. As α → 0, |s_i| = 1 becomes a wall: β_i is nil inside, and any number on it. The state is
    s, `trajectory.theta` is (u, v), and α = 1e-100 is no trouble. Give `simulate` θ0 = α·problem.theta, or a state that
    such a run has left (s is read from its v; u follows from s), and an `atol` of its own for s, which is of order one.

    Raises ValueError for a network that is not a `DiagonalLinear` or an α outside (0, 1).

    Source: Pesme & Flammarion, arXiv 2304.00488.
    """

    problem: Problem
    kappa: Float[Array, ""]

    def __init__(self, problem: Problem, alpha: float):
        if not isinstance(checked_problem(problem).network_at(problem.theta), DiagonalLinear):
            raise ValueError("problem must have a gf.networks.DiagonalLinear, had another network")
        if not 0 < real_number("alpha", alpha) < 1:
            raise ValueError(f"alpha must lie between 0 and 1, was {alpha}")
        self.problem = problem
        self.kappa = jax.device_put(np.asarray(-np.log(alpha)))

    def initial_state(self, theta0: Theta) -> Float[Array, "d"]:
        _, v = jnp.split(theta0, 2)
        return jnp.arcsinh(v * jnp.exp(self.kappa) / math.sqrt(2.0)) / self.kappa

    def vector_field(self, clock: Time, state: Float[Array, "d"]) -> Float[Array, "d"]:
        u, v = jnp.split(self.parameters(state), 2)
        data = self.problem.data
        return self.problem.criterion.pull(data.inputs @ (u * v), data.targets) @ data.inputs

    def parameters(self, state: Float[Array, "d"]) -> Theta:
        rise, fall = self._powers(self.kappa, state)
        return jnp.concatenate([rise + fall, rise - fall]) / math.sqrt(2.0)

    def log_time(self, clock: Time, state: Float[Array, "d"]) -> Time:
        return jnp.log(clock) + jnp.log(self.kappa)

    def potential(self, state: Float[Array, "d"]) -> Scalar:
        return self.problem.loss(self.parameters(state))

    def dissipation(self, state: Float[Array, "d"], velocity: Float[Array, "d"]) -> Scalar:
        # −⟨∂L/∂β, β'⟩ with ∂L/∂β = −s' and β' = 2κα²cosh(2κs)s'.
        rise, fall = self._powers(2 * self.kappa, state)
        return self.kappa * jnp.sum((rise + fall) * velocity**2)

    def _powers(self, rate: Scalar, state: Float[Array, "d"]) -> tuple[Array, Array]:
        """e^{rate(s−1)} and e^{−rate(s+1)}, α^{rate/κ} times the powers themselves, which would overflow."""
        rise, fall = rate * (state - 1.0), -rate * (state + 1.0)
        return jnp.exp(jnp.minimum(rise, _LARGEST)), jnp.exp(jnp.minimum(fall, _LARGEST))
