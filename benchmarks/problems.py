"""The flows that solvers are compared on: what is trained, from where, and for how long."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.datasets import load_diabetes

import gfsim as gf


class Flow(NamedTuple):
    """θ' = −∇L(θ) from `theta0` to `t1`."""

    problem: gf.Problem
    theta0: jax.Array
    t1: float


def regression(width: int, t1: float) -> Flow:
    """1-m-1 tanh with biases on sin 3x + 0.3 cos 9x at 20 points: flat valleys, stiff after the first moments."""
    network = gf.networks.FeedForward((1, width, 1), gf.networks.Tanh(), key=jax.random.key(0), bias=True)
    x = np.linspace(-1, 1, 20)
    problem = gf.Problem(network, gf.Dataset(x[:, None], np.sin(3 * x) + 0.3 * np.cos(9 * x)), gf.losses.Square())
    return Flow(problem, problem.theta, t1)


def deep_linear() -> Flow:
    """Three 10×10 layers from near the origin to a symmetric target of rank 3: saddle to saddle, not stiff."""
    random = np.random.default_rng(0)
    q, _ = np.linalg.qr(random.normal(size=(10, 10)))
    target = jnp.asarray((q[:, :3] * np.array([5, 3, 1.5])) @ q[:, :3].T)
    start = [jnp.asarray(0.05 * random.normal(size=(10, 10)) / np.sqrt(10)) for _ in range(3)]
    problem = gf.Problem.from_loss(lambda w: 0.5 * jnp.sum((w[2] @ w[1] @ w[0] - target) ** 2), start)
    return Flow(problem, problem.theta, 200.0)


def digits(t1: float) -> Flow:
    """Degree-2 two-layer network on the digits 3 and 5, logistic loss, from a small start: plateau, then escape."""
    network = gf.networks.TwoLayer(64, 20, gf.networks.ReLUPower(2), key=jax.random.key(0))
    problem = gf.Problem(network, gf.data.digits((3, 5)), gf.losses.Logistic())
    return Flow(problem, 0.1 * problem.theta / jnp.linalg.norm(problem.theta), t1)


def deep_digits(t1: float) -> Flow:
    """Three tanh layers on all ten digits, cross-entropy."""
    network = gf.networks.FeedForward((64, 16, 16, 10), gf.networks.Tanh(), key=jax.random.key(0), bias=True)
    problem = gf.Problem(network, gf.data.digits(tuple(range(10))), gf.losses.CrossEntropy())
    return Flow(problem, problem.theta, t1)


def diabetes(t1: float) -> Flow:
    """Three tanh layers on scikit-learn's diabetes data (442 × 10), square loss."""
    raw = load_diabetes()
    targets = (raw.target - raw.target.mean()) / raw.target.std()
    network = gf.networks.FeedForward((10, 12, 12, 1), gf.networks.Tanh(), key=jax.random.key(0), bias=True)
    problem = gf.Problem(network, gf.Dataset(raw.data * 442**0.5, targets), gf.losses.Square())
    return Flow(problem, problem.theta, t1)


FLOWS: dict[str, Callable[[], Flow]] = {
    "tanh regression, short": lambda: regression(50, 10.0),
    "tanh regression": lambda: regression(50, 1e4),
    "tanh regression, long": lambda: regression(50, 1e6),
    "tanh regression, very long": lambda: regression(50, 1e8),
    "wide tanh regression": lambda: regression(300, 1e3),
    "very wide tanh regression": lambda: regression(33_000, 1.0),
    "deep linear": deep_linear,
    "digits 3/5, degree 2": lambda: digits(1e3),
    "digits, deep": lambda: deep_digits(100.0),
    "diabetes, deep": lambda: diabetes(1e3),
}
