"""Embeddings of narrow networks: the identities at arbitrary points, the maps, motion, and what is refused."""

import re

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gfsim.landscape import embed_neuron, kronecker_split, split_neuron
from gfsim.problems import Dataset, Problem, losses
from gfsim.problems.networks import (
    Convolutional,
    DeepLinear,
    DiagonalLinear,
    FeedForward,
    ReLUPower,
    Swish,
    Tanh,
    TwoLayer,
)

KEY = jax.random.key(11)
LEAKY = ReLUPower(1, 0.2)
C = [0.3, 0.5, float(np.sqrt(0.66))]


def two_layer(p):
    return TwoLayer(3, 4, ReLUPower(p, 0.2), key=KEY)


def three_layer(p):
    return FeedForward((3, 4, 3, 1), ReLUPower(p, 0.2), key=KEY)


def convolutional(p):
    return Convolutional(4, (2, 3), ReLUPower(p, 0.2), key=KEY)


TWO_OUTPUTS = FeedForward((3, 4, 3, 3, 2), LEAKY, key=KEY)
LINEAR = DeepLinear((3, 4, 2, 2), key=KEY)
BIASED = FeedForward((3, 2, 3, 2), Tanh(), key=KEY, bias=True)

# name: (narrow network, its split, loss)
SPLITS = {
    "two layers, square": (two_layer(1), split_neuron(two_layer(1), 0, 3, C), losses.Square()),
    "three layers, exponential": (three_layer(1), split_neuron(three_layer(1), 1, 0, C), losses.Exponential()),
    "three layers, logistic": (three_layer(1), split_neuron(three_layer(1), 0, 2, C), losses.Logistic()),
    "two outputs, a copy with nothing": (
        TWO_OUTPUTS,
        split_neuron(TWO_OUTPUTS, 1, 2, [0.0, 0.6, 0.8]),
        losses.CrossEntropy(),
    ),
    "deep linear": (LINEAR, split_neuron(LINEAR, 1, 1, np.array(C)), losses.Square()),
    "first channels": (convolutional(1), split_neuron(convolutional(1), 0, 1, C), losses.Logistic()),
    "last channels": (convolutional(1), split_neuron(convolutional(1), 1, 0, jnp.array(C)), losses.Logistic()),
    "Kronecker, two layers, p = 1": (two_layer(1), kronecker_split(two_layer(1), [3]), losses.Square()),
    "Kronecker, two layers, p = 2": (two_layer(2), kronecker_split(two_layer(2), [3]), losses.Logistic()),
    "Kronecker, two layers, p = 3": (two_layer(3), kronecker_split(two_layer(3), [2]), losses.Square()),
    "Kronecker, three layers, p = 1": (three_layer(1), kronecker_split(three_layer(1), [2, 3]), losses.Logistic()),
    "Kronecker, three layers, p = 2": (three_layer(2), kronecker_split(three_layer(2), [2, 3]), losses.Exponential()),
    "Kronecker, three layers, p = 3": (three_layer(3), kronecker_split(three_layer(3), [3, 2]), losses.Exponential()),
    "Kronecker, channels, p = 2": (convolutional(2), kronecker_split(convolutional(2), [3, 2]), losses.Logistic()),
}
TANH = TwoLayer(3, 4, Tanh(), key=KEY)
SWISH = Convolutional(4, (2, 3), Swish(), key=KEY)
# name: (narrow network, its embedding)
EMBEDDINGS = {
    "two layers, tanh": (TANH, embed_neuron(TANH, 0, 3, 0.3)),
    "biases": (BIASED, embed_neuron(BIASED, 1, 1, -0.7)),
    "embedded twice": (BIASED, embed_neuron(BIASED, 0, 0, 0.3)),
    "channels, swish": (SWISH, embed_neuron(SWISH, 0, 1, 0.4)),
}
_first = EMBEDDINGS["embedded twice"][1]
EMBEDDINGS["embedded twice"] = (BIASED, _first.then(embed_neuron(_first.network, 0, 1, 0.8)))


