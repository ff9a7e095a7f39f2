"""KKT points of the max-margin problem: min ½‖θ‖² subject to q_i(θ) ≥ 1."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import nnls

from gfsim.problems.networks.activations import ReLUPower
from gfsim.problems.problem import Problem
from gfsim.types import Array, Theta

# Bounds the memory of a Jacobian to this many gradients at once.
_ROWS = 64
# Constraints further out than this many times q_min cannot be active.
_NEAR = 2.0
# A preactivation this small, in units of ‖w‖‖h‖, sits on the kink.
_KINK = 1e-6


class MarginKKT(NamedTuple):
    """How far θ̃ = θ/q_min^{1/L} is from a KKT point of min ½‖θ‖² subject to q_i(θ) ≥ 1; both residuals are relative.

    - `stationarity`: ‖θ̃ − Σ λ_i ∇q_i(θ̃)‖/‖θ̃‖.
    - `complementarity`: Σ λ_i (q_i(θ̃) − 1)/‖θ̃‖².
    - `multipliers`: λ_i ≥ 0 in the order of `constraints`, shape (n,), or (n(K−1),) for K classes.
    - `kinks`: pairs of a sample and a (leaky) ReLU unit whose preactivation is nil; the gradients there are one choice
      of many, and a stationarity that is not small proves nothing.
    """

    stationarity: float
    complementarity: float
    multipliers: Float[np.ndarray, "constraints"]
    kinks: int


def kkt_residual(problem: Problem, theta: Theta) -> MarginKKT:
    """The KKT residual of the max-margin problem at the direction of θ, for the multipliers that make it least.

    λ ≥ 0 minimises stationarity² + complementarity² by non-negative least squares over the constraints with
    q_i ≤ 2 q_min, so that no tolerance decides which constraints are active. With K classes the constraints are
    f_{y_i} − f_j ≥ 1 for every j ≠ y_i.

    Along a flow to infinity it falls like a power of 1/log(1/𝓛) only: what `max_margin_polish` reaches is a
    certificate, this is a measurement.

    Raises ValueError for a network that is not homogeneous, a loss without classes, a θ that is zero or not finite,
    and one that does not separate the data.

    Source: the problem is that of Lyu & Li, arXiv 1906.05890, Thm 4.4.
    """
    degree = _degree(problem, "kkt_residual")
    theta = feasible(problem, theta, degree)
    q = np.asarray(constraints(problem, theta))
    near = np.flatnonzero(q <= _NEAR * q.min())
    size = float(jnp.linalg.norm(theta))
    gradients = np.asarray(constraint_gradients(problem, theta, jax.device_put(near)))
    multipliers = np.zeros(q.size)
    multipliers[near] = _multipliers(gradients * size, q[near] - 1.0, np.asarray(theta) / size) * size**2
    pull = multipliers[near] @ gradients
    return MarginKKT(
        stationarity=float(np.linalg.norm(np.asarray(theta) - pull)) / size,
        complementarity=float(multipliers[near] @ (q[near] - 1.0)) / size**2,
        multipliers=multipliers,
        kinks=kinks(problem, theta),
    )


@eqx.filter_jit
def constraints(problem: Problem, theta: Theta) -> Float[Array, "constraints"]:
    """q_i = y_i f(x_i; θ), shape (n,); with K classes f_{y_i} − f_j over j ≠ y_i in ascending order, (n(K−1),)."""
    outputs = problem.outputs(theta)
    targets = problem.data.targets
    if outputs.ndim == 1:
        return problem.margins(theta)
    label = targets.astype(int)[:, None]
    others = jnp.arange(outputs.shape[1] - 1)[None, :]
    others = others + (others >= label).astype(int)
    taken = jnp.take_along_axis(outputs, others, axis=1)
    return (jnp.take_along_axis(outputs, label, axis=1) - taken).ravel()


@eqx.filter_jit
def constraint_gradients(problem: Problem, theta: Theta, which: Int[Array, "chosen"]) -> Float[Array, "chosen P"]:
    """∇q_i at θ for the constraints `which`, a row each."""
    values, pullback = jax.vjp(lambda th: constraints(problem, th), theta)
    unit = lambda i: jnp.zeros_like(values).at[i].set(1.0)  # noqa: E731
    return jax.lax.map(lambda i: pullback(unit(i))[0], which, batch_size=_ROWS)


def feasible(problem: Problem, theta: Theta, degree: int) -> Theta:
    """θ/q_min^{1/L}, at which the smallest margin is one. Raises ValueError where θ does not separate the data."""
    norm = float(jnp.linalg.norm(theta))
    if not (np.isfinite(norm) and norm > 0):
        raise ValueError(f"theta: must have a positive, finite norm, was {norm}")
    # First the direction: θ^L may overflow where the margin of the direction does not.
    theta = theta / norm
    margin = float(jnp.min(problem.margins(theta)))
    if not margin > 0:
        raise ValueError(f"theta: must separate the data, the smallest margin q_min/‖θ‖^L was {margin:.3g}")
    return theta / margin ** (1.0 / degree)


@eqx.filter_jit
def _kinks(problem: Problem, theta: Theta) -> Array:
    network = problem.network_at(theta)
    activation = network.activation

    def count(x: Array) -> Array:
        total = jnp.zeros((), int)

        def watched(z: Array) -> Array:
            nonlocal total
            size = jnp.linalg.norm(z) / np.sqrt(z.size)
            total = total + jnp.sum(jnp.abs(z) <= _KINK * size)
            return activation(z)

        eqx.tree_at(lambda n: n.activation, network, watched)(x)
        return total

    return jnp.sum(jax.vmap(count)(problem.data.inputs))


def kinks(problem: Problem, theta: Theta) -> int:
    """Pairs of a sample and a ReLU unit of degree 1 with |preactivation| ≤ 1e-6 of its layer's root mean square."""
    activation = getattr(problem.network_at(theta), "activation", None)
    if not (isinstance(activation, ReLUPower) and activation.p == 1 and activation.slope < 1):
        return 0
    return int(_kinks(problem, theta))


def _multipliers(
    gradients: Float[np.ndarray, "chosen P"], slack: Float[np.ndarray, "chosen"], target: Float[np.ndarray, "P"]
) -> Float[np.ndarray, "chosen"]:
    """λ ≥ 0 that minimises ‖target − Σ λ_i gradients_i‖² + (Σ λ_i slack_i)²."""
    matrix = np.vstack([gradients.T, slack])
    # As many rows as constraints hold the same problem.
    q, r = np.linalg.qr(matrix)
    return nnls(r, q.T @ np.append(target, 0.0), maxiter=30 * r.shape[1])[0]


def _degree(problem: Problem, who: str) -> int:
    if problem.degree is None or problem.degree < 1:
        raise ValueError(f"{who} needs a homogeneous network, problem.degree was {problem.degree}")
    return problem.degree
