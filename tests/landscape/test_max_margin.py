"""Polished max-margin points: the reference of a linear model, families, saddles, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gfsim as gf
from gfsim import landscape
from gfsim.landscape.kkt import constraint_gradients, constraints
from gfsim.landscape.max_margin import _curvature
from tests.landscape.test_kkt import DATA, hard_margin, linear


def test_linear_model_has_the_hard_margin_solution():
    w = hard_margin(DATA)
    point = landscape.max_margin_polish(linear(), jnp.asarray(5.0 * w + 0.1 * np.array([-w[1], w[0]])))
    assert point.refined
    assert point.type == "strict minimum"
    np.testing.assert_allclose(point.theta, w, rtol=1e-12)
    assert point.margin == pytest.approx(1 / np.linalg.norm(w), rel=1e-12)
    assert point.moved == pytest.approx(0.02, rel=1e-3)


def test_a_wrong_active_set_is_mended():
    w = hard_margin(DATA)
    point = landscape.max_margin_polish(linear(), jnp.asarray(w + 0.6 * np.array([-w[1], w[0]])))
    assert point.refined
    np.testing.assert_allclose(point.theta, w, rtol=1e-12)


def test_a_family_of_points_is_reached_where_it_is_near():
    # f = w_2·w_1·x: the points w_1 = v wᵀ/√‖w‖, w_2 = √‖w‖ v over unit vectors v are a family.
    w, v = hard_margin(DATA), np.array([0.6, 0.8])
    size = np.linalg.norm(w) ** 0.5
    exact = np.concatenate([np.outer(v, w / size).ravel(), size * v])
    network = gf.networks.DeepLinear((2, 2, 1), key=jax.random.key(0))
    problem = gf.Problem(network, DATA, gf.losses.Logistic())
    near = exact + 1e-3 * np.random.default_rng(0).standard_normal(exact.size)
    point = landscape.max_margin_polish(problem, jnp.asarray(near))
    assert point.refined
    assert point.type == "degenerate"
    assert point.margin == pytest.approx(1 / (2 * np.linalg.norm(w)), rel=1e-10)
    assert point.moved < 5e-3
    assert np.sum(np.abs(point.eigenvalues) < 1e-8) == 1


def two_neurons(unit: float = 1.0) -> tuple[gf.Problem, np.ndarray]:
    """f = Σ a_j max(w_j·x, 0)² on e_1 and e_2, in a unit: one neuron along e_1 + e_2 fits both, two fit one each."""
    network = gf.networks.TwoLayer(2, 2, gf.networks.ReLUPower(2), key=jax.random.key(0))
    problem = gf.Problem(network, gf.Dataset(unit * jnp.eye(2), jnp.ones(2)), gf.losses.Exponential())
    one = 2.0**-0.5 * np.array([1.0, 1.0])
    return problem, np.concatenate([2**0.5 * one, 0 * one, [1.0, 0.0]])


def test_second_order_type_is_that_of_the_margin():
    problem, start = two_neurons()
    point = landscape.max_margin_polish(problem, jnp.asarray(start))
    assert point.refined
    assert point.type == "strict minimum"
    # Along the least eigenvector, margins restored to one, γ̄ changes by −L·eigenvalue/(2‖θ‖²) to second order.
    gradients = constraint_gradients(problem, point.theta, point.active)
    _, _, v = np.linalg.svd(gradients)
    tangent = v[len(point.active) :]
    hessian = np.eye(problem.size) - np.asarray(_curvature(problem, point.theta, jnp.asarray(point.multipliers)))
    values, vectors = np.linalg.eigh(tangent @ hessian @ tangent.T)
    np.testing.assert_allclose(values, point.eigenvalues, atol=1e-12)
    step = 1e-3
    for value, vector in zip(values, vectors.T, strict=True):
        theta = np.asarray(point.theta) + step * tangent.T @ vector
        for _ in range(4):
            short = 1 - np.asarray(constraints(problem, jnp.asarray(theta)))[point.active]
            theta = theta + np.linalg.lstsq(gradients, short, rcond=None)[0]
        change = float(gf.observables.normalised_margin(problem, jnp.asarray(theta))) / point.margin - 1
        predicted = -3 * value / (2 * float(jnp.vdot(point.theta, point.theta)))
        assert change / step**2 == pytest.approx(predicted, rel=5e-3)


@pytest.mark.parametrize("unit", [1e-4, 0.03, 30.0, 1e4])
def test_the_unit_of_the_data_is_of_no_account(unit):
    # f(unit·x; θ) = unit²·f(x; θ) is of degree three in θ: points move by unit^{−2/3}.
    (problem, start), (other, _) = two_neurons(), two_neurons(unit)
    start = jnp.asarray(start + 0.1 * np.random.default_rng(0).standard_normal(start.size))
    exact, point = (landscape.max_margin_polish(one, start) for one in (problem, other))
    assert exact.refined
    assert point.refined
    assert exact.moved > 0.05
    np.testing.assert_allclose(point.theta * unit ** (2 / 3), exact.theta, rtol=0, atol=1e-9)
    np.testing.assert_allclose(point.eigenvalues, exact.eigenvalues, rtol=0, atol=1e-8)


def test_refusals():
    with pytest.raises(ValueError, match=r"^tolerance must be positive, was 0"):
        landscape.max_margin_polish(linear(), jnp.asarray(hard_margin(DATA)), tolerance=0.0)
    with pytest.raises(ValueError, match=r"^exponents must be 2 numbers ≥ 0"):
        landscape.max_margin_polish(linear(), jnp.asarray(hard_margin(DATA)), jnp.array([1.0, -1.0]))
