"""What gfsim asks of its own solvers beyond diffrax's interface."""

import abc

import diffrax as dfx
from jaxtyping import Array, Float, Int, PyTree


class AbstractFlowSolver(dfx.AbstractAdaptiveSolver):
    """A diffrax solver that counts its work, keeps what a rejected step taught it, and has a say in its step size.

    Plain `diffrax.diffeqsolve` needs none of the three and works without them.
    """

    @abc.abstractmethod
    def work(self, state: PyTree) -> tuple[Int[Array, ""], Int[Array, ""]]:
        """(evaluations of the field, Jacobian–vector products) spent so far."""

    @abc.abstractmethod
    def step_size(self, state: PyTree, proposed: Float[Array, ""]) -> Float[Array, ""]:
        """The step to try where the error control proposes `proposed`."""

    @abc.abstractmethod
    def after_rejection(self, before: PyTree, after: PyTree) -> PyTree:
        """The solver state to go on with when the step from `before` to `after` was rejected."""
