"""What a problem refuses: one line that says which argument, what it must be, and what it was."""

import subprocess
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gfsim.problems import Dataset, Problem, losses
from gfsim.problems.networks import ReLUPower, TwoLayer

KEY = jax.random.key(3)
X = np.random.default_rng(5).normal(size=(11, 4))
SIGNS = np.sign(X[:, 0])
CLASSES = np.arange(11) % 3


def make(network=None, inputs=X, targets=SIGNS, loss=None, **options):
    network = TwoLayer(4, 3, ReLUPower(2), key=KEY) if network is None else network
    return Problem(network, Dataset(inputs, targets), losses.Logistic() if loss is None else loss, **options)


def square():
    return make(loss=losses.Square())


@pytest.mark.parametrize(
    ("use", "error_type", "says"),
    [
        (lambda: make(targets=CLASSES), ValueError, "targets: Logistic needs labels −1 and"),
        (lambda: make(inputs=X[:, :3]), ValueError, r"network must take inputs of shape \(3,\), did not"),
        (lambda: make(network=lambda x: jnp.outer(x, x)), ValueError, "network must have at least one floating"),
        (lambda: make(network=eqx.nn.Linear(4, 2, key=KEY)), ValueError, "network: Logistic needs a scalar output"),
        (lambda: make(network=eqx.nn.MLP(4, 1, 3, 1, key=KEY)), ValueError, 'out_size="scalar"'),
        (lambda: make(loss=losses.CrossEntropy()), ValueError, "network: CrossEntropy needs two or more outputs"),
        (lambda: make(batch=0), ValueError, "batch must be a positive integer, was 0"),
        (lambda: make(trainable=lambda leaf: False), ValueError, "network must have at least one floating"),
        (lambda: make(trainable=[True, False]), ValueError, "trainable must be a function of a leaf, or booleans"),
        (
            lambda: make(network=eqx.nn.MLP(4, "scalar", 3, 1, key=KEY), trainable=True),
            TypeError,
            "network.activation: a parameter must be a real floating-point array, was",
        ),
        (lambda: square().margins(square().theta), ValueError, "margins: need a loss"),
        (lambda: Problem.from_loss(lambda p: p, jnp.ones(3)), ValueError, r"fn .* returned shape \(3,\)"),
        (lambda: Problem.from_loss(lambda p: (p, p), jnp.ones(3)), ValueError, "fn .* returned tuple"),
        (lambda: Problem.from_loss(lambda p: 1.0, jnp.ones(3)), ValueError, "fn .* returned float"),
        (lambda: Problem.from_loss(lambda p: p.astype(jnp.float32), 1.0), TypeError, "fn .* returned float32"),
        (lambda: Problem.from_loss(jnp.sum, {"a": 1}), TypeError, r"params\['a'\]: a parameter must be .*, was 1"),
        (lambda: Problem.from_loss(jnp.sum, jnp.arange(3)), TypeError, "params: a parameter must be .*, was int64"),
        (lambda: Problem.from_loss(jnp.sum, jnp.ones(2, complex)), TypeError, "params: .*, was complex128"),
        (
            lambda: Problem.from_loss(lambda p: p[7][1], jnp.ones(2)),
            ValueError,
            "fn must be .*, which raised IndexError",
        ),
        (lambda: Problem.from_loss(jnp.sum, jnp.array([1, jnp.nan])), ValueError, "params must have finite parameters"),
        (lambda: Problem.from_loss(jnp.sum, {}), ValueError, "params must have at least one floating-point"),
    ],
)
def test_bad_arguments(use, error_type, says):
    with pytest.raises(error_type, match=says) as error:
        use()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("theta", "was"),
    [
        (jnp.ones(14), r"float64 of shape \(14,\)"),
        (jnp.ones(15, jnp.float32), r"float32 of shape \(15,\)"),
    ],
)
@pytest.mark.parametrize("method", ["loss", "log_loss", "grad", "hessian", "outputs", "margins", "network_at"])
def test_bad_theta(method, theta, was):
    with pytest.raises(TypeError, match=was):
        getattr(make(), method)(theta)


