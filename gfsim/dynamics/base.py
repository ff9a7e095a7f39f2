"""The interface of everything that moves continuously."""

import abc
from typing import ClassVar

import equinox as eqx
from equinox import AbstractVar
from jaxtyping import Array, Float, PyTree

from gfsim.problems.problem import Problem
from gfsim.solvers.curvature import AbstractCurvature, DenseCurvature
from gfsim.types import Scalar, Theta, Time


class AbstractFlow(eqx.Module):
    """A vector field on its own state and its own clock, together with the way back to θ and to physical time.

    A flow knows how its `potential` Φ falls: dΦ/dclock = −`dissipation` exactly, which is what `simulate` integrates
    along with the state and reports as the energy residual.
    """

    problem: AbstractVar[Problem]
    # Whether the Jacobian of the vector field is symmetric: only then may a solver factorise it as such.
    symmetric: ClassVar[bool] = False

    @property
    def curvature(self) -> AbstractCurvature:
        """How an implicit solver finds the symmetric −∂(velocity)/∂state and solves with it."""
        return DenseCurvature()

    gradients_after_step: ClassVar[int] = 0
    """What `after_step` costs, in gradients."""

    def initial_state(self, theta0: Theta) -> PyTree[Float[Array, "..."]]:
        """The state that the vector `theta0` given to `simulate` stands for: by default itself."""
        return theta0

    @abc.abstractmethod
    def vector_field(self, clock: Time, state: PyTree) -> PyTree:
        """d state / d clock."""

    @abc.abstractmethod
    def parameters(self, state: PyTree) -> Theta:
        """θ of a state."""

    @abc.abstractmethod
    def log_time(self, clock: Time, state: PyTree) -> Time:
        """Natural logarithm of physical time; −inf at time zero."""

    @abc.abstractmethod
    def potential(self, state: PyTree) -> Scalar:
        """The function Φ that the flow descends."""

    @abc.abstractmethod
    def dissipation(self, state: PyTree, velocity: PyTree) -> Scalar:
        """−dΦ/dclock at a state whose velocity is `velocity`."""

    def after_step(self, clock: Time, state: PyTree) -> PyTree:
        """The state at the end of a step, where a flow keeps books that are no part of the motion.

        It must leave θ and the velocity as they are.
        """
        return state
