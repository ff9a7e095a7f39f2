"""Which KKT point of the correlation function each of many directions has reached."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from gfsim.landscape.correlation import correlation_kkt
from gfsim.problems.problem import Problem
from gfsim.types import Array, Theta

COLLAPSED, UNRESOLVED = -1, -2

# Bounds the memory to this many gradients at once.
_BATCH = 64


class Basins(NamedTuple):
    """KKT values N*, largest first, and for every direction the index of its own.

    A label is `COLLAPSED` where N and its slope on the sphere are both nil (the weights shrink towards 0, or no sample
    is active), and `UNRESOLVED` where the direction has not come to rest at any of these.
    """

    values: Float[np.ndarray, "points"]
    labels: Int[np.ndarray, "members"]

    def share(self, label: int) -> float:
        """The fraction of directions with this label."""
        return float(np.mean(self.labels == label))

    def __str__(self) -> str:
        parts = {f"N* = {value:.4g}": i for i, value in enumerate(self.values)}
        parts |= {"collapsed": COLLAPSED, "unresolved": UNRESOLVED}
        return ", ".join(f"{name} {100 * self.share(label):.1f} %" for name, label in parts.items())


def basins(problem: Problem, ends: Float[Array, "members P"], tolerance: float = 1e-3) -> Basins:
    """Sorts the ends of a sample of correlation flows by the KKT point they are at.

    A direction rests where ‖∇N(û) − L N(û)û‖ ≤ tolerance·N_max, N_max the largest N of the sample. Resting directions
    of |N(û)| ≤ tolerance·N_max have collapsed, as has θ = 0; those of N(û) < −tolerance·N_max are at no maximum: a flow
    leaves them, and they are unresolved, as are rows that are not finite. Of the others, the largest N is refined by
    `correlation_kkt`, and takes all that agree with its value to `tolerance`, until none is left; those whose point
    cannot be refined are unresolved. Different points of equal value (permuted neurons) count as one.

    Raises ValueError for a sample of none.
    """
    if not len(ends):
        raise ValueError(f"ends must hold at least one direction, had shape {ends.shape}")
    # By the largest entry first: flows that run on for long have norms whose square overflows.
    directions = ends / jnp.max(jnp.abs(ends), axis=1, keepdims=True)
    directions = directions / jnp.linalg.norm(directions, axis=1, keepdims=True)
    values, slopes = (np.asarray(x) for x in _values_and_slopes(problem, directions))
    scale = float(np.max(values, initial=0.0, where=np.isfinite(values)))
    resting = slopes <= tolerance * scale
    labels = np.full(len(values), UNRESOLVED)
    labels[resting & (np.abs(values) <= tolerance * scale)] = COLLAPSED
    # Which has no direction.
    labels[~np.any(np.asarray(ends), axis=1)] = COLLAPSED
    open_ = resting & (values > tolerance * scale)
    found: list[float] = []
    while np.any(open_):
        leader = int(np.argmax(np.where(open_, values, -np.inf)))
        point = correlation_kkt(problem, directions[leader])
        mine = open_ & (np.abs(values - values[leader]) <= tolerance * values[leader])
        if point.refined and abs(point.value - values[leader]) <= tolerance * values[leader]:
            labels[mine] = len(found)
            found.append(point.value)
        open_ &= ~mine
    return Basins(np.array(found), labels)


@eqx.filter_jit
def _values_and_slopes(problem: Problem, directions: Float[Array, "members P"]) -> tuple[Array, Array]:
    def one(u: Theta) -> tuple[Array, Array]:
        value, gradient = jax.value_and_grad(problem.correlation)(u)
        return value, jnp.linalg.norm(gradient - jnp.vdot(u, gradient) * u)

    return jax.lax.map(one, directions, batch_size=_BATCH)
