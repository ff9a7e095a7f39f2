"""KKT points of N(u) = Σ_i z_i H(x_i; u) with closed forms.

On the single sample (x, y) = (1, 1) with square loss, z = 1 and a two-layer degree-2 network of k active neurons has
N = Σ_j a_j w_j². One neuron on the circle, a = sin φ, w = cos φ: N = sin φ cos² φ is largest at sin² φ = 1/3, where
N* = 2/(3√3) and N'' = −4/√3 = −2·L N*.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gfsim as gf
from gfsim.landscape import correlation_kkt, layer_shares, layer_split, time_to_blow_up

ONE_NEURON = 2 / (3 * 3**0.5)


def one_sample(network):
    return gf.Problem(network, gf.Dataset(jnp.ones((1, 1)), jnp.ones(1)), gf.losses.Square())


def two_layer(width: int, p: int = 2):
    return one_sample(gf.networks.TwoLayer(1, width, gf.networks.ReLUPower(p), key=jax.random.key(0)))


def equal_neurons(k: int, width: int, p: int = 2):
    """k equal neurons at the layers' split, the others dead; θ holds w, then a."""
    share = np.zeros(width)
    share[:k] = 1 / k
    return jnp.concatenate([jnp.sqrt(share * p / (p + 1)), jnp.sqrt(share / (p + 1))])


def test_one_neuron():
    point = correlation_kkt(two_layer(1), jnp.array([1.0, 0.3]))
    assert point.refined
    assert point.stationarity < 1e-14
    np.testing.assert_allclose(point.direction, [(2 / 3) ** 0.5, (1 / 3) ** 0.5], rtol=1e-12)
    np.testing.assert_allclose([point.value, point.multiplier], [ONE_NEURON, 3 * ONE_NEURON], rtol=1e-12)
    np.testing.assert_allclose(point.eigenvalues, [-4 / 3**0.5], rtol=1e-10)
    np.testing.assert_allclose(point.decay_rate, 2 * point.multiplier, rtol=1e-10)
    start = np.array([1.0, 0.3]) / np.hypot(1.0, 0.3)
    np.testing.assert_allclose(point.moved, 1 - start @ np.asarray(point.direction), rtol=1e-12)


@pytest.mark.parametrize("p", [2, 3])
@pytest.mark.parametrize("k", [1, 2, 3])
def test_only_one_neuron_is_a_local_maximum(k, p):
    problem = two_layer(3, p)
    one = float(problem.correlation(equal_neurons(1, 3, p)))
    point = correlation_kkt(problem, equal_neurons(k, 3, p))
    assert point.refined
    assert point.moved < 1e-20
    np.testing.assert_allclose(point.value, one * k ** (-(p - 1) / 2), rtol=1e-12)
    assert (point.decay_rate > 0) == (k == 1)


def test_dead_neurons_decay_at_the_rate_of_the_multiplier():
    point = correlation_kkt(two_layer(3), equal_neurons(1, 3))
    np.testing.assert_allclose(-point.eigenvalues / point.multiplier, [2, 1, 1, 1, 1], rtol=1e-10)


@pytest.mark.parametrize(("p", "layers"), [(2, 2), (2, 3), (3, 3), (1, 2)])
def test_layer_split(p, layers):
    network = gf.networks.FeedForward((1,) * (layers + 1), gf.networks.ReLUPower(p), key=jax.random.key(0))
    problem = one_sample(network)
    point = correlation_kkt(problem, jnp.sqrt(layer_split(p, layers)) * (1 + 0.1 * np.arange(layers)))
    assert point.refined
    expected = np.array([p ** (layers - l) for l in range(1, layers + 1)])
    np.testing.assert_allclose(layer_split(p, layers), expected / expected.sum(), rtol=1e-14)
    np.testing.assert_allclose(layer_shares(problem, point.direction), layer_split(p, layers), rtol=1e-12)


def test_refines_on_the_digits():
    network = gf.networks.TwoLayer(64, 3, gf.networks.ReLUPower(2), key=jax.random.key(0))
    problem = gf.Problem(network, gf.data.digits((3, 5)), gf.losses.Logistic())
    trajectory = gf.simulate(gf.CorrelationFlow(problem, polar=True), problem.theta, 9.0)
    u = trajectory.theta[-1] / jnp.linalg.norm(trajectory.theta[-1])
    before = float(jnp.linalg.norm(jax.grad(problem.correlation)(u) - 3 * problem.correlation(u) * u))
    point = correlation_kkt(problem, trajectory.theta[-1])
    assert before > 1e-6
    assert point.stationarity < 1e-14
    assert point.moved < 0.1


