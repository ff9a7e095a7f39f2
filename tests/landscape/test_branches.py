"""Embedding and reduction, strata counted by hand, inertia from narrow quantities, and the worked example."""

import itertools
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gfsim.landscape import (
    Inertia,
    Stratum,
    branch_dimension,
    connections,
    count_with_dead,
    count_without_dead,
    critical_embedding,
    critical_reduction,
    dead_weights,
    inertia,
    predicted_inertia,
    sample,
    strata,
    stratum,
    walk,
    worked_example,
)
from gfsim.problems import Dataset, Problem
from gfsim.problems.networks import DiagonalLinear, ReLUPower, Softplus, Tanh, TwoLayer
from gfsim.verification.critical_cases import embedded_cases
from tests.systems.critical import solve

EXAMPLE = worked_example()
TANH, SOFTPLUS = (TwoLayer(1, 1, activation, key=jax.random.key(0)) for activation in (Tanh(), Softplus()))
NARROW = EXAMPLE.problem.network_at(EXAMPLE.problem.theta)


def network(w, a, activation=None):
    return eqx.tree_at(lambda n: (n.w, n.a), activation or TANH, (jnp.asarray(w), jnp.asarray(a)))


def embedded(shares, dead=None):
    wide = critical_embedding(NARROW, shares, None if dead is None else np.array(dead))
    return Problem(wide, EXAMPLE.problem.data, EXAMPLE.problem.criterion)


def test_reduction_undoes_embedding_in_a_thousand_random_cases():
    random = np.random.default_rng(0)
    for case in range(1000):
        activation = TANH if case % 2 else SOFTPLUS
        r, d, l = random.integers(1, 4), random.integers(1, 4), random.integers(0, 3)
        w, a = random.normal(size=(r, d)), random.normal(size=r)
        shares = []
        for size in random.integers(1, 4, size=r):
            own = random.normal(size=size)
            shares.append([*own[1:], 1 - own[1:].sum()])
        wide = critical_embedding(network(w, a, activation), shares, random.normal(size=(l, d)))
        # Slots in any order and, where σ is odd, with any sign.
        order, sign = random.permutation(wide.a.size), np.ones(wide.a.size)
        if case % 2:
            sign = random.choice([-1.0, 1.0], wide.a.size)
        wide = network((sign[:, None] * np.asarray(wide.w))[order], (sign * np.asarray(wide.a))[order], activation)
        reduced = critical_reduction(wide)
        assert stratum(wide) == (r, l, wide.a.size - l - r + (d - 1) * l)
        for v, b in zip(np.asarray(reduced.w), np.asarray(reduced.a), strict=True):
            signs = (1.0, -1.0) if case % 2 else (1.0,)
            assert min(np.abs(t * v - w[j]).max() + abs(t * b - a[j]) for j in range(r) for t in signs) < 1e-12
        assert reduced.a.size == r


def assignments(r, m, dead):
    """All ways to call each of m slots a copy of one of r neurons, each used, or to put it in a group."""
    count = 0
    for labels in itertools.product(range(r + (m if dead else 0)), repeat=m):
        groups = [label for label in labels if label >= r]
        # Groups carry no name: their first members appear in order.
        first = list(dict.fromkeys(groups))
        count += set(range(r)) <= set(labels) and first == list(range(r, r + len(first)))
    return count


@pytest.mark.parametrize(("r", "m"), [(1, 1), (1, 4), (2, 3), (2, 4), (3, 4), (2, 5)])
def test_counts_by_enumeration(r, m):
    assert count_without_dead(r, m) == assignments(r, m, dead=False)
    assert count_with_dead(r, m) == assignments(r, m, dead=True)
    # And from the partitions: each stands for m!/(Π|B_j|! l!) assignments of slots.
    partitions = strata(r, m, 2)[Stratum(r, 0, m - r)]
    assert sum(math.factorial(m) // math.prod(map(math.factorial, p.copies)) for p in partitions) == (
        count_without_dead(r, m)
    )