def problems(network, wide, loss):
    """Narrow and wide problem on random data that suits the loss."""
    random = np.random.default_rng(5)
    inputs = random.normal(size=(6, network.in_size))
    outputs = jax.eval_shape(network, jnp.asarray(inputs[0])).shape
    if isinstance(loss, losses.Square):
        targets = random.normal(size=(6, *outputs))
    elif isinstance(loss, losses.CrossEntropy):
        targets = np.arange(6.0) % 2.0
    else:
        targets = np.sign(random.normal(size=6))
    data = Dataset(inputs, targets)
    return Problem(network, data, loss), Problem(wide, data, loss)


@eqx.filter_jit
def at(problem, theta):
    """f(x_i; θ), 𝓛(θ) and ∇𝓛(θ)."""
    return problem.outputs(theta), problem.loss(theta), problem.grad(theta)


def random_theta(problem):
    """A point where the largest output is 1 for homogeneous networks, whatever their degree."""
    theta = jnp.asarray(np.random.default_rng(6).normal(size=problem.size))
    if problem.degree is None:
        return theta
    return theta / float(np.max(np.abs(at(problem, theta)[0]))) ** (1.0 / problem.degree)


def flat(network):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(eqx.filter(network, eqx.is_array))])


def error(actual, expected):
    return np.linalg.norm(np.asarray(actual) - np.asarray(expected)) / np.linalg.norm(expected)


def check_split(network, split, loss, change=lambda theta: theta):
    """‖Tθ‖² = ‖θ‖²/τ, f̃(x; Tθ) = f(x; θ), ∇𝓛̃(Tθ) = τT∇𝓛(θ)."""
    narrow, wide = problems(network, split.network, loss)
    theta = change(random_theta(narrow))
    eta = split.lift(theta)
    outputs, _, gradient = at(narrow, theta)
    wide_outputs, _, wide_gradient = at(wide, eta)
    np.testing.assert_allclose(np.linalg.norm(eta), np.linalg.norm(theta) / np.sqrt(split.tau), rtol=1e-14)
    assert error(wide_outputs, outputs) < 1e-14
    assert error(wide_gradient, split.tau * split.lift(gradient)) < 1e-14


@pytest.mark.parametrize("name", sorted(SPLITS))
def test_isometry_output_and_gradient(name):
    check_split(*SPLITS[name])
    network, split, _ = SPLITS[name]
    np.testing.assert_array_equal(flat(split.network), split.lift(jnp.asarray(flat(network))))


def test_identities_at_a_kink():
    """A neuron with zero incoming weights sits on the kink of σ for every sample."""
    network, split, loss = SPLITS["three layers, exponential"]
    first = network.weights[0].size
    check_split(network, split, loss, lambda theta: theta.at[first : first + network.weights[1].shape[1]].set(0.0))


def test_clock():
    """Two layers: τ = k^{(1−p)/(1+p)}, with W ↦ k^{−1/(p+1)} W ⊗ 1; τ is 1 exactly for p = 1 at any depth."""
    split = kronecker_split(two_layer(3), [5])
    np.testing.assert_allclose(split.tau, 5.0**-0.5, rtol=1e-15)
    np.testing.assert_allclose(split.network.w, 5.0**-0.25 * np.kron(two_layer(3).w, np.ones((5, 1))), rtol=1e-14)
    np.testing.assert_allclose(split.network.a, 5.0**-0.25 * np.kron(two_layer(3).a, np.ones(5)), rtol=1e-14)
    assert kronecker_split(TWO_OUTPUTS, [3, 7, 5]).tau == 1.0


@pytest.mark.parametrize(("p", "c"), [(2, [0.6, 0.8]), (1, [0.5, 0.5])])
def test_a_forced_split_is_wrong_by_the_predicted_amount(p, c):
    """f̃ = Σ c_i^{p+1}·f for one neuron: wrong by 0.27 at p = 2, by 0.5 for c too small; so is the gradient."""
    network = TwoLayer(3, 1, ReLUPower(p, 0.2), key=KEY)
    split = split_neuron(network, 0, 0, c, force=True)
    narrow, wide = problems(network, split.network, losses.Square())
    theta = random_theta(narrow)
    outputs, _, gradient = at(narrow, theta)
    wide_outputs, _, wide_gradient = at(wide, split.lift(theta))
    np.testing.assert_allclose(wide_outputs, sum(x ** (p + 1) for x in c) * outputs, rtol=1e-13)
    assert error(wide_outputs, outputs) > 0.27
    assert error(wide_gradient, split.lift(gradient)) > 0.1


