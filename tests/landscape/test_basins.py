"""Sorting directions by the KKT point they are at."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gfsim as gf
from gfsim.landscape import COLLAPSED, UNRESOLVED, basins


def test_every_direction_is_sorted():
    # N = ½a(max(w_1, 0)² − ½max(w_2, 0)²): a maximum along e_1 with a > 0 and one along e_2, half as high, with a < 0.
    network = gf.networks.TwoLayer(2, 1, gf.networks.ReLUPower(2), key=jax.random.key(0))
    problem = gf.Problem(network, gf.data.orthogonal([1.0, -0.5]), gf.losses.Square())
    high, low = 2**0.5 * jnp.array([1.0, 0.0, 0.5**0.5]), 2**0.5 * jnp.array([0.0, 1.0, -(0.5**0.5)])
    nearly = high + 1e-5 * jnp.array([0.0, 1.0, 1.0])
    inactive, moving = jnp.array([-1.0, -0.3, 0.5]), jnp.array([1.0, 0.2, 0.2])
    # The square of this norm overflows.
    far = 1e200 * high
    found = basins(problem, jnp.stack([low, high, inactive, moving, nearly, far]))
    value = 1 / (3 * 3**0.5)
    np.testing.assert_allclose(found.values, [value, value / 2], rtol=1e-12)
    assert found.labels.tolist() == [1, 0, COLLAPSED, UNRESOLVED, 0, 0]
    assert found.share(0) == 0.5
    assert str(found) == "N* = 0.1925 50.0 %, N* = 0.09623 16.7 %, collapsed 16.7 %, unresolved 16.7 %"


def test_nothing_but_collapse():
    network = gf.networks.TwoLayer(1, 1, gf.networks.ReLUPower(2), key=jax.random.key(0))
    problem = gf.Problem(network, gf.Dataset(jnp.ones((1, 1)), jnp.ones(1)), gf.losses.Square())
    found = basins(problem, jnp.array([[-1.0, 0.3], [-0.2, 0.9]]))
    assert found.values.size == 0
    assert found.labels.tolist() == [COLLAPSED, COLLAPSED]


def test_rows_without_a_direction_leave_the_others_theirs():
    network = gf.networks.TwoLayer(2, 1, gf.networks.ReLUPower(2), key=jax.random.key(0))
    problem = gf.Problem(network, gf.data.orthogonal([1.0, -0.5]), gf.losses.Square())
    high = jnp.array([1.0, 0.0, 0.5**0.5])
    found = basins(problem, jnp.stack([high, 0 * high, np.nan * high, np.inf * high, high, high]))
    assert found.labels.tolist() == [0, COLLAPSED, UNRESOLVED, UNRESOLVED, 0, 0]
    # A KKT point of N < 0.
    assert basins(problem, jnp.stack([high, high * jnp.array([1.0, 1.0, -1.0])])).labels.tolist() == [0, UNRESOLVED]
    with pytest.raises(ValueError, match=r"^ends must hold at least one direction, had shape \(0, 3\)"):
        basins(problem, jnp.zeros((0, 3)))