def test_graph_of_strata():
    assert list(strata(1, 3, 2)) == [Stratum(1, 0, 2), Stratum(1, 1, 2), Stratum(1, 2, 2)]
    assert [p.copies for p in strata(2, 4, 1)[Stratum(2, 0, 2)]] == [(1, 3), (2, 2), (3, 1)]
    assert connections(1, 3, 1) == [(Stratum(1, 0, 2), Stratum(1, 1, 1)), (Stratum(1, 1, 1), Stratum(1, 2, 0))]
    with pytest.raises(ValueError, match=r"^r must be at most m = 2, was 3"):
        strata(3, 2, 1)


def test_worked_example_a_second_way():
    second, w, value = solve()
    np.testing.assert_allclose([EXAMPLE.residual, EXAMPLE.problem.theta[0], EXAMPLE.value], [second, w, value], 1e-13)
    np.testing.assert_allclose(2 * EXAMPLE.problem.loss(EXAMPLE.problem.theta), value, 1e-15)
    assert np.linalg.norm(EXAMPLE.problem.grad(EXAMPLE.problem.theta)) < 2e-15
    zeros = dead_weights(EXAMPLE.problem, [-3.0], [3.0])
    np.testing.assert_allclose(np.ravel(zeros), [-EXAMPLE.dead, 0, EXAMPLE.dead], atol=1e-14)


def test_zeros_at_grid_points_count_once():
    exact = [-EXAMPLE.dead, 0, EXAMPLE.dead]
    for grid in (400, 401):
        found = dead_weights(EXAMPLE.problem, [-0.5], [0.5], grid)
        assert len(found) == 3
        np.testing.assert_allclose(np.ravel(found), exact, atol=1e-14)
    # φ = Σ e_i max(v x_i, 0) of positive inputs vanishes for v ≤ 0: no zero of it is alone.
    relu = TwoLayer(1, 1, ReLUPower(1), key=jax.random.key(0))
    off = Problem(relu, Dataset(np.ones((2, 1)), np.ones(2)), EXAMPLE.problem.criterion)
    assert dead_weights(off, [-1.0], [-0.1], 5).shape == (0, 1)
    with pytest.raises(ValueError, match=r"^grid must be at least 2, was 1"):
        dead_weights(EXAMPLE.problem, [-0.5], [0.5], 1)
    with pytest.raises(ValueError, match=r"^end must have shape \(1,\), was \(2,\)"):
        dead_weights(EXAMPLE.problem, [-0.5], [0.5, 0.5])


STRATA = {
    "inside": ([[0.3, 0.7]], None, (3, 0, 1), 1),
    "outside": ([[-0.3, 1.3]], None, (2, 1, 1), 1),
    "dead": ([[1.0]], [[EXAMPLE.dead]], (3, 1, 0), 0),
    "three, two negative": ([[-0.2, -0.7, 1.9]], None, (2, 2, 2), 2),
    "three, dead and outside": ([[-0.3, 1.3]], [[-EXAMPLE.dead]], (3, 2, 1), 1),
    "three, two dead": ([[1.0]], [[EXAMPLE.dead], [0.0]], (4, 2, 0), 0),
}


@pytest.mark.parametrize("name", STRATA)
def test_strata_of_the_worked_example(name):
    shares, dead, signs, dimension = STRATA[name]
    wide = embedded(shares, dead)
    assert predicted_inertia(EXAMPLE.problem, shares, None if dead is None else np.array(dead)) == signs
    assert inertia(wide, wide.theta) == signs
    assert stratum(wide.network_at(wide.theta)).dimension == branch_dimension(wide, wide.theta) == dimension


def test_a_neuron_and_its_mirror_image_have_the_same_inertia():
    """(a, w) and (−a, −w) are one function for the odd tanh; M_j and every a_k change sign together."""
    mirrored = eqx.tree_at(lambda p: p.theta, EXAMPLE.problem, -EXAMPLE.problem.theta)
    for shares in ([[0.3, 0.7]], [[-0.2, -0.7, 1.9]]):
        assert predicted_inertia(mirrored, shares) == predicted_inertia(EXAMPLE.problem, shares)


