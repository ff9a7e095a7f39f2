"""NC1–NC4 at the simplex itself, at known distances from it, and what they are not for."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gfsim as gf
from gfsim.verification import collapse

# Four corners of a tetrahedron.
CORNERS = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / 3**0.5


def at(features: np.ndarray, classifier: np.ndarray, counts=(2, 2, 2, 2)) -> tuple[gf.Problem, jax.Array]:
    """The free-features model with the given features, two samples a class, and W."""
    problem = collapse.free_features(counts, features.shape[1], 1.0, jax.random.key(0))
    network = eqx.tree_at(
        lambda n: n.weights, problem.network_at(problem.theta), [jnp.asarray(features.T), jnp.asarray(classifier)]
    )
    problem = gf.Problem(network, problem.data, problem.criterion)
    return problem, problem.theta


def test_all_vanish_at_the_simplex():
    problem, theta = at(5.0 * np.repeat(CORNERS, 2, axis=0), 7.0 * CORNERS)
    for measure in (collapse.nc1, collapse.nc2, collapse.nc3, collapse.nc4):
        assert float(measure(problem, theta)) == pytest.approx(0.0, abs=1e-15)
    reached = float(gf.observables.margin(problem, theta) / collapse.classifier_norm(problem, theta))
    assert reached == pytest.approx(collapse.simplex_margin(4), rel=1e-14)


def test_known_distances():
    # Samples at ±angle from their mean, which is cos(angle) long: tr(Σ_W Σ_B⁺)/K by hand.
    angle = 0.1
    across = np.stack([np.cross(c, CORNERS[k - 1]) for k, c in enumerate(CORNERS)])
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    pairs = np.stack([np.cos(angle) * CORNERS + sign * np.sin(angle) * across for sign in (1, -1)], axis=1)
    mean_row = np.array([0.3, 0.0, 0.4])
    problem, theta = at(pairs.reshape(8, 3), 7.0 * CORNERS + mean_row)
    # Σ_B = cos²·(1/3)·I, Σ_W's trace is sin².
    assert float(collapse.nc1(problem, theta)) == pytest.approx(3 * np.tan(angle) ** 2 / 4, rel=1e-12)
    assert float(collapse.nc2(problem, theta)) == pytest.approx(0.0, abs=1e-14)
    # ‖W‖² = 4·49 + 4·0.25, and W̄ is orthogonal to the means.
    assert float(collapse.nc3(problem, theta)) == pytest.approx(np.sqrt(2 - 2 * 14 / np.sqrt(197)), rel=1e-10)
    swapped, theta = at(np.repeat(CORNERS, 2, axis=0), CORNERS[[1, 0, 2, 3]])
    assert float(collapse.nc4(swapped, theta)) == 0.5


def test_square_is_two_thirds_off_and_has_half_the_margin():
    square = np.array([[1.0, 0], [0, 1], [-1, 0], [0, -1]])
    problem, theta = at(np.repeat(square, 2, axis=0), square)
    assert float(collapse.nc2(problem, theta)) == pytest.approx(2 / 3, rel=1e-14)
    reached = float(gf.observables.margin(problem, theta) / collapse.classifier_norm(problem, theta))
    assert reached == pytest.approx(0.5, rel=1e-14)


def test_the_flow_conserves_the_mean_row_and_the_features_norms():
    problem = collapse.free_features((3, 2, 1), 2, 2.0, jax.random.key(1))
    push = problem.network_at(problem.grad(problem.theta))
    np.testing.assert_allclose(jnp.sum(push.weights[1], axis=0), 0.0, atol=1e-15)
    features = problem.network_at(problem.theta).weights[0]
    np.testing.assert_allclose(jnp.sum(features * push.weights[0], axis=0), 0.0, atol=1e-15)
    np.testing.assert_allclose(jnp.linalg.norm(features, axis=0), 2.0, rtol=1e-14)


def test_class_means_on_a_line_leave_one_direction():
    # Means at −1, 0, 1 on an axis, samples ±0.1 along it and across: Σ_B = 2/3 and Σ_W = 0.01 there.
    means = np.array([[-1.0, 0.0], [0.0, 0.0], [1.0, 0.0]]) @ np.array([[0.6, 0.8], [-0.8, 0.6]])
    features = np.concatenate([means + step for step in (0.1, -0.1)])
    network = gf.networks.FeedForward((2, 2, 3), gf.networks.Identity(), key=jax.random.key(0))
    network = eqx.tree_at(lambda n: n.weights[0], network, jnp.eye(2))
    problem = gf.Problem(network, gf.Dataset(features, [0, 1, 2] * 2), gf.losses.CrossEntropy())
    along = (0.1 * np.array([0.6, 0.8]).sum()) ** 2
    assert float(collapse.nc1(problem, problem.theta)) == pytest.approx(along / (2 / 3) / 3, rel=1e-12)


def test_other_targets_are_refused():
    network = gf.networks.FeedForward((2, 2, 3), gf.networks.Identity(), key=jax.random.key(0))
    missing = gf.Problem(network, gf.Dataset(np.eye(2), [0, 2]), gf.losses.CrossEntropy())
    with pytest.raises(ValueError, match=r"^problem must have samples of each of 3 classes, had \[1, 0, 1\]"):
        collapse.nc1(missing, missing.theta)
    one_hot = gf.Problem(network, gf.Dataset(np.eye(2), np.eye(2, 3)), gf.losses.Square())
    with pytest.raises(ValueError, match=r"^problem must have labels 0 … K−1 as targets, had shape \(2, 3\)"):
        collapse.nc1(one_hot, one_hot.theta)


def test_other_networks_are_refused():
    data = gf.data.orthogonal([1.0, -1.0])
    problem = gf.Problem(
        gf.networks.TwoLayer(2, 3, gf.networks.Tanh(), key=jax.random.key(0)), data, gf.losses.Logistic()
    )
    with pytest.raises(
        ValueError, match="problem must have a FeedForward network of two or more outputs, had TwoLayer"
    ):
        collapse.nc1(problem, problem.theta)
