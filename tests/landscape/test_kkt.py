"""KKT residuals of the max-margin problem against points where they are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import nnls

import gfsim as gf
from gfsim import landscape
from gfsim.landscape.kkt import constraint_gradients, constraints

DATA = gf.data.gaussians(jnp.array([[2.0, 0.5], [-2.0, 0.5]]), 0.4, 12, jax.random.key(0))


def linear(data: gf.Dataset = DATA) -> gf.Problem:
    return gf.Problem(gf.networks.DeepLinear((data.d, 1), key=jax.random.key(1)), data, gf.losses.Exponential())


def hard_margin(data: gf.Dataset) -> np.ndarray:
    """min ½‖w‖² s.t. y_i w·x_i ≥ 1: its dual min ½‖Σ α y x‖² − Σ α, in Lawson & Hanson's form for NNLS."""
    rows = np.asarray(data.targets)[:, None] * np.asarray(data.inputs)
    stacked = np.vstack([rows.T, np.ones(len(rows))])
    right = np.append(np.zeros(data.d), 1.0)
    residual = right - stacked @ nnls(stacked, right)[0]
    return -residual[:-1] / residual[-1]


def test_hard_margin_solution_is_a_kkt_point():
    problem, w = linear(), hard_margin(DATA)
    assert np.min(problem.margins(jnp.asarray(w))) == pytest.approx(1, rel=1e-12)
    point = landscape.kkt_residual(problem, jnp.asarray(37.0 * w))
    assert point.stationarity < 1e-12
    assert abs(point.complementarity) < 1e-12
    # Euler: ‖w‖² = Σ λ_i q_i = Σ λ_i
    assert np.sum(point.multipliers) == pytest.approx(w @ w, rel=1e-10)
    assert point.kinks == 0


def test_a_turned_direction_has_a_residual_of_the_order_of_its_angle():
    problem, w = linear(), hard_margin(DATA)
    across = np.array([-w[1], w[0]])
    near, far = (landscape.kkt_residual(problem, jnp.asarray(w + angle * across)) for angle in (1e-3, 1e-2))
    sizes = [np.hypot(point.stationarity, point.complementarity) for point in (near, far)]
    assert 1e-5 < sizes[0] < 1e-3
    assert 8 < sizes[1] / sizes[0] < 15


def test_one_neuron_on_one_sample():
    # f = a max(w·x, 0)² with y = 1, x = e_1: the KKT points have w ∥ x and w² = 2a², λ = a/w² and Σλ q L = ‖θ‖².
    network = gf.networks.TwoLayer(2, 1, gf.networks.ReLUPower(2), key=jax.random.key(0))
    problem = gf.Problem(network, gf.Dataset(jnp.array([[1.0, 0.0]]), jnp.ones(1)), gf.losses.Exponential())
    point = landscape.kkt_residual(problem, jnp.array([2**0.5, 0.0, 1.0]))
    assert point.stationarity < 1e-14
    a = 2 ** (-1 / 3)
    assert point.multipliers == pytest.approx([3 * a**2 / 3], rel=1e-12)
    off = landscape.kkt_residual(problem, jnp.array([1.0, 0.0, 1.0]))
    # θ̃ = (1, 0, 1) and ∇q = (2, 0, 1): the part of θ̃ across ∇q is 1/√10 of it.
    assert off.stationarity == pytest.approx(10**-0.5, rel=1e-12)


def test_classes():
    inputs = jnp.concatenate([jnp.eye(3), 2.0 * jnp.eye(3)])
    data = gf.Dataset(inputs, jnp.tile(jnp.arange(3.0), 2))
    problem = gf.Problem(gf.networks.DeepLinear((3, 3), key=jax.random.key(0)), data, gf.losses.CrossEntropy())
    # By symmetry W ∝ I − 1/3; the inner copies are active, and each row of W is Σ of what pulls at it.
    theta = (jnp.eye(3) - 1.0 / 3).ravel()
    np.testing.assert_allclose(constraints(problem, theta), np.repeat([1.0, 2.0], 6), rtol=1e-12)
    point = landscape.kkt_residual(problem, theta)
    assert point.stationarity < 1e-12
    np.testing.assert_allclose(point.multipliers, np.repeat([1 / 3, 0.0], 6), atol=1e-12)
    gradients = constraint_gradients(problem, theta, np.arange(12))
    np.testing.assert_allclose(gradients, jax.jacrev(lambda th: constraints(problem, th))(theta), rtol=1e-12)


def test_units_on_a_kink_are_counted():
    network = gf.networks.TwoLayer(2, 2, gf.networks.ReLUPower(1), key=jax.random.key(0))
    data = gf.Dataset(jnp.array([[1.0, 0.0], [1.0, 1.0]]), jnp.ones(2))
    problem = gf.Problem(network, data, gf.losses.Exponential())
    theta = jnp.array([1.0, -1.0, 1.0, 1.0, 1.0, 1.0])
    assert landscape.kkt_residual(problem, theta).kinks == 1


def test_refusals():
    problem = linear()
    with pytest.raises(ValueError, match=r"^theta must separate the data, the smallest margin was -"):
        landscape.kkt_residual(problem, -jnp.asarray(hard_margin(DATA)))
    with pytest.raises(ValueError, match=r"^theta must have a positive, finite norm, was 0.0"):
        landscape.kkt_residual(problem, jnp.zeros(2))
    network = gf.networks.FeedForward((2, 3, 1), gf.networks.Tanh(), key=jax.random.key(0))
    p = gf.Problem(network, DATA, gf.losses.Exponential())
    with pytest.raises(ValueError, match=r"^kkt_residual needs a homogeneous network or exp.*was None"):
        landscape.kkt_residual(p, p.theta)


def test_a_network_whose_units_are_dead_at_a_few_draws_is_not_nil():
    """(w, a, b₁, b₂) = (1, 1, 1, 0) has the margin 2; this seed's first eight draws have dead units."""
    network = gf.networks.FeedForward([1, 1, 1], gf.networks.ReLUPower(1), key=jax.random.key(0), bias=True)
    problem = gf.Problem(network, gf.Dataset(np.ones((1, 1)), np.ones(1)), gf.losses.Exponential())
    found = gf.landscape.conditional_separability(problem, gf.networks.exponents(network), seed=157)
    assert found.holds is False
    assert float(problem.margins(found.witness)[0]) > 0
