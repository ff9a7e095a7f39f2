"""Every network: what it computes, how it scales, what it conserves."""

import equinox as eqx
import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gfsim.problems import Dataset, Problem, losses
from gfsim.problems.networks import (
    GELU,
    DeepLinear,
    DiagonalLinear,
    FeedForward,
    Identity,
    ReLUPower,
    Softplus,
    Swish,
    Tanh,
    TwoLayer,
)

KEY = jax.random.key(7)

# name: (network, its degree)
HOMOGENEOUS = {
    "two-layer relu": (TwoLayer(3, 4, ReLUPower(), key=KEY), 2),
    "two-layer squared": (TwoLayer(3, 4, ReLUPower(2), key=KEY), 3),
    "two-layer leaky cubed": (TwoLayer(3, 4, ReLUPower(3, 0.5), key=KEY), 4),
    "two-layer identity": (TwoLayer(3, 4, Identity(), key=KEY), 2),
    "three-layer squared": (FeedForward((3, 4, 3, 1), ReLUPower(2), key=KEY), 7),
    "four-layer leaky, 2 outputs": (FeedForward((3, 4, 4, 3, 2), ReLUPower(1, 0.1), key=KEY), 4),
    "one affine layer": (FeedForward((3, 2), Tanh(), key=KEY, bias=True), 1),
    "skips that fit nowhere": (FeedForward((3, 3, 4, 1), ReLUPower(), key=KEY, residual=True), 3),
    "normalised, squared": (FeedForward((3, 6, 1), ReLUPower(2, 0.3), key=KEY, normalise=True), 1),
    "normalised, biases": (FeedForward((3, 4, 5, 2), ReLUPower(1, 0.2), key=KEY, bias=True, normalise=True), 1),
    "deep linear": (DeepLinear((3, 4, 2, 5, 2), key=KEY), 4),
    "diagonal linear": (DiagonalLinear(3), 2),
}
NOT_HOMOGENEOUS = {
    "tanh": TwoLayer(3, 4, Tanh(), key=KEY),
    "swish": TwoLayer(3, 4, Swish(), key=KEY),
    "gelu": TwoLayer(3, 4, GELU(), key=KEY),
    "softplus": FeedForward((3, 4, 1), Softplus(), key=KEY),
    "a plain function": TwoLayer(3, 4, jnp.sin, key=KEY),
    "biases": FeedForward((3, 4, 1), ReLUPower(), key=KEY, bias=True),
    "skips": FeedForward((3, 4, 4, 1), ReLUPower(), key=KEY, residual=True),
    "skips, normalised": FeedForward((3, 4, 4, 1), ReLUPower(1, 0.2), key=KEY, residual=True, normalise=True),
}
# name: (network, its number of invariants)
CONSERVING = {
    **{
        name: (HOMOGENEOUS[name][0], count)
        for name, count in {
            "two-layer leaky cubed": 4,
            "two-layer identity": 4,
            "three-layer squared": 4 + 3,
            "four-layer leaky, 2 outputs": 4 + 4 + 3,
            "normalised, squared": 1,
            "normalised, biases": 1 + 1,
            "deep linear": 10 + 3 + 15,
            "diagonal linear": 3,
        }.items()
    },
    "biases": (FeedForward((3, 4, 4, 2), ReLUPower(2, 0.2), key=KEY, bias=True), 4 + 4),
}

network_names = st.sampled_from(sorted(HOMOGENEOUS))
seeds = st.integers(0, 2**32 - 1)


def randomised(network, seed):
    """The network with every array drawn anew, so that nothing is special about its start."""
    arrays, rest = eqx.partition(network, eqx.is_array)
    leaves, structure = jax.tree.flatten(arrays)
    random = np.random.default_rng(seed)
    leaves = [jnp.asarray(random.normal(size=leaf.shape)) for leaf in leaves]
    return eqx.combine(jax.tree.unflatten(structure, leaves), rest), jnp.asarray(random.normal(size=3))


def scaled(network, c):
    return jax.tree.map(lambda leaf: c * leaf if eqx.is_array(leaf) else leaf, network)


