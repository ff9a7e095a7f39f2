"""Quasi-homogeneous networks: scaling and Euler's identity, to rounding."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gfsim as gf

SQUARE, LEAKY = gf.networks.ReLUPower(2), gf.networks.ReLUPower(1, 0.3)
KEY = jax.random.key(3)


def feed_forward(activation, **options):
    return gf.networks.FeedForward((3, 4, 4, 1), activation, key=KEY, **options)


NETWORKS = {
    "two layers": (gf.networks.TwoLayer(3, 4, SQUARE, key=KEY), None),
    "deep linear": (gf.networks.DeepLinear((3, 4, 2, 1), key=KEY), None),
    "diagonal": (gf.networks.DiagonalLinear(3), None),
    "plain": (feed_forward(SQUARE), None),
    "plain, last layer alone": (feed_forward(SQUARE), (0, 0, 1)),
    "biases": (feed_forward(LEAKY, bias=True), None),
    "biases, squared": (feed_forward(SQUARE, bias=True), None),
    "biases, uneven": (feed_forward(SQUARE, bias=True), (1, 0, 2)),
    "residual": (feed_forward(LEAKY, residual=True), None),
    "residual, biases": (feed_forward(LEAKY, residual=True, bias=True), None),
    "normalised": (feed_forward(LEAKY, normalise=True), None),
    "normalised, biases": (feed_forward(SQUARE, normalise=True, bias=True), None),
    "normalised, residual, biases": (feed_forward(LEAKY, normalise=True, residual=True, bias=True), None),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_scaling_and_euler(name):
    network, shares = NETWORKS[name]
    leaves, structure = jax.tree.flatten(eqx.filter(network, eqx.is_inexact_array))
    rng = np.random.default_rng(0)
    leaves = [jnp.asarray(rng.standard_normal(leaf.shape)) for leaf in leaves]
    network = eqx.combine(jax.tree.unflatten(structure, leaves), network)
    data = gf.Dataset(jnp.asarray(rng.standard_normal((5, 3))), jnp.ones(5))
    problem = gf.Problem(network, data, gf.losses.Exponential())
    exponents = gf.networks.exponents(network, shares)
    assert exponents.shape == problem.theta.shape
    assert float(exponents.min()) >= 0
    for alpha in (-0.7, 1.3):
        scaled = problem.outputs(jnp.exp(alpha * exponents) * problem.theta)
        np.testing.assert_allclose(scaled, np.exp(alpha) * problem.outputs(problem.theta), rtol=1e-12)
    _, slope = jax.jvp(problem.outputs, (problem.theta,), (exponents * problem.theta,))
    np.testing.assert_allclose(slope, problem.outputs(problem.theta), rtol=1e-12)


def test_the_generic_split_of_a_network_with_biases():
    network = gf.networks.FeedForward((3, 4, 1), LEAKY, key=KEY, bias=True)
    # θ: W_1 (12), W_2 (4), b_1 (4), b_2 (1); λ_{b_l} = Σ_{k≤l} λ_{W_k}
    expected = np.repeat([0.5, 0.5, 0.5, 1.0], [12, 4, 4, 1])
    np.testing.assert_array_equal(gf.networks.exponents(network), expected)


def test_refusals():
    with pytest.raises(ValueError, match=r"^network must be quasi-homogeneous, Tanh has no degree"):
        gf.networks.exponents(feed_forward(gf.networks.Tanh()))
    with pytest.raises(ValueError, match=r"^network must be quasi-homogeneous, TwoLayer has no degree"):
        gf.networks.exponents(gf.networks.TwoLayer(3, 4, gf.networks.Tanh(), key=KEY))
    with pytest.raises(ValueError, match=r"^network must be quasi-homogeneous, a residual layer of degree 2 is not"):
        gf.networks.exponents(feed_forward(SQUARE, residual=True))
    with pytest.raises(ValueError, match=r"^shares must be 3 numbers ≥ 0"):
        gf.networks.exponents(feed_forward(SQUARE), (1, -1, 1))
    with pytest.raises(ValueError, match=r"^shares must be 0 for the normalised and residual layers"):
        gf.networks.exponents(feed_forward(LEAKY, normalise=True), (1, 1, 1))
    with pytest.raises(ValueError, match=r"^shares needs a FeedForward network"):
        gf.networks.exponents(gf.networks.DiagonalLinear(2), (1, 1))