def test_violation_is_measured():
    """Rounding for a split; after `force` the predicted failure, at p = 2 of the output and not of the norm."""
    network, split, loss = SPLITS["three layers, logistic"]
    narrow, wide = problems(network, split.network, loss)
    assert max(split.violation(narrow, random_theta(narrow))) < 1e-14
    assert split.wide_problem(narrow).loss(wide.theta) == wide.loss(wide.theta)
    network = TwoLayer(3, 1, ReLUPower(2, 0.2), key=KEY)
    narrow, _ = problems(network, network, losses.Square())
    isometry, output, gradient = split_neuron(network, 0, 0, [0.6, 0.8], force=True).violation(narrow, narrow.theta)
    assert isometry < 1e-15
    np.testing.assert_allclose(output, 1 - 0.6**3 - 0.8**3, rtol=1e-12)
    assert gradient > 0.1


def dense(lift):
    matrix = np.zeros((lift.source.size, lift.size))
    matrix[np.arange(lift.source.size), lift.source] = lift.factor
    return matrix


@pytest.mark.parametrize(
    "lift",
    [SPLITS["Kronecker, three layers, p = 2"][1].lift, split_neuron(two_layer(2), 0, 1, [0.1, 2.0, 0.0], True).lift],
)
def test_projection_is_the_pseudo_inverse(lift):
    """`lift` and `project` against the dense T and T⁺, `distance` against the residual, compiled and mapped."""
    matrix = dense(lift)
    random = np.random.default_rng(8)
    theta, eta = random.normal(size=lift.size), random.normal(size=(2, lift.source.size))
    eta[0] = matrix @ theta
    np.testing.assert_allclose(lift(jnp.asarray(theta)), eta[0], rtol=1e-15)
    projected, distance = jax.jit(jax.vmap(lambda v: (lift.project(v), lift.distance(v))))(jnp.asarray(eta))
    expected = eta @ np.linalg.pinv(matrix).T
    np.testing.assert_allclose(projected, expected, atol=1e-13)
    np.testing.assert_allclose(projected[0], theta, rtol=1e-14)
    np.testing.assert_allclose(distance, np.linalg.norm(eta - expected @ matrix.T, axis=1), rtol=1e-13, atol=1e-14)


def test_projection_of_a_split():
    """T⁺ = τTᵀ, and distance is its residual."""
    split = SPLITS["Kronecker, three layers, p = 2"][1]
    matrix = dense(split.lift)
    eta = np.random.default_rng(8).normal(size=split.lift.source.size)
    np.testing.assert_allclose(split.project(jnp.asarray(eta)), split.tau * matrix.T @ eta, atol=1e-14)
    residual = eta - split.tau * matrix @ matrix.T @ eta
    np.testing.assert_allclose(split.distance(jnp.asarray(eta)), np.linalg.norm(residual), rtol=1e-14)


def test_a_split_of_a_split_is_a_split():
    network = three_layer(1)
    first = split_neuron(network, 1, 0, C)
    second = first.then(split_neuron(first.network, 0, 1, [0.6, 0.8]))
    third = second.then(split_neuron(second.network, 1, 2, [0.8, 0.6]))
    assert [w.shape for w in third.network.weights] == [(5, 3), (6, 5), (1, 6)]
    check_split(network, third, losses.Logistic())


