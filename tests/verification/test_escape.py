"""Escape from saddles with closed forms, and where paths end."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gfsim.landscape import polish
from gfsim.problems import Dataset, Problem, losses
from gfsim.problems.networks import ReLUPower, Tanh, TwoLayer
from gfsim.verification.escape import destination, distance_to_branch, escape_times, shoot, unstable_directions
from gfsim.verification.pursuit import best_neuron

pytestmark = pytest.mark.slow


def saddle():
    """L = 1 + ½x² − ½·0.3y²: exactly y = ε e^{0.3t}, so that a drop D takes ln(√(2D/0.3)/ε)/0.3."""
    problem = Problem.from_loss(lambda z: 1 + 0.5 * z[0] ** 2 - 0.15 * z[1] ** 2, jnp.zeros(2))
    return problem, polish(problem, problem.theta)


def test_times_of_a_quadratic_saddle():
    problem, point = saddle()
    epsilons, drop = np.array([1e-2, 1e-5]), 0.5
    np.testing.assert_allclose(unstable_directions(problem, point), [[0, 1]], atol=1e-15)
    exact = np.log(np.sqrt(2 * drop / 0.3) / epsilons) / 0.3
    np.testing.assert_allclose(escape_times(problem, point, epsilons, drop), exact, rtol=1e-9)
    # Between two iterates the drop grows by (1 + hλ)², so that the logarithm interpolates exactly.
    slower = exact * 0.3 * 0.2 / np.log1p(0.2 * 0.3)
    np.testing.assert_allclose(escape_times(problem, point, epsilons, drop, 0.2), slower, rtol=1e-9)


def test_refusals():
    problem = Problem.from_loss(lambda z: jnp.sum(z**2), jnp.zeros(2))
    with pytest.raises(ValueError, match=r"^point must be a strict saddle, had no negative eigenvalue"):
        escape_times(problem, polish(problem, problem.theta), [1e-3], 0.1)
    own, point = saddle()
    with pytest.raises(ValueError, match=r"^drop must be positive, was 0"):
        escape_times(own, point, [1e-3], 0.0)


def tanh_problem(w, a):
    network = TwoLayer(1, 1, Tanh(), key=jax.random.key(0))
    network = eqx.tree_at(lambda n: (n.w, n.a), network, (jnp.array(w)[:, None], jnp.array(a)))
    x = np.array([[0.25], [1.0], [2.0]])
    return Problem(network, Dataset(x, np.tanh(x[:, 0])), losses.Square())


def test_paths_end_where_they_should():
    """aσ(wx) = tanh x: from the saddle a = w = 0, ab > 0 leads to (1, 1) or (−1, −1), which is the same neuron."""
    problem = tanh_problem([0.0], [0.0])
    point = polish(problem, problem.theta)
    runs = shoot(problem, point, np.array([[1.0], [-1.0]]), 1e-2, 1e4)
    ends = [destination(problem, theta) for theta in runs.theta[:, -1]]
    assert [(end.stratum.r, end.stratum.l) for end in ends] == [(1, 0), (1, 0)]
    np.testing.assert_allclose([np.prod(end.point.theta) for end in ends], 1, rtol=1e-8)
    assert str(ends[0]).startswith("C^(1,0) at 𝓛 = ")
    assert str(destination(problem, jnp.array([3.0, 0.2]))) == "infinity"


def test_distance_to_the_branches():
    narrow = tanh_problem([1.0], [1.0]).network_at(jnp.ones(2))
    # Two copies that share 1.0, and a dead neuron.
    wide = tanh_problem([1.0, 1.0, 5.0], [0.4, 0.6, 0.0])
    assert distance_to_branch(wide, wide.theta, narrow) < 1e-15
    moved = tanh_problem([1.1, 1.0, 5.0], [0.4, 0.8, 0.3])
    expected = np.sqrt(0.1**2 + 0.2**2 / 2 + 0.3**2)
    np.testing.assert_allclose(distance_to_branch(moved, moved.theta, narrow), expected, rtol=1e-12)


def test_the_best_neuron_is_the_planted_one():
    random = np.random.default_rng(0)
    x = random.standard_normal((200, 3))
    network = TwoLayer(3, 2, ReLUPower(2), key=jax.random.key(0))
    problem = Problem(network, Dataset(x, np.maximum(x[:, 0], 0) ** 2), losses.Square())
    found = best_neuron(problem, jnp.zeros(problem.size), starts=8)
    assert found.refined
    assert found.direction[0] / np.linalg.norm(found.direction[:3]) > 0.9
    np.testing.assert_allclose(found.direction[3] ** 2, 1 / 3, rtol=1e-8)
    flat = eqx.tree_at(lambda p: p.objective.data.targets, problem, jnp.zeros(200))
    with pytest.raises(ValueError, match=r"^theta: no neuron correlates with its residual, from 8 starts"):
        best_neuron(flat, jnp.zeros(problem.size), starts=8)
