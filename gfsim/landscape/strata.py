"""All strata of critical points over a narrow one: their dimensions, inertia, connections and number."""

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from gfsim.checks import finite_array, positive_integer
from gfsim.landscape.branches import Dead, Shares, Stratum, critical_embedding
from gfsim.landscape.critical import Inertia, count_signs, inertia
from gfsim.landscape.roots import zero_between
from gfsim.problems.networks import TwoLayer
from gfsim.problems.problem import Problem
from gfsim.types import Array, PerSample, Scalar

Point = Sequence[float] | Float[Array | np.ndarray, "d"]


class Partition(NamedTuple):
    """How many of m slots are copies of each narrow neuron, and how many are dead."""

    copies: tuple[int, ...]
    dead: int


def strata(r: int, m: int, d: int) -> dict[Stratum, list[Partition]]:
    """Every stratum C^{r,l} of m neurons in d dimensions over r narrow ones, with its partitions up to permutation.

    l = 0 … m − r; dimension (m − l − r) + (d − 1)l. Raises TypeError or ValueError unless 1 ≤ r ≤ m and d ≥ 1.
    """
    r, m, d = (positive_integer(name, value) for name, value in (("r", r), ("m", m), ("d", d)))
    if r > m:
        raise ValueError(f"r must be at most m = {m}, was {r}")
    return {
        Stratum(r, l, m - l - r + (d - 1) * l): [Partition(copies, l) for copies in _compositions(m - l, r)]
        for l in range(m - r + 1)
    }


def connections(r: int, m: int, d: int) -> list[tuple[Stratum, Stratum]]:
    """The graph of strata: C^{r,l} meets C^{r,l+1} where an output weight is zero and the input weights are equal.

    Its edges as pairs (C^{r,l}, C^{r',l'}), for networks of m neurons with inputs in R^d, reducible to r.
    """
    every = list(strata(r, m, d))
    return list(itertools.pairwise(every))


def count_without_dead(r: int, m: int) -> int:
    """G(r, m) = Σ_i (−1)^{r−i} C(r, i) i^m, in how many ways m slots can be copies of r neurons, each of one at least.

    Source: Şimşek et al., arXiv 2105.12221.
    """
    return sum((-1) ** (r - i) * math.comb(r, i) * i**m for i in range(r + 1))


def count_with_dead(r: int, m: int) -> int:
    """T(r, m) = Σ_u C(m, u) G(r, m−u) Bell(u): the same where u slots cancel in groups of equal input weights.

    Source: Şimşek et al., arXiv 2105.12221.
    """
    bell = [1]
    for u in range(m):
        bell.append(sum(math.comb(u, k) * bell[k] for k in range(u + 1)))
    return sum(math.comb(m, u) * count_without_dead(r, m - u) * bell[u] for u in range(m - r + 1))


def predicted_inertia(problem: Problem, shares: Shares, dead: Dead | None = None) -> Inertia:
    """The inertia of ∇²𝓛 at the critical embedding of the narrow `problem`'s own network, from narrow quantities alone.

    With n_±(j) the number of ±a_k > 0 in B_j, less one of the sign of a_j, and (p_j, q_j, z_j) the inertia of
    M_j = Σ_i e_i σ''(w_j·x_i) x_i x_iᵀ,

        n₊ = n₊(narrow) + Σ_j (n₊p_j + n₋q_j) + l,   n₋ = n₋(narrow) + Σ_j (n₊q_j + n₋p_j) + l,

    and the rest is zero: Σ_j (|B_j| − 1)z_j for the M_j and the stratum's dimension.

    Raises ValueError for a zero share, for a dead neuron with φ(v) ≠ 0 (its point is not critical) or ∇φ(v) = 0, and
    as `critical_embedding` and `inertia` do.

    Source: derived.
    """
    network = problem.network_at(problem.theta)
    wide = critical_embedding(network, shares, dead)
    if any(share == 0 for own in shares for share in own):
        raise ValueError(f"shares must not be zero, where branches meet and this rule ends, was {shares}")
    plus, minus, zero = inertia(problem, problem.theta)
    (m, d), r = wide.w.shape, network.a.size
    l = m - sum(len(own) for own in shares)
    for v in np.asarray(wide.w)[m - l :]:
        value, slope = _dead_slope(problem, jnp.asarray(v))
        size = float(jnp.linalg.norm(residual_weights(problem)))
        if abs(float(value)) > 1e-9 * size:
            raise ValueError(f"dead: φ must vanish at every row for a critical point, was {float(value):.3g} at {v}")
        if float(jnp.linalg.norm(slope)) <= 1e-9 * size:
            raise ValueError(f"dead: ∇φ must not vanish at a row, did at {v}")
    for own, a, matrix in zip(shares, np.asarray(network.a), curvatures(problem), strict=True):
        positive = sum(share > 0 for share in own) - 1
        negative = len(own) - 1 - positive
        if a < 0:
            positive, negative = negative, positive
        p, q, z = count_signs(np.linalg.eigvalsh(matrix))
        plus += positive * p + negative * q
        minus += positive * q + negative * p
        zero += (len(own) - 1) * z
    return Inertia(plus + l, minus + l, zero + (m - l - r) + (d - 1) * l)


