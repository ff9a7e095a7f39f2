"""Gradient flow."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gfsim.checks import real_number
from gfsim.dynamics.base import AbstractFlow
from gfsim.dynamics.neurons import NeuronCurvature
from gfsim.norms import inner
from gfsim.problems.neurons import neuron_places
from gfsim.problems.problem import Problem, checked_problem
from gfsim.solvers.curvature import AbstractCurvature, DenseCurvature
from gfsim.types import Scalar, Theta, Time


class GradientFlow(AbstractFlow):
    """θ' = −∇L(θ), or its small-initialisation form.

    Without `scale` the state is θ and the clock is physical time t.

    With `scale` = δ > 0 and a problem homogeneous of degree L ≥ 2, the state is s = θ/δ and the clock τ = δ^{L−2} t,
    ds/dτ = −∇L(δs)/δ^{L−1}; `simulate` is given u0 = s(0) and returns θ = δs. Stepping in (s, τ) keeps both the
    state and the clock of order one while θ leaves the origin, whatever δ.

    Raises ValueError if `scale` is not positive and finite, or if it is given for a problem without a degree ≥ 2.

    Source of the rescaling: Kumar & Haupt, arXiv 2403.08121 (L > 2) and 2402.09226 (L = 2).
    """

    problem: Problem
    symmetric: ClassVar[bool] = True
    scale: Float[Array, ""] | None
    _degree: int | None = eqx.field(static=True)

    def __init__(self, problem: Problem, *, scale: float | None = None):
        self.problem = checked_problem(problem)
        self._degree = None
        self.scale = None
        if scale is not None:
            if not 0 < real_number("scale", scale) < np.inf:
                raise ValueError(f"scale must be a positive finite number, was {scale}")
            if problem.degree is None or problem.degree < 2:
                raise ValueError(
                    "scale needs a network homogeneous of degree at least 2 in its parameters, "
                    f"problem.degree was {problem.degree}"
                )
            self._degree = problem.degree
            self.scale = jax.device_put(np.asarray(scale, float))

    def vector_field(self, clock: Time, state: Theta) -> Theta:
        if self.scale is None or self._degree is None:
            return -self.problem.grad(state)
        return -self.problem.grad(self.scale * state) / self.scale ** (self._degree - 1)

    @property
    def curvature(self) -> AbstractCurvature:
        """Blocks of the neurons and a row for each sample, where the network is a sum over neurons and that is less."""
        places = neuron_places(self.problem.objective)
        if places is None or 4 * self.problem.data.n > self.problem.size:
            return DenseCurvature()
        if self.scale is None or self._degree is None:
            return NeuronCurvature(self.problem)
        return NeuronCurvature(self.problem, self.scale, self.scale ** (2 - self._degree))

    def parameters(self, state: Theta) -> Theta:
        return state if self.scale is None else self.scale * state

    def log_time(self, clock: Time, state: Theta) -> Time:
        if self.scale is None or self._degree is None:
            return jnp.log(clock)
        return jnp.log(clock) - (self._degree - 2) * jnp.log(self.scale)

    def potential(self, state: Theta) -> Scalar:
        return self.problem.loss(self.parameters(state))

    def dissipation(self, state: Theta, velocity: Theta) -> Scalar:
        # ‖∇L‖² dt/dτ = δ^{2L−2} ‖s'‖² δ^{2−L}.
        squared = inner(velocity, velocity)
        if self.scale is None or self._degree is None:
            return squared
        return self.scale**self._degree * squared