def test_kronecker_splits_compose():
    """2 × 3 copies are 6, with the product of the clocks; for p = 1 they are a chain of single splits."""
    network = three_layer(2)
    first = kronecker_split(network, [2, 3])
    both, once = first.then(kronecker_split(first.network, [3, 2])), kronecker_split(network, [6, 6])
    np.testing.assert_allclose(both.tau, once.tau, rtol=1e-15)
    np.testing.assert_array_equal(both.lift.source, once.lift.source)
    np.testing.assert_allclose(both.lift.factor, once.lift.factor, rtol=1e-14)

    chain = split_neuron(LINEAR, 1, 0, np.full(2, np.sqrt(0.5)))
    chain = chain.then(split_neuron(chain.network, 1, 2, np.full(2, np.sqrt(0.5))))
    once = kronecker_split(LINEAR, [1, 2])
    np.testing.assert_array_equal(chain.lift.source, once.lift.source)
    np.testing.assert_allclose(chain.lift.factor, once.lift.factor, rtol=1e-14)


@eqx.filter_jit
def descend(problem, theta, steps, metric):
    """θ after every step of θ ← θ − s_k·D∇𝓛(θ), D diagonal."""

    def step(theta, s):
        theta = theta - s * metric * problem.grad(theta)
        return theta, theta

    return jax.lax.scan(step, theta, steps)[1]


STEPS = jnp.asarray(np.random.default_rng(1).uniform(0.02, 0.1, 200))


@pytest.mark.parametrize("name", ["three layers, logistic", "Kronecker, two layers, p = 2"])
def test_descent_stays_on_the_image(name):
    """The wide network with steps s_k/τ is the narrow one with steps s_k; with the wrong clock it is not."""
    network, split, loss = SPLITS[name]
    narrow, wide = problems(network, split.network, loss)
    theta = random_theta(narrow)
    trajectory = descend(narrow, theta, STEPS, jnp.ones(narrow.size))
    shadow = jax.vmap(split.lift)(trajectory)
    metric = jnp.ones(wide.size)
    eta = descend(wide, split.lift(theta), STEPS / split.tau, metric)
    assert jnp.max(jnp.linalg.norm(eta - shadow, axis=1)) < 1e-12
    assert jnp.max(jax.vmap(split.distance)(eta)) < 1e-12
    assert jnp.linalg.norm(trajectory[-1] - theta) > 0.3
    if split.tau != 1.0:
        slow = descend(wide, split.lift(theta), STEPS, metric)
        assert jnp.max(jnp.linalg.norm(slow - shadow, axis=1)) > 0.1
        # On the image still: only the clock is another.
        assert jnp.max(jax.vmap(split.distance)(slow)) < 1e-12


@pytest.mark.parametrize("name", sorted(EMBEDDINGS))
def test_embedding_preserves_values_and_maps_gradients(name):
    """f̃(x; Tθ) = f(x; θ), 𝓛̃(Tθ) = 𝓛(θ), ∇𝓛̃(Tθ) = G∇𝓛(θ), TᵀG = I."""
    network, embedding = EMBEDDINGS[name]
    narrow, wide = problems(network, embedding.network, losses.Square())
    np.testing.assert_allclose(flat(embedding.network), embedding.lift(narrow.theta), rtol=1e-15)
    theta = random_theta(narrow)
    outputs, loss, gradient = at(narrow, theta)
    wide_outputs, wide_loss, wide_gradient = at(wide, embedding.lift(theta))
    assert error(wide_outputs, outputs) < 1e-14
    np.testing.assert_allclose(wide_loss, loss, rtol=1e-14)
    assert error(wide_gradient, embedding.gradient(gradient)) < 1e-14
    np.testing.assert_allclose(dense(embedding.lift).T @ dense(embedding.gradient), np.eye(narrow.size), atol=1e-15)