def test_inertia_of_random_networks():
    cases = list(embedded_cases(2, 1, 4, 1, 6, seed=0))
    assert [case.predicted for case in cases] == [case.measured for case in cases]
    assert len({case.measured for case in cases}) > 1


@pytest.mark.verify
@pytest.mark.parametrize(("d", "r", "m", "l"), [(1, 2, 5, 1), (2, 2, 5, 2), (3, 1, 4, 1), (4, 3, 6, 1)])
def test_inertia_of_many_random_networks(d, r, m, l):
    for case in embedded_cases(d, r, m, l, 50, seed=d, n=12):
        assert case.predicted == case.measured


def test_walking_through_a_junction():
    """From shares (0.3, 0.7) the branch a₁ + a₂ = 1 goes on through a₁ = 0 to negative shares."""
    wide = embedded([[0.3, 0.7]])
    points = walk(wide, wide.theta, jnp.array([0.0, 0.0, -1.0, 1.0]), 0.07, 10)
    assert len(points) == 11
    np.testing.assert_allclose(points[:, 2] + points[:, 3], 1, atol=1e-12)
    np.testing.assert_allclose(points[-1, 2], 0.3 - 0.7 / np.sqrt(2), atol=1e-12)
    near = sample(wide, wide.theta, 0.05, 20)
    assert len(near) == 20
    np.testing.assert_allclose(near[:, 2] + near[:, 3], 1, atol=1e-10)


def test_refusals():
    with pytest.raises(ValueError, match=r"^shares must hold one list for each of the 1 neurons, held 2"):
        critical_embedding(NARROW, [[1.0], [1.0]])
    with pytest.raises(ValueError, match=r"^shares\[0\] must hold at least one fraction, was empty"):
        critical_embedding(NARROW, [[]])
    with pytest.raises(ValueError, match=r"^shares\[0\] must sum to one, was \[0.5, 0.6\], which sum to 1.1"):
        critical_embedding(NARROW, [[0.5, 0.6]])
    with pytest.raises(ValueError, match=r"^dead must have shape \(l, 1\) and be finite, was of shape \(1, 2\)"):
        critical_embedding(NARROW, [[1.0]], np.zeros((1, 2)))
    with pytest.raises(ValueError, match=r"^network must have no zero output weight, had one at neuron 1"):
        critical_embedding(network([[1.0], [2.0]], [1.0, 0.0]), [[1.0], [1.0]])
    with pytest.raises(ValueError, match=r"^network must be irreducible"):
        critical_embedding(network([[1.0], [-1.0]], [1.0, 0.5]), [[1.0], [1.0]])
    with pytest.raises(TypeError, match=r"^network must be a gf.networks.TwoLayer, was DiagonalLinear"):
        critical_reduction(DiagonalLinear(2))
    with pytest.raises(ValueError, match=r"^network must have a neuron that contributes, had none"):
        critical_reduction(network([[1.0], [1.0]], [1.0, -1.0]))
    with pytest.raises(
        ValueError, match=r"^dead: φ must vanish at every row for a critical point, was 0.\d+ at \[0.5\]"
    ):
        predicted_inertia(EXAMPLE.problem, [[1.0]], np.array([[0.5]]))
    with pytest.raises(ValueError, match=r"^dead: ∇φ must not vanish at a row"):
        predicted_inertia(EXAMPLE.problem, [[1.0]], np.asarray(NARROW.w))
    with pytest.raises(ValueError, match=r"^shares must not be zero"):
        predicted_inertia(EXAMPLE.problem, [[1.0, 0.0]])
    wide = embedded([[0.3, 0.7]])
    with pytest.raises(ValueError, match=r"^direction must have a part along the branch"):
        walk(wide, wide.theta, jnp.array([0.0, 0.0, 1.0, 1.0]), 0.1, 2)
    assert isinstance(inertia(wide, wide.theta), Inertia)