@eqx.filter_jit
def residual_weights(problem: Problem) -> PerSample:
    """e_i = ∂𝓛/∂f(x_i) at the problem's own θ."""
    return -problem.criterion.pull(problem.outputs(problem.theta), problem.data.targets)


def curvatures(problem: Problem) -> Float[np.ndarray, "r d d"]:
    """M_j = Σ_i e_i σ''(w_j·x_i) x_i x_iᵀ of every neuron of the problem's own network, a `TwoLayer`."""
    return np.asarray(_curvatures(problem))


@eqx.filter_jit
def _curvatures(problem: Problem) -> Float[Array, "r d d"]:
    network, x, e = problem.network_at(problem.theta), problem.data.inputs, residual_weights(problem)
    bend = jax.vmap(jax.vmap(jax.grad(jax.grad(network.activation))))(network.w @ x.T)
    return jnp.einsum("i,ji,ik,il->jkl", e, bend, x, x)


@eqx.filter_jit
def dead_correlation(problem: Problem, v: Float[Array, "d"]) -> Scalar:
    """φ(v) = Σ_i e_i σ(v·x_i) at the problem's own network: the slope of 𝓛 in the output weight of a neuron v."""
    network: TwoLayer = problem.network_at(problem.theta)
    return jnp.vdot(residual_weights(problem), network.activation(problem.data.inputs @ v))


@eqx.filter_jit
def _dead_slope(problem: Problem, v: Float[Array, "d"]) -> tuple[Scalar, Float[Array, "d"]]:
    return jax.value_and_grad(lambda u: dead_correlation(problem, u))(v)


@eqx.filter_jit
def _dead_correlations(problem: Problem, rows: Float[Array, "rows d"]) -> Float[Array, "rows"]:
    return jax.vmap(lambda v: dead_correlation(problem, v))(rows)


def dead_weights(problem: Problem, start: Point, end: Point, grid: int = 400) -> Float[np.ndarray, "zeros d"]:
    """The zeros of φ on the segment from `start` to `end` at, or with a change of sign between, `grid` points.

    Shape (zeros, d), in their order along the segment: input weights that a dead neuron of a critical point may have. A
    stretch on which φ vanishes, as where a ReLU is off, is left out.

    Raises ValueError for a grid of fewer than two points and ends of another shape than (d,), or TypeError.
    """
    if positive_integer("grid", grid) < 2:
        raise ValueError(f"grid must be at least 2, was {grid}")
    d = problem.data.d
    start, along = finite_array("start", start, d), finite_array("end", end, d) - finite_array("start", start, d)
    places = np.linspace(0.0, 1.0, grid)
    rows = jnp.asarray(start + places[:, None] * along)
    values = np.asarray(_dead_correlations(problem, rows))

    def value(s: float) -> float:
        return float(dead_correlation(problem, jnp.asarray(start + s * along)))

    nil = values == 0
    alone = nil & ~np.append(nil[1:], False) & ~np.append(False, nil[:-1])
    # By signs: a product of small values underflows.
    crossings = np.flatnonzero(np.sign(values[:-1]) * np.sign(values[1:]) < 0)
    between = [zero_between(value, places[i], places[i + 1]) for i in crossings]
    return start + np.reshape(sorted([*places[alone], *between]), (-1, 1)) * along


def _compositions(total: int, parts: int) -> Iterator[tuple[int, ...]]:
    if parts == 1:
        yield (total,)
        return
    for first in range(1, total - parts + 2):
        yield from ((first, *rest) for rest in _compositions(total - first, parts - 1))
