"""Activations against closed forms, at the kink too."""

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from gfsim.problems.networks import GELU, Identity, ReLUPower, Softplus, Swish, Tanh

X = np.array([-30.0, -2.0, -0.5, 0.0, 0.3, 1.7, 30.0])


@pytest.mark.parametrize(
    ("activation", "expected"),
    [
        (ReLUPower(), np.maximum(X, 0.0)),
        (ReLUPower(2), np.maximum(X, 0.0) ** 2),
        (ReLUPower(3, 0.25), np.maximum(X, 0.25 * X) ** 3),
        (ReLUPower(2, 1.0), X**2),
        (Identity(), X),
        (Tanh(), np.tanh(X)),
        (Swish(), X / (1.0 + np.exp(-X))),
        (GELU(), X * scipy.stats.norm.cdf(X)),
        (Softplus(), np.logaddexp(0.0, X)),
    ],
)
def test_values(activation, expected):
    np.testing.assert_allclose(activation(jnp.asarray(X)), expected, rtol=1e-13, atol=1e-300)


@pytest.mark.parametrize("slope", [0.0, 0.2, 1.0])
def test_the_derivative_at_the_kink_is_the_slope(slope):
    assert jax.grad(ReLUPower(1, slope))(jnp.zeros(())) == slope
    assert jax.grad(ReLUPower(2, slope))(jnp.zeros(())) == 0.0


@hypothesis.given(p=st.integers(1, 4), slope=st.floats(0.0, 1.0), x=st.floats(-5.0, 5.0), c=st.floats(0.0, 20.0))
def test_relu_power_is_homogeneous(p, slope, x, c):
    activation = ReLUPower(p, slope)
    x = jnp.asarray(x)
    np.testing.assert_allclose(activation(c * x), c**activation.degree * activation(x), rtol=1e-13, atol=1e-300)


@pytest.mark.parametrize("activation", [Tanh(), Swish(), GELU(), Softplus()])
def test_smooth_activations_declare_no_degree(activation):
    assert activation.degree is None


def test_equal_activations_are_one_static_structure():
    assert jax.tree.structure(ReLUPower(2, 0.1)) == jax.tree.structure(ReLUPower(2, 0.1))
    assert jax.tree.structure(ReLUPower(2, 0.1)) != jax.tree.structure(ReLUPower(2, 0.2))
