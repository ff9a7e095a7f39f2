"""Discrete optimisation: steps instead of a vector field."""

import abc

import equinox as eqx
import jax
import numpy as np
from equinox import AbstractVar
from jaxtyping import Array, Float, Int, PyTree

from gfsim.checks import real_number
from gfsim.problems.problem import Problem, checked_problem
from gfsim.types import Theta


class AbstractDescent(eqx.Module):
    """A map from iterate to iterate. Iterate k belongs to the clock t = kη, η = `step_size`."""

    problem: AbstractVar[Problem]
    step_size: AbstractVar[Float[Array, ""]]

    @abc.abstractmethod
    def init(self, theta0: Theta) -> PyTree:
        """The state before the first step."""

    @abc.abstractmethod
    def step(self, count: Int[Array, ""], state: PyTree) -> PyTree:
        """The state after step number `count` (counted from 0)."""

    @abc.abstractmethod
    def parameters(self, state: PyTree) -> Theta:
        """θ of a state."""


class GradientDescent(AbstractDescent):
    """θ ← θ − η∇L(θ), η = `step_size` > 0: Euler's method for gradient flow.

    Raises ValueError if `step_size` is not positive and finite.
    """

    problem: Problem
    step_size: Float[Array, ""]

    def __init__(self, problem: Problem, step_size: float):
        self.problem = checked_problem(problem)
        self.step_size = positive_step(step_size)

    def init(self, theta0: Theta) -> Theta:
        return theta0

    def step(self, count: Int[Array, ""], state: Theta) -> Theta:
        return state - self.step_size * self.problem.grad(state)

    def parameters(self, state: Theta) -> Theta:
        return state


def positive_step(step_size: float) -> Float[Array, ""]:
    if not 0 < real_number("step_size", step_size) < np.inf:
        raise ValueError(f"step_size must be a positive finite number, was {step_size}")
    return jax.device_put(np.asarray(step_size, float))
