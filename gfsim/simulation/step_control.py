"""Step size control on one global norm."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from gfsim.norms import two_norm
from gfsim.types import Scalar

SAFETY, PROPORTIONAL, DAMPING = 0.9, 0.7, 0.4
SHRINK_AT_MOST = 0.1
GROW_AT_MOST = 5.0


class Tolerance(NamedTuple):
    """The error norm max over the state's leaves of ‖e‖₂/(atol + rtol·‖y‖₂).

    A flow's parameters are one leaf, so the norm is invariant under rotations and isometric neuron splitting; clocks
    and log-norms carried beside them are leaves of their own and weigh relative to themselves.
    """

    rtol: Float[Array | np.ndarray, "..."]
    atol: Float[Array | np.ndarray, "..."]

    def size(self, leaf: Array, *others: Array) -> Scalar:
        """atol + rtol·max‖y‖₂."""
        norms = jnp.stack([two_norm(y) for y in (leaf, *others)])
        return jnp.asarray(self.atol) + self.rtol * jnp.max(norms)

    def ratio(self, error: PyTree, *states: PyTree) -> Scalar:
        """The error norm of a step between `states`; a step is accepted where it is at most one."""
        leaves = jax.tree.map(lambda e, *y: two_norm(e) / self.size(*y), error, *states)
        return jnp.max(jnp.stack(jax.tree.leaves(leaves)))


def next_step(
    step: Scalar, error: Scalar, order: int, accepted: Array, last_step: Scalar, last_error: Scalar
) -> Scalar:
    """The step to try next, from the error ratio of the last one (accepted where ≤ 1; k = `order` is the error's).

    h·0.9·err^{−0.7/k}·err_last^{0.4/k} after two accepted steps, h·0.9·err^{−1/k} else: a proportional-integral rule
    [Gustafsson 1991; Hairer & Wanner, IV.2]. At a method's stability limit, where the plain one makes steps grow and be
    refused in turn, it has fewer refused, and on a smooth flow errors settle at 0.9^{k/0.3}. `last_step` = 0 where
    there is no accepted predecessor.
    """
    # Where nothing moves no step errs. A last error of nothing would cut a step that is as long as it may be.
    error, last_error = jnp.maximum(error, 1e-12), jnp.maximum(last_error, 1e-4)
    damped = error ** (-PROPORTIONAL / order) * last_error ** (DAMPING / order)
    factor = SAFETY * jnp.where(accepted & (last_step > 0), damped, error ** (-1 / order))
    # An overflowing trial has an infinite error; the plain rule then gives 0.
    return step * jnp.clip(factor, SHRINK_AT_MOST, jnp.where(accepted, GROW_AT_MOST, SAFETY))


def first_step(field, y: PyTree, slope: PyTree, order: int, tolerance: Tolerance, remaining: Scalar) -> Scalar:
    """A starting step from the sizes of y, y' and y'' [Hairer, Nørsett & Wanner, II.4]; one evaluation of `field`."""
    # The start's own size stands for the whole state: leaves that start at zero have none.
    size, speed = two_norm(y), two_norm(slope)
    scale = tolerance.atol + tolerance.rtol * size
    trial = jnp.where(speed > 0, 0.01 * size / jnp.where(speed > 0, speed, 1.0), remaining)
    trial = jnp.minimum(jnp.where(trial > 0, trial, 1e-6), remaining)
    moved = _axpy(trial, slope, y)
    curvature = two_norm(_axpy(-1.0, slope, field(trial, moved))) / trial / scale
    speed = speed / scale
    largest = jnp.maximum(speed, curvature)
    by_order = jnp.where(
        largest > 1e-15, (0.01 / jnp.where(largest > 0, largest, 1.0)) ** (1 / order), jnp.maximum(1e-6, trial * 1e-3)
    )
    # A trial that overflows gives NaN: fall back on the trial, which the error test then shortens.
    step = jnp.where(jnp.isfinite(by_order), jnp.minimum(100 * trial, by_order), trial)
    return jnp.minimum(step, remaining)


def _axpy(a, x: PyTree, y: PyTree) -> PyTree:
    return jax.tree.map(lambda x, y: a * x + y, x, y)