OUTSIDE_THE_TYPE_CHECKER = """
import jax, jax.numpy as jnp, numpy as np
import equinox as eqx
from gfsim.problems import Dataset, Problem, data, losses, networks

def message(make):
    try:
        make()
    except (TypeError, ValueError) as error:
        print(type(error).__name__, error)

message(lambda: Dataset([[1.0]], [1.0]))
model = eqx.nn.Linear(1, "scalar", key=jax.random.key(0))
message(lambda: Problem(model, None, losses.Square()))
message(lambda: Problem.from_loss(jnp.sum, jnp.ones(2)))
jax.config.update("jax_enable_x64", True)
key = jax.random.key(0)
points = Dataset([[1.0]], [1.0])
message(lambda: Problem(3, points, losses.Square()))
message(lambda: Problem(model, [[1.0]], losses.Square()))
message(lambda: Problem(model, points, losses.Square))
message(lambda: Problem(model, points, losses.Square(), batch=2.5))
message(lambda: Problem.from_loss(3, jnp.ones(2)))
message(lambda: Problem(model, points, losses.Square()).loss([1.0, 2.0]))
message(lambda: networks.TwoLayer(2.5, 3, networks.Tanh(), key=key))
message(lambda: networks.TwoLayer(2, True, networks.Tanh(), key=key))
message(lambda: networks.TwoLayer(2, 3, "tanh", key=key))
message(lambda: networks.FeedForward(3, networks.Tanh(), key=key))
message(lambda: networks.FeedForward((3, 1), None, key=key))
message(lambda: networks.DeepLinear("31", key=key))
message(lambda: networks.DeepLinear((3, 1), key=0))
message(lambda: networks.DeepLinear((3, 1), key=jax.random.split(key)))
message(lambda: networks.ReLUPower(1.5))
message(lambda: networks.ReLUPower(1, "steep"))
message(lambda: data.digits(3))
message(lambda: data.digits((3, "5")))
message(lambda: data.gaussians([[0.0], [1.0]], "wide", 4, key))
message(lambda: data.sphere(3, 2, 0))
message(lambda: data.teacher(len, 3, key))
"""
ENABLE = (
    'ValueError gfsim needs float64, but JAX is set to float32: first call jax.config.update("jax_enable_x64", True)'
)
EXPECTED = [
    ENABLE,
    ENABLE,
    ENABLE,
    "TypeError network must be a network, an Equinox model of one input, was 3",
    "TypeError data must be a gf.Dataset, was list",
    "TypeError loss must be one of gf.losses, such as Logistic(), was <class 'gfsim.problems.losses.Square'>",
    "TypeError batch must be a positive integer, was 2.5",
    "TypeError fn must be a function of params, was 3",
    "TypeError theta must be a float64 array of shape (2,), was [1.0, 2.0]",
    "TypeError in_size must be a positive integer, was 2.5",
    "TypeError width must be a positive integer, was True",
    "TypeError activation must be callable, such as ReLUPower(2), was 'tanh'",
    "TypeError sizes must be a sequence of at least two positive integers, was 3",
    "TypeError activation must be callable, such as ReLUPower(2), was None",
    "TypeError sizes must be a sequence of at least two positive integers, was '31'",
    "TypeError key must be one random key, jax.random.key(seed), was 0",
    "TypeError key must be one random key, jax.random.key(seed), was key<fry>[2]",
    "TypeError p must be a positive integer, was 1.5",
    "TypeError slope must be a number between 0 and 1, was 'steep'",
    "TypeError classes must be a sequence of digits, such as (3, 5), was 3",
    "ValueError classes must be at least two different digits 0 … 9, was (3, '5')",
    "TypeError std must be a number ≥ 0, was 'wide'",
    "TypeError key must be one random key, jax.random.key(seed), was 0",
    "TypeError network must have an integer in_size, builtin_function_or_method had None",
]


def test_messages_where_the_type_checker_does_not_come_first(monkeypatch):
    for name in ("JAX_ENABLE_X64", "JAX_NUMPY_RANK_PROMOTION", "JAX_NUMPY_DTYPE_PROMOTION"):
        monkeypatch.delenv(name, raising=False)
    command = [sys.executable, "-X", "utf8", "-c", OUTSIDE_THE_TYPE_CHECKER]
    result = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=True)
    assert result.stdout.splitlines() == EXPECTED
