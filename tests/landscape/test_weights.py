"""Shares of the weight, and the largest eigenvalue, against closed forms."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gfsim as gf
from gfsim.landscape import effective_neurons, largest_eigenvalue, layer_shares


def test_layer_shares_are_those_of_what_is_trained():
    network = gf.networks.TwoLayer(1, 2, jnp.tanh, key=jax.random.key(0))
    data = gf.Dataset(jnp.ones((1, 1)), jnp.ones(1))
    # θ holds w, then a.
    whole = gf.Problem(network, data, gf.losses.Square())
    np.testing.assert_allclose(layer_shares(whole, jnp.array([1.0, 2.0, 3.0, 1.0])), [1 / 3, 2 / 3], rtol=1e-15)
    trainable = eqx.tree_at(lambda n: n.w, jax.tree.map(lambda _: False, network), True)
    outer_frozen = gf.Problem(network, data, gf.losses.Square(), trainable=trainable)
    np.testing.assert_array_equal(layer_shares(outer_frozen, jnp.array([1.0, 2.0])), [1.0])


def test_effective_neurons():
    network = gf.networks.TwoLayer(1, 3, gf.networks.ReLUPower(2), key=jax.random.key(0))
    problem = gf.Problem(network, gf.Dataset(jnp.ones((1, 1)), jnp.ones(1)), gf.losses.Square())
    # θ holds w, then a: masses 2, 2, 0 and then 1, 0, 0.
    np.testing.assert_allclose(effective_neurons(problem, jnp.array([1.0, -1.0, 0.0, 1.0, 1.0, 0.0])), 2.0)
    np.testing.assert_allclose(effective_neurons(problem, jnp.array([0.0, 0.0, 0.0, 1.0, 0.0, 0.0])), 1.0)
    np.testing.assert_allclose(effective_neurons(problem, 1e-100 * jnp.array([1.0, -1.0, 0.0, 1.0, 1.0, 0.0])), 2.0)
    assert np.isnan(effective_neurons(problem, jnp.zeros(6)))


def test_effective_neurons_of_another_network():
    network = gf.networks.FeedForward((1, 2, 1), gf.networks.ReLUPower(2), key=jax.random.key(0))
    problem = gf.Problem(network, gf.Dataset(jnp.ones((1, 1)), jnp.ones(1)), gf.losses.Square())
    with pytest.raises(ValueError, match=r"needs a gf.networks.TwoLayer, problem had FeedForward"):
        effective_neurons(problem, problem.theta)


@pytest.mark.parametrize("eigenvalues", [(3.0, 1.0, 0.0, -5.0), (-1.0, -2.0, -2.5), (2.0,), tuple(range(100))])
def test_largest_eigenvalue_of_a_quadratic(eigenvalues):
    lam = jnp.array(eigenvalues, float)
    q, _ = jnp.linalg.qr(jax.random.normal(jax.random.key(3), (lam.size, lam.size)))
    a = q @ jnp.diag(lam) @ q.T
    problem = gf.Problem.from_loss(lambda x: 0.5 * x @ a @ x, jnp.ones(lam.size))
    np.testing.assert_allclose(largest_eigenvalue(problem, jnp.ones(lam.size)), lam.max(), rtol=1e-3)


def test_largest_eigenvalue_on_the_digits():
    network = gf.networks.TwoLayer(64, 2, gf.networks.ReLUPower(2), key=jax.random.key(0))
    problem = gf.Problem(network, gf.data.digits((3, 5)), gf.losses.Logistic())
    exact = jnp.linalg.eigvalsh(problem.hessian(problem.theta))[-1]
    np.testing.assert_allclose(largest_eigenvalue(problem, problem.theta), exact, rtol=1e-9)


@pytest.mark.parametrize("log_loss", [-288, -450, -648])
def test_largest_eigenvalue_of_a_hessian_whose_squares_underflow(log_loss):
    network = gf.networks.DeepLinear([2, 2, 1], key=jax.random.key(0))
    problem = gf.Problem(network, gf.Dataset(np.array([[1.0, 0], [0.5, 1]]), np.ones(2)), gf.losses.Exponential())
    theta = np.sqrt(-log_loss / 2) * jnp.array([1.0, 0.5, 1.0, 0.5, 1.0, 1.0])
    exact = np.linalg.eigvalsh(np.asarray(problem.hessian(theta)))[-1]
    np.testing.assert_allclose(largest_eigenvalue(problem, theta), exact, rtol=1e-9)
