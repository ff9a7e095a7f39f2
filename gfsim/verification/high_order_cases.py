"""Problems on which the degree of a descent matters, and their closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy.integrate import solve_ivp

from gfsim.problems.data import Dataset
from gfsim.problems.losses import AbstractLoss, CrossEntropy, Square
from gfsim.problems.networks import FeedForward, Tanh
from gfsim.problems.problem import Problem


def power(r: float, start: list[float]) -> Problem:
    """(|x1|^r + 10|x2|^r)/r; problems of any r share their compilation."""
    return Problem.from_loss(jax.tree_util.Partial(_power, jnp.asarray(r)), jnp.array(start))


def _power(r: jax.Array, x: jax.Array) -> jax.Array:
    return jnp.sum(jnp.array([1.0, 10.0]) * jnp.abs(x) ** r) / r


def decay(x0: float, m: float, t: np.ndarray) -> np.ndarray:
    """x' = −x^m until it is extinct."""
    return x0 * np.exp(-t) if m == 1 else np.maximum(x0 ** (1 - m) - (1 - m) * t, 0) ** (1 / (1 - m))


def small_network(loss: AbstractLoss, outputs: int = 1, width: int = 8) -> Problem:
    """Four samples: the loss can be brought to zero, at a curvature that is not degenerate."""
    x = np.random.default_rng(0).normal(size=(4, 4))
    network = FeedForward((4, width, outputs), Tanh(), key=jax.random.key(0))
    labels = (x[:, 0] > 0).astype(float)
    classes = isinstance(loss, CrossEntropy)
    targets = labels if classes else np.sin(x[:, 0]) if outputs == 1 else np.stack([labels, 1 - labels], axis=1)
    return Problem(network, Dataset(x, targets), loss)


def weak_network() -> Problem:
    """The small network with the loss mean |f − y|^{3/2}/(3/2), whose gradient is no better than Hölder."""
    fitted = small_network(Square())
    loss = jax.tree_util.Partial(_three_halves, fitted.data)
    return Problem.from_loss(loss, fitted.network_at(fitted.theta))


def time_to_gradient(problem: Problem, least: float) -> float:
    """The time of θ' = −g/‖g‖^{1/2}, degree 3, to ‖g‖ = `least`, integrated as it stands by another solver."""
    gradient = jax.jit(lambda theta: problem.objective.grad(theta))

    def field(t: float, theta: np.ndarray) -> np.ndarray:
        g = np.asarray(gradient(jnp.asarray(theta)))
        return -g / np.linalg.norm(g) ** 0.5

    def rests(t: float, theta: np.ndarray) -> float:
        return float(np.linalg.norm(gradient(jnp.asarray(theta)))) - least

    rests.terminal = True  # pyright: ignore[reportFunctionMemberAccess]
    start = np.asarray(problem.theta)
    # Close to rest the rate grows without bound: an explicit method finds the end to no better than 1e-5.
    return float(solve_ivp(field, (0, 50), start, "LSODA", rtol=1e-12, atol=1e-14, events=rests).t[-1])


def _three_halves(data: Dataset, network) -> jax.Array:
    return jnp.mean(jnp.abs(jax.vmap(network)(data.inputs) - data.targets) ** 1.5) / 1.5