def test_embedding_preserves_criticality():
    """θ is made critical by targets whose residuals are orthogonal to every ∂f/∂θ_k; then so is Tθ."""
    network = TwoLayer(3, 1, Tanh(), key=KEY)
    embedding = embed_neuron(network, 0, 0, 1.4)
    narrow, wide = problems(network, embedding.network, losses.Square())
    theta = random_theta(narrow)
    tangents, _ = np.linalg.qr(jax.jit(jax.jacobian(narrow.outputs))(theta))
    residual = np.random.default_rng(2).normal(size=6)
    residual -= tangents @ (tangents.T @ residual)
    targets = at(narrow, theta)[0] - residual
    narrow, wide = (eqx.tree_at(lambda p: p.objective.data.targets, p, targets) for p in (narrow, wide))
    _, loss, gradient = at(narrow, theta)
    _, wide_loss, wide_gradient = at(wide, embedding.lift(theta))
    assert np.linalg.norm(gradient) < 1e-15
    assert np.linalg.norm(wide_gradient) < 1e-15
    assert loss > 0.05
    np.testing.assert_allclose(wide_loss, loss, rtol=1e-14)
    # Not because the wide gradient vanishes anyway.
    assert np.linalg.norm(at(wide, embedding.lift(1.1 * theta))[2]) > 1e-3


def test_motion_on_the_invariant_manifold_has_other_rates():
    """Three equal shares: out ×3, in and bias ×1/3, against the narrow descent and against unequal shares."""
    first = embed_neuron(BIASED, 0, 1, 1.0 / 3.0)
    equal = first.then(embed_neuron(first.network, 0, 1, 0.5))
    narrow, wide = problems(BIASED, equal.network, losses.Square())
    theta = random_theta(narrow)
    rates = jax.tree.map(lambda leaf: np.ones(leaf.shape), eqx.filter(BIASED, eqx.is_array))
    rates.weights[0][1], rates.biases[0][1], rates.weights[1][:, 1] = 1.0 / 3.0, 1.0 / 3.0, 3.0
    rates = jnp.asarray(np.concatenate([rate.ravel() for rate in jax.tree.leaves(rates)]))
    np.testing.assert_allclose(equal.rates(), rates, rtol=1e-15)
    eta = descend(wide, equal.lift(theta), STEPS, jnp.ones(wide.size))
    assert jnp.max(jax.vmap(equal.lift.distance)(eta)) < 1e-12
    shadow = jax.vmap(equal.lift)(descend(narrow, theta, STEPS, rates))
    assert jnp.max(jnp.linalg.norm(eta - shadow, axis=1)) < 1e-12
    unrated = jax.vmap(equal.lift)(descend(narrow, theta, STEPS, jnp.ones(narrow.size)))
    assert jnp.max(jnp.linalg.norm(eta - unrated, axis=1)) > 0.1

    gradient = first.gradient(narrow.grad(theta))
    assert first.lift.distance(gradient) > 0.05 * jnp.linalg.norm(gradient)


