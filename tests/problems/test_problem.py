"""The problem: derivatives, chunks, compilation, and what it refuses."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gfsim.problems import Dataset, Problem, data, losses
from gfsim.problems.networks import DeepLinear, FeedForward, ReLUPower, Tanh, TwoLayer
from gfsim.types import Array

KEY = jax.random.key(3)
RANDOM = np.random.default_rng(5)
X = RANDOM.normal(size=(11, 4))
SIGNS = np.sign(RANDOM.normal(size=11))
CLASSES = np.arange(11) % 3

PROBLEMS = {
    "two-layer": Problem(TwoLayer(4, 3, ReLUPower(2), key=KEY), Dataset(X, SIGNS), losses.Logistic("sum")),
    "mlp": Problem(
        eqx.nn.MLP(4, "scalar", 5, 1, activation=jax.nn.softplus, key=KEY), Dataset(X, SIGNS), losses.Exponential()
    ),
    "three classes": Problem(
        FeedForward((4, 3), Tanh(), key=KEY, bias=True), Dataset(X, CLASSES), losses.CrossEntropy()
    ),
    "two outputs": Problem(DeepLinear((4, 3, 2), key=KEY), Dataset(X, X[:, :2]), losses.Square("sum")),
    "from a function": Problem.from_loss(
        lambda p: jnp.sum(jnp.cos(p["a"])) * p["b"] ** 3 + 9.0, {"a": jnp.arange(3.0), "b": 1.5}
    ),
}


@eqx.filter_jit
def derivatives(problem, theta, v):
    """Everything that is compared, in one compilation."""
    return {
        "loss": problem.loss(theta),
        "log_loss": problem.log_loss(theta),
        "grad": problem.grad(theta),
        "hvp": problem.hvp(theta, v),
        "grad of loss": jax.grad(problem.loss)(theta),
        "grad of log_loss": jax.grad(problem.log_loss)(theta),
    }


@eqx.filter_jit
def differences(problem, theta, v, h=1e-3):
    """The derivatives of 𝓛 and ∇𝓛 along v: central differences with one Richardson step, of error O(h⁴)."""
    steps = h * jnp.array([-2.0, -1.0, 1.0, 2.0])
    points = theta[None, :] + steps[:, None] * v[None, :]
    weights = jnp.array([1.0, -8.0, 8.0, -1.0]) / (12.0 * h)
    return weights @ jax.vmap(problem.loss)(points), weights @ jax.vmap(problem.grad)(points)


def direction(problem, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=problem.size))


@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)
def test_derivatives(problem):
    theta, v = problem.theta, direction(problem)
    slope, bend = differences(problem, theta, v)
    exact = derivatives(problem, theta, v)
    assert theta.dtype == exact["grad"].dtype == jnp.float64
    np.testing.assert_allclose(exact["grad"] @ v, slope, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(exact["hvp"], bend, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(exact["grad of loss"], exact["grad"], rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(exact["log_loss"], jnp.log(exact["loss"]), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(exact["grad of log_loss"], exact["grad"] / exact["loss"], rtol=1e-11, atol=1e-13)
    hessian = problem.hessian(theta)
    np.testing.assert_array_equal(hessian, hessian.T)
    np.testing.assert_allclose(hessian @ v, exact["hvp"], rtol=1e-12, atol=1e-13)


def test_a_hessian_larger_than_one_block_of_columns():
    """Square loss on a linear model: the Hessian is XᵀX/n, here of more columns than are formed at once."""
    x = np.random.default_rng(1).normal(size=(5, 150))
    problem = Problem(DeepLinear((150, 1), key=KEY), Dataset(x, x[:, 0]), losses.Square())
    np.testing.assert_allclose(problem.hessian(problem.theta), x.T @ x / 5, atol=1e-14)


def test_closed_forms_of_linear_models():
    theta = jnp.asarray(RANDOM.normal(size=4))
    linear = DeepLinear((4, 1), key=KEY)

    square = Problem(linear, Dataset(X, SIGNS), losses.Square())
    residual = X @ theta - SIGNS
    np.testing.assert_allclose(square.loss(theta), residual @ residual / 22, rtol=1e-14)
    np.testing.assert_allclose(square.grad(theta), X.T @ residual / 11, rtol=1e-12)

    logistic = Problem(linear, Dataset(X, SIGNS), losses.Logistic("sum"))
    q = SIGNS * (X @ theta)
    sigmoid = 1.0 / (1.0 + np.exp(q))
    np.testing.assert_allclose(logistic.margins(theta), q, rtol=1e-13)
    np.testing.assert_allclose(logistic.grad(theta), -X.T @ (SIGNS * sigmoid), rtol=1e-12)
    np.testing.assert_allclose(logistic.hessian(theta), (X.T * (sigmoid * (1.0 - sigmoid))) @ X, rtol=1e-11)


def test_log_loss_where_the_loss_is_zero():
    """Homogeneous of degree 3: margins grow by 1e6 when θ grows by 100, and log 𝓛 follows −q_min."""
    network = TwoLayer(2, 20, ReLUPower(2), key=KEY)
    points = Dataset([[1.0, 0.0], [0.0, 1.0]], np.sign(jax.vmap(network)(jnp.eye(2))))
    problem = Problem(network, points, losses.Logistic())
    theta = 100.0 * problem.theta
    q_min = jnp.min(problem.margins(theta))
    assert problem.loss(theta) == 0.0
    assert q_min > 1e5
    np.testing.assert_allclose(problem.log_loss(theta), -q_min - np.log(2.0), rtol=1e-14)
    np.testing.assert_allclose(jax.grad(problem.log_loss)(theta) @ theta, -3.0 * q_min, rtol=1e-12)


@pytest.mark.parametrize(("name", "batch"), [("two outputs", 4), ("three classes", 1)])
def test_chunks_change_nothing_but_rounding(name, batch):
    problem = PROBLEMS[name]
    chunked = Problem(problem.network_at(problem.theta), problem.data, problem.criterion, batch=batch)
    theta, v = problem.theta, direction(problem)
    expected, found = derivatives(problem, theta, v), derivatives(chunked, theta, v)
    for quantity, value in expected.items():
        size = float(jnp.max(jnp.abs(value)))
        np.testing.assert_allclose(found[quantity], value, rtol=0, atol=1e-14 * size, err_msg=quantity)
    np.testing.assert_allclose(chunked.outputs(theta), problem.outputs(theta), rtol=1e-14)


def temporary_bytes(f, theta):
    return jax.jit(f).lower(theta).compile().memory_analysis().temp_size_in_bytes


def test_chunks_bound_the_memory():
    """2048 samples of width 128 are 2 MiB an activation; in chunks of 16, 16 KiB."""
    network = TwoLayer(4, 128, Tanh(), key=KEY)
    points = data.sphere(2048, 4, KEY)
    whole, chunked = (Problem(network, points, losses.Logistic(), batch=batch) for batch in (None, 16))
    v = direction(whole)
    assert temporary_bytes(lambda theta: whole.hvp(theta, v), v) > 2**21
    assert temporary_bytes(lambda theta: chunked.hvp(theta, v), v) < 2**18
    assert temporary_bytes(jax.grad(lambda theta: chunked.log_loss(theta)), v) < 2**18


class Counting(eqx.Module):
    """A network that counts how often it is traced."""

    weights: Array
    frozen: Array

    traces = 0

    def __call__(self, x):
        type(self).traces += 1
        return jnp.tanh(self.weights * self.frozen) @ x


def counting_problem(seed):
    random = np.random.default_rng(seed)
    network = Counting(jnp.asarray(random.normal(size=4)), jnp.asarray(random.normal(size=4)))
    points = Dataset(random.normal(size=(6, 4)), np.sign(random.normal(size=6)))
    frozen = jax.tree_util.tree_map(lambda leaf: leaf is network.weights, network)
    return Problem(network, points, losses.Logistic(), trainable=frozen)


METHODS = {
    "loss": lambda p: p.loss(p.theta),
    "log_loss": lambda p: p.log_loss(p.theta),
    "grad": lambda p: p.grad(p.theta),
    "hvp": lambda p: p.hvp(p.theta, p.theta),
    "hessian": lambda p: p.hessian(p.theta),
    "outputs": lambda p: p.outputs(p.theta),
    "margins": lambda p: p.margins(p.theta),
    "correlation": lambda p: p.correlation(p.theta),
    "a function of the problem": eqx.filter_jit(lambda p: p.loss(2.0 * p.theta)),
}


@pytest.mark.parametrize("method", METHODS)
def test_a_problem_of_the_same_structure_is_not_compiled_again(method):
    first, second = counting_problem(0), counting_problem(1)
    value = METHODS[method](first)
    before = Counting.traces
    assert not np.allclose(METHODS[method](second), value)
    assert Counting.traces == before


def test_plain_models_and_functions_are_not_compiled_again():
    traces = []

    def fn(params):
        traces.append(None)
        return jnp.sum(params**2)

    @eqx.filter_jit
    def loss(problem):
        traces.append(None)
        return problem.loss(problem.theta)

    for seed in range(2):
        model = eqx.nn.MLP(4, "scalar", 3, 1, key=jax.random.key(seed))
        loss(Problem(model, Dataset(X + seed, SIGNS), losses.Square()))
    assert len(traces) == 1
    traces.clear()
    first, second = (Problem.from_loss(fn, jnp.full(3, value)) for value in (1.0, 2.0))
    assert first.loss(first.theta) == 3.0
    before = len(traces)
    assert second.loss(second.theta) == 12.0
    assert len(traces) == before


def test_inside_other_transformations():
    problem = PROBLEMS["two-layer"]
    thetas = jnp.stack([problem.theta, 2.0 * problem.theta, -problem.theta])
    expected = jnp.stack([problem.grad(theta) for theta in thetas])
    close = lambda found, value: np.testing.assert_allclose(found, value, rtol=1e-12, atol=1e-14)  # noqa: E731
    close(jax.vmap(problem.grad)(thetas), expected)
    close(jax.jit(lambda theta: problem.grad(theta))(thetas[1]), expected[1])
    close(jax.jvp(problem.loss, (thetas[0],), (thetas[1],))[1], expected[0] @ thetas[1])
    close(jax.lax.scan(lambda carry, theta: (carry, problem.grad(theta)), None, thetas)[1], expected)


def test_theta_holds_the_fields_in_order():
    network = TwoLayer(4, 3, ReLUPower(2), key=KEY)
    problem = Problem(network, Dataset(X, SIGNS), losses.Square())
    np.testing.assert_array_equal(problem.theta, np.concatenate([network.w.ravel(), network.a]))
    assert problem.size == 15
    again = problem.network_at(2.0 * problem.theta)
    np.testing.assert_array_equal(again.w, 2.0 * network.w)
    assert again.activation == network.activation


def test_frozen_leaves():
    model = eqx.nn.MLP(4, "scalar", 3, 1, activation=jax.nn.tanh, key=KEY)
    last = eqx.tree_at(lambda m: m.layers[1].weight, jax.tree.map(lambda _: False, model), True)
    problem = Problem(model, Dataset(X, SIGNS), losses.Square(), trainable=last)
    assert problem.size == 3
    moved = problem.network_at(jnp.zeros(3))
    np.testing.assert_array_equal(moved.layers[0].weight, model.layers[0].weight)
    np.testing.assert_array_equal(moved.layers[1].weight, np.zeros((1, 3)))
    np.testing.assert_allclose(problem.outputs(jnp.zeros(3)), np.full(11, model.layers[1].bias[0]), rtol=1e-15)


def test_degree_and_balancedness_need_every_parameter():
    network = TwoLayer(4, 3, ReLUPower(2), key=KEY)
    whole = Problem(network, Dataset(X, SIGNS), losses.Square())
    assert whole.degree == 3
    np.testing.assert_array_equal(whole.balancedness(whole.theta), network.balancedness())
    partly = Problem(network, Dataset(X, SIGNS), losses.Square(), trainable=lambda leaf: leaf is network.a)
    plain = PROBLEMS["mlp"]
    function = PROBLEMS["from a function"]
    for problem in (partly, plain, function):
        assert problem.degree is None
        assert problem.balancedness(problem.theta) is None


def test_single_precision_models_become_double():
    model = jax.tree.map(
        lambda leaf: leaf.astype(jnp.float32) if eqx.is_array(leaf) else leaf, eqx.nn.MLP(4, "scalar", 3, 1, key=KEY)
    )
    problem = Problem(
        model, Dataset(X, SIGNS), losses.Square(), trainable=lambda leaf: eqx.is_array(leaf) and leaf.ndim == 2
    )
    assert problem.theta.dtype == jnp.float64
    assert problem.outputs(problem.theta).dtype == jnp.float64


def test_correlation():
    """N(θ) = Σ z_i f(x_i; θ), and −N is the first term of the loss at small outputs."""
    problem = PROBLEMS["two-layer"]
    expected = np.sum(SIGNS / 2.0 * np.asarray(problem.outputs(problem.theta)))
    np.testing.assert_allclose(problem.correlation(problem.theta), expected, rtol=1e-13)
    classes = PROBLEMS["three classes"]
    small = 1e-8 * classes.theta
    np.testing.assert_allclose(jax.grad(classes.correlation)(small), -classes.grad(small), rtol=1e-6, atol=1e-20)


def test_from_loss_takes_any_pytree():
    params = {"w": np.ones((2, 2), np.float32), "b": 0.5, "activation": jnp.tanh, "flag": True}
    problem = Problem.from_loss(lambda p: jnp.sum(p["activation"](p["w"])) + p["b"] ** 2, params)
    assert problem.size == 5
    tree = problem.network_at(problem.theta)
    assert tree["flag"] is True
    assert tree["w"].dtype == jnp.float64
    np.testing.assert_allclose(problem.loss(problem.theta), 4 * np.tanh(1.0) + 0.25, rtol=1e-15)


def test_from_loss_has_no_data():
    problem = PROBLEMS["from a function"]
    for name, use in {
        "data": lambda: problem.data,
        "criterion": lambda: problem.criterion,
        "outputs": lambda: problem.outputs(problem.theta),
        "margins": lambda: problem.margins(problem.theta),
        "correlation": lambda: problem.correlation(problem.theta),
    }.items():
        with pytest.raises(ValueError, match=f"{name} needs Problem\\(network, data, loss\\), problem was") as error:
            use()
        assert "\n" not in str(error.value)
