"""What gfsim asks of its own solvers beyond diffrax's interface."""

import abc

import diffrax as dfx
from jaxtyping import Array, Float, Int, PyTree


class AbstractFlowSolver(dfx.AbstractAdaptiveSolver):
    """A diffrax solver that counts its work, keeps what a rejected step taught it, and knows its longest step.

    Plain `diffrax.diffeqsolve` needs none of the three and works without them.
    """

    @abc.abstractmethod
    def work(self, state: PyTree) -> tuple[Int[Array, ""], Int[Array, ""]]:
        """(evaluations of the field, Jacobian–vector products) spent so far."""

    @abc.abstractmethod
    def longest_step(self, state: PyTree) -> Float[Array, ""]:
        """The longest step worth trying, infinite where there is no limit."""

    @abc.abstractmethod
    def after_rejection(self, before: PyTree, after: PyTree) -> PyTree:
        """The solver state to go on with when the step from `before` to `after` was rejected."""
