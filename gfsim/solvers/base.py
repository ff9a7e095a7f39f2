"""What gfsim asks of its own solvers beyond diffrax's interface."""

import abc
from collections.abc import Callable
from typing import Any, NamedTuple

import diffrax as dfx
from jaxtyping import Array, Float, Int, PyTree


class FineRows(NamedTuple):
    """Dense output for rows that are kept: its class, how `made(terms, t0, t1, dense_info)` gives what that is made of,
    and the evaluations of the field that this takes in a step."""

    path_cls: Callable[..., dfx.AbstractLocalInterpolation]
    made: Callable[[PyTree, Any, Any, dict[str, PyTree]], dict[str, PyTree]]
    cost: int


class AbstractFlowSolver(dfx.AbstractAdaptiveSolver):
    """A diffrax solver that counts its work, keeps what a rejected step taught it, has a say in its step size, and may
    take more trouble with rows than with dense output that is seldom looked at.

    Plain `diffrax.diffeqsolve` needs none of the four and works without them.
    """

    @abc.abstractmethod
    def work(self, state: PyTree) -> tuple[Int[Array, ""], Int[Array, ""]]:
        """(evaluations of the field, Jacobian–vector products) spent so far."""

    @abc.abstractmethod
    def step_size(self, state: PyTree, proposed: Float[Array, ""]) -> Float[Array, ""]:
        """The step to try where the error control proposes `proposed`."""

    def fine_rows(self, size: int) -> FineRows | None:
        """Better dense output for the rows of a state of so many numbers, where that of any step errs more than it."""
        return None

    @abc.abstractmethod
    def after_rejection(self, before: PyTree, after: PyTree) -> PyTree:
        """The solver state to go on with when the step from `before` to `after` was rejected."""