NORMALISED = FeedForward((3, 4, 1), LEAKY, key=KEY, normalise=True)
RESIDUAL = FeedForward((3, 4, 4, 1), LEAKY, key=KEY, residual=True)
AFFINE = FeedForward((3, 1), LEAKY, key=KEY)
LEAKY_BIASED = FeedForward((3, 4, 1), LEAKY, key=KEY, bias=True)
NET = two_layer(1)
EVEN = [0.6, 0.8]
SIX = Dataset(np.eye(6, 3), np.ones(6))
TANH_SMALL = TwoLayer(3, 1, Tanh(), key=KEY)
SAYS = [
    (
        lambda: split_neuron(two_layer(2), 0, 0, EVEN),
        "network: .* must have degree 1, or its copies would not .*kronecker_split.*force=True.*, had degree 2",
    ),
    (lambda: split_neuron(TANH, 0, 0, EVEN), "network: .* must have degree 1.*embed_neuron.*, had none"),
    (lambda: split_neuron(LEAKY_BIASED, 0, 0, EVEN), "network must have no biases, had bias=True"),
    (lambda: split_neuron(LEAKY_BIASED, 0, 0, EVEN, force=True), "network must have no biases, had bias=True"),
    (lambda: split_neuron(NORMALISED, 0, 0, EVEN), "network must not normalise its layers, had normalise=True"),
    (lambda: split_neuron(RESIDUAL, 0, 0, EVEN), "network must have no skips, .*, had residual=True"),
    (lambda: split_neuron(AFFINE, 0, 0, EVEN), "network must have a hidden layer, had none"),
    (lambda: split_neuron(DiagonalLinear(3), 0, 0, EVEN), "network must be a TwoLayer, .*, was DiagonalLinear"),
    (lambda: split_neuron(NET, 1, 0, EVEN), "layer must be an integer from 0 to 0, was 1"),
    (lambda: split_neuron(NET, -1, 0, EVEN), "layer must be an integer from 0 to 0, was -1"),
    (lambda: split_neuron(NET, True, 0, EVEN), "layer must be an integer from 0 to 0, was True"),
    (lambda: split_neuron(NET, 0, 4, EVEN), "neuron must be an integer from 0 to 3, was 4"),
    (lambda: split_neuron(NET, 0, 0, [-0.6, 0.8]), r"coefficients .* not negative, were \[-0.6, 0.8\]"),
    (lambda: split_neuron(NET, 0, 0, [-0.6, 0.8], force=True), "coefficients must be finite and not negative"),
    (lambda: split_neuron(NET, 0, 0, [float("nan")]), r"coefficients must be finite .*, were \[nan\]"),
    (lambda: split_neuron(NET, 0, 0, [0.5, 0.5]), "coefficients: .* sum to 1 within 1e-12, summed to 0.5"),
    (lambda: split_neuron(NET, 0, 0, [1.0 + 1e-12]), "coefficients: .* sum to 1 within 1e-12, summed to 1.000"),
    (lambda: split_neuron(NET, 0, 0, [0.0], force=True), "coefficients: .* summed to 0.0"),
    (lambda: split_neuron(NET, 0, 0, []), r"coefficients must be a list of one or more numbers, had shape \(0,\)"),
    (lambda: kronecker_split(TANH, [2]), "network: its activation must have a degree .*, had none"),
    (lambda: kronecker_split(LEAKY_BIASED, [2]), "network must have no biases, had bias=True"),
    (lambda: kronecker_split(NET, [2, 2]), r"copies must hold one positive integer per hidden layer \(1\), held 2"),
    (lambda: kronecker_split(NET, [0]), r"copies\[0\] must be a positive integer, was 0"),
    (lambda: embed_neuron(NORMALISED, 0, 0, 0.5), "network must not normalise .*, had normalise=True"),
    (lambda: embed_neuron(RESIDUAL, 0, 0, 0.5), "network must have no skips, .*, had residual=True"),
    (lambda: embed_neuron(TANH, 0, 4, 0.5), "neuron must be an integer from 0 to 3, was 4"),
    (lambda: embed_neuron(TANH, 0, 0, float("inf")), "alpha must be a finite number, was inf"),
    (lambda: split_neuron(NET, 0, 0, EVEN).lift(jnp.ones(3)), r"theta must have shape \(16,\), was \(3,\)"),
    (lambda: split_neuron(NET, 0, 0, EVEN).project(jnp.ones(3)), r"eta must have shape \(20,\), was \(3,\)"),
    (lambda: EMBEDDINGS["two layers, tanh"][1].rates(), "embedding must have equal shares .*, had unequal ones"),
    (
        lambda: split_neuron(NET, 0, 0, EVEN).violation(Problem(two_layer(1), SIX, losses.Square()), jnp.ones(3)),
        r"theta must have shape \(16,\), was \(3,\)",
    ),
    (
        lambda: split_neuron(NET, 0, 0, EVEN).violation(Problem(TANH_SMALL, SIX, losses.Square()), jnp.ones(4)),
        "problem must have 16 parameters, had 4",
    ),
    (
        lambda: split_neuron(NET, 0, 0, EVEN).then(split_neuron(NET, 0, 0, EVEN)),
        "other must start from 20 parameters, started from 16",
    ),
]


@pytest.mark.parametrize(("attempt", "says"), SAYS)
def test_refusals(attempt, says):
    with pytest.raises((TypeError, ValueError)) as caught:
        attempt()
    assert re.fullmatch(says + ".*", str(caught.value))


def test_the_wide_problem_keeps_the_batch():
    narrow, split, _ = SPLITS["two layers, square"]
    problem = Problem(narrow, Dataset(np.ones((5, 3)), np.ones(5)), losses.Square(), batch=2)
    assert split.wide_problem(problem).objective.batch == 2
