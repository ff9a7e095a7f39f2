"""Random starts of networks."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gfsim as gf

TANH = gf.networks.Tanh()


@pytest.mark.parametrize("sizes", [(3, 5, 2), (4, 1100, 1)])
def test_layers_are_drawn_from_keys_of_their_own_and_scaled_by_fan_in(sizes):
    """As many draws as a layer has entries, also where one has more than all small layers draw together."""
    network = gf.networks.FeedForward(sizes, TANH, key=jax.random.key(3), bias=True)
    keys = jax.random.split(jax.random.key(3), 2)
    for key, columns, rows, weights in zip(keys, sizes[:-1], sizes[1:], network.weights, strict=True):
        expected = jax.random.normal(key, (rows, columns)) / math.sqrt(columns)
        np.testing.assert_allclose(weights, expected, rtol=1e-14)


def test_a_layer_above_the_common_draw_is_drawn_whole():
    network = gf.networks.DeepLinear((80, 70, 1), key=jax.random.key(0))
    key, _ = jax.random.split(jax.random.key(0))
    assert network.weights[0].size > 4096
    np.testing.assert_allclose(network.weights[0], jax.random.normal(key, (70, 80)) / math.sqrt(80), rtol=1e-14)


def test_many_starts_at_once_are_those_one_by_one():
    keys = jax.random.split(jax.random.key(1), 3)
    start = lambda key: gf.networks.TwoLayer(2, 4, TANH, key=key)  # noqa: E731
    together = jax.vmap(start)(keys)
    for k, key in enumerate(keys):
        jax.tree.map(lambda x, y, k=k: np.testing.assert_allclose(x[k], y, rtol=1e-14), together, start(key))
    assert len(np.unique(jnp.concatenate([together.w.ravel(), together.a.ravel()]))) == 3 * 12