def test_mass_shared_among_equal_neurons_of_degree_one_is_a_continuum():
    problem = two_layer(2, p=1)
    point = correlation_kkt(problem, jnp.array([0.8, 0.3, 0.7, 0.5]))
    assert point.refined
    np.testing.assert_allclose(point.value, 0.5, rtol=1e-12)
    np.testing.assert_allclose(point.eigenvalues[-1], 0, atol=1e-10)


def test_a_kink_is_not_refined():
    # The neuron's angle φ gives cos(φ + 0.3) for φ > 0 and 5 sin φ more for φ < 0: the maximum φ = 0 is a kink.
    inputs = jnp.array([[np.cos(0.3), -np.sin(0.3)], [0.0, -1.0]])
    network = gf.networks.TwoLayer(2, 1, gf.networks.ReLUPower(1), key=jax.random.key(0))
    problem = gf.Problem(network, gf.Dataset(inputs, jnp.array([1.0, -5.0])), gf.losses.Square())
    point = correlation_kkt(problem, jnp.array([1.0, 1e-3, 1.0]))
    assert not point.refined
    assert point.stationarity > 1e-3 or point.moved > 0.1
    assert np.isnan(point.decay_rate)
    assert np.all(np.isnan(point.eigenvalues))


def test_time_to_blow_up_on_the_kkt_ray():
    problem = two_layer(1)
    theta = 0.25 * equal_neurons(1, 1)
    expected = 4 / (3 * ONE_NEURON)
    np.testing.assert_allclose(time_to_blow_up(problem, theta), expected, rtol=1e-12)
    trajectory = gf.simulate(
        gf.CorrelationFlow(problem), theta, 2 * expected, until=gf.events.norm_reaches(1e6), rtol=1e-10
    )
    np.testing.assert_allclose(trajectory.t[-1], expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("function", "theta", "message"),
    [
        (correlation_kkt, jnp.zeros(2), "theta must have a positive, finite norm, was 0"),
        (correlation_kkt, jnp.array([1.0, np.nan]), "theta must have a positive, finite norm, was nan"),
        (lambda p, t: correlation_kkt(p, t, 0.0), jnp.ones(2), "tolerance must be positive, was 0"),
        (time_to_blow_up, jnp.array([1.0, -1.0]), "theta must have a positive correlation"),
    ],
)
def test_bad_arguments(function, theta, message):
    with pytest.raises(ValueError, match=message):
        function(two_layer(1), theta)


def test_needs_a_homogeneous_network():
    network = gf.networks.TwoLayer(1, 1, gf.networks.Tanh(), key=jax.random.key(0))
    with pytest.raises(ValueError, match=r"correlation_kkt needs .* problem.degree was None"):
        correlation_kkt(one_sample(network), jnp.ones(2))
    with pytest.raises(ValueError, match=r"degree at least 3, problem.degree was 2"):
        time_to_blow_up(two_layer(1, p=1), jnp.ones(2))


@pytest.mark.parametrize("k", range(4))
def test_what_is_a_kkt_point_already_stays_in_its_family(k):
    """N = s·(Wᵀb) of a linear network is largest, |s|/2, at W = b mᵀ, m = s/|s|, for every b."""
    random = np.random.default_rng(1)
    inputs, labels = random.standard_normal((6, 2)), np.sign(random.standard_normal(6))
    network = gf.networks.DeepLinear([2, 5, 1], key=jax.random.key(0))
    problem = gf.Problem(network, gf.Dataset(inputs, labels), gf.losses.Square("sum"))
    s = labels @ inputs
    b = np.random.default_rng(k).standard_normal(5)
    b /= np.linalg.norm(b)
    u = jnp.asarray(np.concatenate([np.outer(b, s / np.linalg.norm(s)).ravel(), b]) / np.sqrt(2))
    for off in (0.0, 1e-6):
        point = correlation_kkt(problem, u * (1 + off * np.sin(np.arange(problem.size))))
        assert point.refined
        assert point.moved < 10 * off**2 + 1e-15
        assert point.stationarity < 1e-13
        np.testing.assert_allclose(point.value, np.linalg.norm(s) / 2, rtol=1e-12)
        np.testing.assert_allclose(point.decay_rate, 0, atol=1e-12)
