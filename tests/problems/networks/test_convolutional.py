"""The convolutional network: its values against loops, how it scales, what it conserves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gfsim.problems import Dataset, Problem, losses
from gfsim.problems.networks import Convolutional, ReLUPower, Tanh

KEY = jax.random.key(3)


def by_loops(network, x):
    """f(x) written out: pixel (i, j) of an image of half the side sees the window around pixel (2i, 2j)."""
    h = np.asarray(x).reshape(1, network.side, network.side)
    *windows, readout = (np.asarray(w) for w in network.weights)
    for w in windows:
        side = h.shape[1]
        z = np.zeros((w.shape[0], (side + 1) // 2, (side + 1) // 2))
        for out, i, j in np.ndindex(z.shape):
            for a, b in np.ndindex(3, 3):
                row, column = 2 * i + a - 1, 2 * j + b - 1
                if 0 <= row < side and 0 <= column < side:
                    z[out, i, j] += w[out, :, a, b] @ h[:, row, column]
        h = np.asarray(network.activation(jnp.asarray(z)))
    return np.sum(readout[0] * h)


def test_values():
    network = Convolutional(6, (2, 3), ReLUPower(2, 0.1), key=KEY)
    x = np.random.default_rng(0).normal(size=network.in_size)
    output = network(jnp.asarray(x))
    assert output.shape == ()
    np.testing.assert_allclose(output, by_loops(network, x), rtol=1e-12)


@pytest.mark.parametrize(("p", "degree"), [(1, 3), (3, 13)])
def test_homogeneity_and_balancedness(p, degree):
    """f(x; cθ) = c^L f(x; θ); the derivative of every invariant along −∇𝓛 vanishes, but not along another direction."""
    network = Convolutional(6, (2, 3), ReLUPower(p, 0.3), key=KEY)
    random = np.random.default_rng(p)
    problem = Problem(network, Dataset(random.normal(size=(4, 36)), random.normal(size=4)), losses.Square())
    assert network.degree == problem.degree == degree
    outputs = problem.outputs(1.3 * problem.theta)
    np.testing.assert_allclose(outputs, 1.3**degree * problem.outputs(problem.theta), rtol=1e-12)
    gradient = problem.grad(problem.theta)
    rate = jax.jit(lambda v: jax.jvp(problem.balancedness, (problem.theta,), (v,))[1])
    along, other = np.asarray(rate(gradient)), np.asarray(rate(jnp.asarray(random.normal(size=problem.size))))
    assert along.shape == (2 + 3,)
    assert np.max(np.abs(along)) < 1e-14 * np.linalg.norm(problem.theta) * np.linalg.norm(gradient)
    assert np.min(np.abs(other)) > 1e-6


def test_nothing_is_declared_for_an_activation_without_degree():
    network = Convolutional(4, (2,), Tanh(), key=KEY)
    assert network.degree is None
    assert network.balancedness() is None


def test_weights_start_with_variance_one_over_fan_in():
    for w in map(np.asarray, Convolutional(16, (60, 50), Tanh(), key=KEY).weights):
        # The relative standard deviation of a sample variance is √(2/n); five of them.
        np.testing.assert_allclose(np.mean(w**2) * w[0].size, 1.0, atol=5.0 * np.sqrt(2.0 / w.size))


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: Convolutional(0, (2,), Tanh(), key=KEY), ValueError, "side must be a positive integer, was 0"),
        (lambda: Convolutional(8, (2, -1), Tanh(), key=KEY), ValueError, r"channels\[1\] must be .*, was -1"),
        (lambda: Convolutional(8, (), Tanh(), key=KEY), TypeError, r"channels must be .*, was \(\)"),
    ],
)
def test_refusals(make, error, says):
    with pytest.raises(error, match=says) as caught:
        make()
    assert "\n" not in str(caught.value)
