"""Critical points of random two-layer networks, and random wide networks over them."""

from collections.abc import Iterator
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from gfsim.landscape.branches import Dead, Shares, critical_embedding
from gfsim.landscape.critical import Inertia, critical_points, inertia
from gfsim.landscape.strata import dead_weights, predicted_inertia, residual_weights
from gfsim.problems import Dataset, Problem
from gfsim.problems.losses import Square
from gfsim.problems.networks import Tanh, TwoLayer

# Farther out, or with an output weight below, a point is on the way to infinity or next to a narrower network's.
_FARTHEST, _SMALLEST = 20.0, 0.05


class Embedded(NamedTuple):
    """A narrow critical point, how it was widened, and the wide point's inertia: predicted and measured."""

    narrow: Problem
    shares: Shares
    dead: Dead
    predicted: Inertia
    measured: Inertia


def narrow_points(d: int, r: int, n: int, seed: int) -> Iterator[Problem]:
    """Problems on n random samples in R^d, each at a critical point of its own r tanh neurons that does not fit."""
    random = np.random.default_rng(seed)
    first = Dataset(random.standard_normal((n, d)), random.standard_normal(n))
    problem = Problem(TwoLayer(d, r, Tanh(), key=jax.random.key(seed)), first, Square("sum"))
    while True:
        targets = jnp.asarray(random.standard_normal(n))
        problem = eqx.tree_at(lambda p: p.objective.data.targets, problem, targets)
        starts = jnp.asarray(1.5 * random.standard_normal((16, problem.size)))
        for point in critical_points(problem, starts, reach=10.0):
            # Signs are counted where the gradient is rounding, and not where it is only small for so stiff a point.
            if point.gradient_norm < 1e-12 and _is_narrow(problem.network_at(point.theta)):
                yield at(problem, point.theta)
                # One from each data set.
                break


def _is_narrow(network: TwoLayer) -> bool:
    w, a = np.asarray(network.w), np.asarray(network.a)
    norms = np.linalg.norm(w, axis=1)
    if not (max(norms.max(), np.abs(a).max()) < _FARTHEST and min(np.abs(a).min(), norms.min()) > _SMALLEST):
        return False
    apart = [min(np.linalg.norm(w[j] - w[k]), np.linalg.norm(w[j] + w[k])) for j in range(len(w)) for k in range(j)]
    return bool(min(apart, default=1.0) > _SMALLEST)


def embedded_cases(d: int, r: int, m: int, l: int, count: int, seed: int, n: int = 8) -> Iterator[Embedded]:
    """`count` narrow points with r neurons, widened to m with l dead neurons and random shares of either sign."""
    random = np.random.default_rng(seed)
    found = 0
    for problem in narrow_points(d, r, n, seed):
        dead = _random_dead(problem, l, random)
        if len(dead) < l:
            continue
        sizes = np.ones(r, int) + random.multinomial(m - l - r, np.ones(r) / r)
        shares = [_random_shares(size, random) for size in sizes]
        wide = critical_embedding(problem.network_at(problem.theta), shares, dead)
        over = Problem(wide, problem.data, problem.criterion)
        yield Embedded(problem, shares, dead, predicted_inertia(problem, shares, dead), inertia(over, over.theta))
        found += 1
        if found == count:
            return


def at(problem: Problem, theta: jax.Array) -> Problem:
    """The same problem whose own parameters are θ."""
    return eqx.tree_at(lambda p: p.theta, problem, theta)


def _random_dead(problem: Problem, l: int, random: np.random.Generator) -> np.ndarray:
    d = problem.data.d
    rows = np.zeros((0, d))
    for _ in range(20):
        if len(rows) >= l or float(jnp.linalg.norm(residual_weights(problem))) < 1e-3:
            break
        ends = 3 * random.standard_normal((2, d))
        rows = np.concatenate([rows, dead_weights(problem, *ends, grid=64)[:1]])
    return rows[:l]


def _random_shares(size: int, random: np.random.Generator) -> list[float]:
    drawn = random.uniform(0.3, 1.0, size) * random.choice([-1.0, 1.0], size)
    # A sum near zero would blow the shares up.
    drawn[0] += 2.0 * size
    return (drawn / drawn.sum()).tolist()