@eqx.filter_jit
def around(network, x, c):
    """f(x; θ), f(x; cθ), ⟨θ, ∂f/∂θ⟩, and the size of the terms that f is the sum of."""
    arrays, rest = eqx.partition(network, eqx.is_array)
    value, product = jax.jvp(lambda theta: eqx.combine(theta, rest)(x), (arrays,), (arrays,))
    size = jax.tree.map(lambda leaf: jnp.abs(leaf) if eqx.is_array(leaf) else leaf, network)(jnp.abs(x))
    return value, scaled(network, c)(x), product, size


@hypothesis.settings(max_examples=150)
@hypothesis.given(name=network_names, seed=seeds, c=st.floats(0.01, 100.0))
def test_homogeneity_and_euler_identity(name, seed, c):
    """f(x; cθ) = c^L f(x; θ) and ⟨θ, ∂f/∂θ⟩ = L·f(x; θ)."""
    network, degree = HOMOGENEOUS[name]
    assert network.degree == degree
    network, x = randomised(network, seed)
    value, value_at_c, product, size = map(np.asarray, around(network, x, jnp.asarray(c)))
    assert np.all(np.abs(value_at_c - c**degree * value) <= 1e-13 * c**degree * size)
    assert np.all(np.abs(product - degree * value) <= 1e-13 * degree * size)


@pytest.mark.parametrize("name", sorted(NOT_HOMOGENEOUS))
def test_no_degree_is_declared_where_there_is_none(name):
    network, x = randomised(NOT_HOMOGENEOUS[name], 0)
    assert network.degree is None
    exponents = [np.log(np.abs(scaled(network, 2.0 * c)(x) / scaled(network, c)(x))) for c in (0.5, 1.0, 3.0)]
    assert np.ptp(exponents) > 1e-3


@eqx.filter_jit
def rates_of_balancedness(problem, direction):
    """The derivatives of the invariants along −∇𝓛 and along another direction, and the norm of ∇𝓛."""
    gradient = problem.grad(problem.theta)
    _, along = jax.jvp(problem.balancedness, (problem.theta,), (-gradient,))
    _, other = jax.jvp(problem.balancedness, (problem.theta,), (direction,))
    return along, other, jnp.linalg.norm(gradient)


@pytest.mark.parametrize("name", sorted(CONSERVING))
def test_balancedness_is_conserved(name):
    """The derivative of every invariant along −∇𝓛 vanishes, for a loss without any symmetry of its own."""
    network, count = CONSERVING[name]
    network, _ = randomised(network, 3)
    random = np.random.default_rng(4)
    inputs = random.normal(size=(6, 3))
    targets = random.normal(size=(6, *np.shape(network(jnp.ones(3)))))
    problem = Problem(network, Dataset(inputs, targets), losses.Square())
    direction = jnp.asarray(random.normal(size=problem.size))
    along, other, gradient_norm = rates_of_balancedness(problem, direction)
    assert along.shape == (count,)
    assert np.max(np.abs(along)) < 1e-14 * jnp.linalg.norm(problem.theta) * gradient_norm
    # The invariants do depend on θ: along another direction they change.
    assert np.min(np.abs(other)) > 1e-6


@pytest.mark.parametrize("name", ["skips", "tanh", "a plain function"])
def test_no_balancedness_is_declared_where_none_is_known(name):
    assert NOT_HOMOGENEOUS[name].balancedness() is None


@pytest.mark.parametrize("network", [FeedForward((3, 2), Identity(), key=KEY), DeepLinear((3, 2), key=KEY)])
def test_one_layer_has_no_balancedness(network):
    assert network.balancedness() is None


