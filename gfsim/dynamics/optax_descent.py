"""Descents whose updates optax makes."""

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PyTree

from gfsim.checks import positive_integer
from gfsim.dynamics.descent import AbstractDescent, positive_step
from gfsim.problems.checks import prng_key, tracing
from gfsim.problems.problem import Problem, checked_problem
from gfsim.types import Key, Theta


class OptaxState(eqx.Module):
    """θ, what the transformation remembers, and the order of the samples in this epoch."""

    theta: Theta
    memory: PyTree
    order: Int[Array, " n"] | None


class OptaxDescent(AbstractDescent):
    """θ ← θ + u with the updates u of any optax transformation, such as `optax.adam(1e-3)`.

    The transformation is complete: it holds its own learning rate and sign. `step_size` is the time η that one step
    stands for on the clock t = kη; for `optax.sgd(η)` it is the learning rate. One that asks for the loss, such as a
    line search, is given that of the batch.

    With `batch_size` b the gradient is that of a mini-batch: the n samples are shuffled anew in every epoch with
    `key` and taken b at a time, ⌊n/b⌋ batches an epoch; the same key gives the same batches. A loss summed over
    samples is scaled by n/b, so that the mean of the batch gradients is the full gradient where b divides n.

    Raises ValueError if `step_size` is not positive and finite, if `batch_size` is not in 1 … n, or if only one of
    `batch_size` and `key` is given, and for a transformation that a step cannot use; TypeError if `transformation` is
    not an optax transformation.
    """

    problem: Problem
    step_size: Float[Array, ""]
    transformation: optax.GradientTransformation = eqx.field(static=True)
    batch_size: int | None = eqx.field(static=True)
    key: Key | None

    def __init__(
        self,
        problem: Problem,
        transformation: optax.GradientTransformation,
        step_size: float,
        batch_size: int | None = None,
        key: Key | None = None,
    ):
        checked_problem(problem)
        if not isinstance(transformation, optax.GradientTransformation):
            raise TypeError(f"transformation must be an optax transformation, was {transformation!r}")
        if (batch_size is None) != (key is None):
            missing = "key" if key is None else "batch_size"
            raise ValueError(f"batch_size and key must be given together, {missing} was missing")
        if batch_size is not None and positive_integer("batch_size", batch_size) > problem.data.n:
            raise ValueError(f"batch_size must lie between 1 and n = {problem.data.n}, was {batch_size}")
        self.problem = problem
        self.transformation = transformation
        self.step_size = positive_step(step_size)
        self.batch_size = batch_size
        self.key = None if key is None else prng_key("key", key)
        with tracing("transformation", transformation.update, "an optax transformation for a vector"):
            jax.eval_shape(lambda theta: self.step(jnp.zeros((), int), self.init(theta)), problem.theta)

    def init(self, theta0: Theta) -> OptaxState:
        order = None if self.batch_size is None else jnp.arange(self.problem.data.n)
        return OptaxState(theta0, self.transformation.init(theta0), order)

    def step(self, count: Int[Array, ""], state: OptaxState) -> OptaxState:
        order = self._order(count, state.order)
        batch, weight = self._batch(count, order)
        gradient, value = weight * batch.grad(state.theta), lambda theta: weight * batch.loss(theta)
        update = optax.with_extra_args_support(self.transformation).update
        # optax mixes its own precisions (counts in int32, decay rates as Python numbers).
        with jax.numpy_dtype_promotion("standard"):
            updates, memory = update(
                gradient, state.memory, state.theta, value=value(state.theta), grad=gradient, value_fn=value
            )
        return OptaxState(jnp.asarray(optax.apply_updates(state.theta, updates)), memory, order)

    def parameters(self, state: OptaxState) -> Theta:
        return state.theta

    def _place(self, count: Int[Array, ""]) -> tuple[Int[Array, ""], Int[Array, ""]]:
        assert self.batch_size is not None
        per_epoch = self.problem.data.n // self.batch_size
        return count // per_epoch, count % per_epoch

    def _order(self, count: Int[Array, ""], order: Int[Array, " n"] | None) -> Int[Array, " n"] | None:
        key = self.key
        if order is None or key is None:
            return None
        epoch, place = self._place(count)
        shuffled = lambda: jax.random.permutation(jax.random.fold_in(key, epoch), order.size)  # noqa: E731
        return jax.lax.cond(place == 0, shuffled, lambda: order)

    def _batch(self, count: Int[Array, ""], order: Int[Array, " n"] | None) -> tuple[Problem, float]:
        """The problem of this step's samples, and the factor of its loss."""
        if order is None or self.batch_size is None:
            return self.problem, 1.0
        _, place = self._place(count)
        chosen = jax.lax.dynamic_slice_in_dim(order, place * self.batch_size, self.batch_size)
        data = self.problem.data
        batch = eqx.tree_at(
            lambda p: (p.objective.data.inputs, p.objective.data.targets),
            self.problem,
            (data.inputs[chosen], data.targets[chosen]),
        )
        scale = self.problem.criterion.scale(data.n) / self.problem.criterion.scale(self.batch_size)
        return batch, scale * data.n / self.batch_size