def test_values():
    """Each network against numpy, from its fields."""
    x = np.array([0.3, -1.2, 0.7])
    relu = lambda z: np.maximum(z, 0.0)  # noqa: E731

    two = HOMOGENEOUS["two-layer leaky cubed"][0]
    z = two.w @ x
    np.testing.assert_allclose(two(jnp.asarray(x)), np.sum(two.a * np.maximum(z, 0.5 * z) ** 3), rtol=1e-13)

    deep = HOMOGENEOUS["deep linear"][0]
    product = np.linalg.multi_dot([np.asarray(w) for w in reversed(deep.weights)])
    np.testing.assert_allclose(deep(jnp.asarray(x)), product @ x, rtol=1e-13)

    fields = (jnp.arange(1.0, 4.0), jnp.array([2.0, -1.0, 0.5]))
    diagonal = eqx.tree_at(lambda n: (n.u, n.v), DiagonalLinear(3), fields)
    np.testing.assert_allclose(diagonal(jnp.asarray(x)), np.array([2.0, -2.0, 1.5]) @ x, rtol=1e-13)

    network, _ = randomised(
        FeedForward((3, 4, 4, 2), ReLUPower(), key=KEY, bias=True, residual=True, normalise=True), 1
    )
    (w0, w1, w2), (b0, b1, b2) = network.weights, network.biases
    h = relu(w0 @ x + b0)
    h = h / np.linalg.norm(h)
    h = h + relu(w1 @ h + b1)
    h = h / np.linalg.norm(h)
    np.testing.assert_allclose(network(jnp.asarray(x)), w2 @ h + b2, rtol=1e-13)


def test_a_dead_normalised_layer_has_finite_values_and_derivatives():
    network = FeedForward((2, 3, 2), ReLUPower(), key=KEY, bias=True, normalise=True)
    network = eqx.tree_at(lambda n: n.weights[0], network, -jnp.ones((3, 2)))
    x = jnp.ones(2)
    np.testing.assert_array_equal(network(x), network.biases[1])
    gradient = eqx.filter_grad(lambda n: jnp.sum(n(x)))(network)
    assert all(jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(gradient))


def test_diagonal_linear_start():
    network = DiagonalLinear(4)
    np.testing.assert_allclose(network.u**2, 2.0, rtol=1e-15)
    np.testing.assert_array_equal(network.v, 0.0)


@pytest.mark.parametrize(
    "network",
    [
        TwoLayer(50, 2000, Tanh(), key=KEY),
        FeedForward((50, 2000, 100, 1), Tanh(), key=KEY),
        DeepLinear((50, 2000, 1), key=KEY),
    ],
)
def test_weights_start_with_variance_one_over_fan_in(network):
    for w in jax.tree.leaves(eqx.filter(network, eqx.is_array)):
        n = w.size
        assert w.dtype == jnp.float64
        # The relative standard deviation of a sample variance is √(2/n); five of them.
        np.testing.assert_allclose(jnp.mean(w**2) * w.shape[-1], 1.0, atol=5.0 * np.sqrt(2.0 / n))


@pytest.mark.parametrize("network", [DeepLinear((3, 4, 1), key=KEY), FeedForward((3, 4, 1), Tanh(), key=KEY)])
def test_one_output_is_a_scalar(network):
    assert network(jnp.ones(3)).shape == ()


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: TwoLayer(0, 3, Tanh(), key=KEY), "in_size must be a positive integer, was 0"),
        (lambda: TwoLayer(3, -1, Tanh(), key=KEY), "width must be a positive integer, was -1"),
        (lambda: FeedForward((3,), Tanh(), key=KEY), r"sizes must hold at least two .*, was \(3,\)"),
        (lambda: FeedForward((3, 0, 1), Tanh(), key=KEY), r"sizes\[1\] must be a positive integer, was 0"),
        (lambda: DeepLinear((), key=KEY), "sizes must hold at least two"),
        (lambda: DiagonalLinear(-2), "size must be a positive integer, was -2"),
        (lambda: ReLUPower(0), "p must be a positive integer, was 0"),
        (lambda: ReLUPower(1, 1.5), "slope must be a number between 0 and 1, was 1.5"),
        (lambda: ReLUPower(1, -0.5), "slope must be a number between 0 and 1, was -0.5"),
        (lambda: ReLUPower(1, float("nan")), "slope must be a number between 0 and 1, was nan"),
    ],
)
def test_bad_sizes(make, says):
    with pytest.raises(ValueError, match=says) as error:
        make()
    assert "\n" not in str(error.value)
