"""KKT points of the max-margin problem: min ½‖θ‖² subject to q_i(θ) ≥ 1."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from gfsim.problems.networks.activations import ReLUPower
from gfsim.problems.problem import Problem, checked_theta
from gfsim.types import Array, Theta

# Bounds the memory of a Jacobian to this many gradients at once.
_ROWS = 64
# Constraints further out than this many times q_min cannot be active.
_NEAR = 2.0
# A preactivation this small, in units of ‖w‖‖h‖, sits on the kink.
_KINK = 1e-6


class MarginKKT(NamedTuple):
    """How far θ̃ = q_min^{−Λ}θ is from a KKT point of min ½‖Mθ‖² subject to q_i(θ) ≥ 1; both residuals are relative.

    M is the identity for a homogeneous network (Λ = I/L), else it keeps the parameters with the largest exponent.

    - `stationarity`: ‖Mθ̃ − Σ λ_i ∇q_i(θ̃)‖/‖Mθ̃‖.
    - `complementarity`: Σ λ_i (q_i(θ̃) − 1)/‖Mθ̃‖².
    - `multipliers`: λ_i ≥ 0 in the order of `constraints`, shape (n,), or (n(K−1),) for K classes.
    - `kinks`: pairs of a sample and a (leaky) ReLU unit whose preactivation is nil; the gradients there are one choice
      of many, and a stationarity that is not small proves nothing.
    """

    stationarity: float
    complementarity: float
    multipliers: Float[np.ndarray, "constraints"]
    kinks: int


def kkt_residual(problem: Problem, theta: Theta, exponents: Theta | None = None) -> MarginKKT:
    """The KKT residual of the max-margin problem at the direction of θ, for the multipliers that make it least.

    λ ≥ 0 minimises stationarity² + complementarity² by non-negative least squares over the constraints with
    q_i ≤ 2 q_min, so that no tolerance decides which constraints are active. With K classes the constraints are
    f_{y_i} − f_j ≥ 1 for every j ≠ y_i. `exponents` is the diagonal Λ of a quasi-homogeneous network
    (`gf.networks.exponents`), whose problem is min ½‖θ‖²_{Λmax}; without it the network must be homogeneous.

    Along a flow to infinity it falls like a power of 1/log(1/𝓛) only: what `max_margin_polish` reaches is a
    certificate, this is a measurement.

    Raises ValueError for a network that is not homogeneous, exponents that are negative or of another shape, a loss
    without classes, a θ that is zero or not finite, and one that does not separate the data; TypeError for a θ that is
    no float64 array of shape (P,).

    Source: Lyu & Li, arXiv 1906.05890, Thm 4.4; Kunin et al., arXiv 2210.03820 for exponents.
    """
    theta = checked_theta(problem, theta)
    own = checked_exponents(problem, exponents, "kkt_residual")
    theta = feasible(problem, theta, own)
    q = np.asarray(constraints(problem, theta))
    near = np.flatnonzero(q <= _NEAR * q.min())
    target = np.where(own == own.max(), theta, 0.0)
    size = float(np.linalg.norm(target))
    gradients = constraint_gradients(problem, theta, near)
    multipliers = np.zeros(q.size)
    multipliers[near] = _multipliers(gradients * size, q[near] - 1.0, target / size) * size**2
    pull = multipliers[near] @ gradients
    return MarginKKT(
        stationarity=float(np.linalg.norm(target - pull)) / size,
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


def constraint_gradients(
    problem: Problem, theta: Theta, which: Int[np.ndarray, "chosen"]
) -> Float[np.ndarray, "chosen P"]:
    """∇q_i at θ for the constraints `which`, a row each."""
    # Whole blocks: another number of constraints does not compile again.
    blocks = np.resize(which, -(-which.size // _ROWS) * _ROWS)
    return np.asarray(_gradients(problem, theta, jax.device_put(blocks)))[: which.size]


@eqx.filter_jit
def _gradients(problem: Problem, theta: Theta, which: Int[Array, "rows"]) -> Float[Array, "rows P"]:
    values, pullback = jax.vjp(lambda th: constraints(problem, th), theta)
    unit = lambda i: jnp.zeros_like(values).at[i].set(1.0)  # noqa: E731
    return jax.lax.map(lambda i: pullback(unit(i))[0], which, batch_size=_ROWS)


def feasible(problem: Problem, theta: Theta, exponents: Float[np.ndarray, "P"]) -> Theta:
    """q_min^{−Λ}θ, at which the smallest margin is one. Raises ValueError where θ does not separate the data."""
    norm = float(jnp.linalg.norm(theta))
    if not (np.isfinite(norm) and norm > 0):
        raise ValueError(f"theta must have a positive, finite norm, was {norm}")
    margin = float(jnp.min(problem.margins(theta)))
    if not margin > 0:
        raise ValueError(f"theta must separate the data, the smallest margin was {margin:.3g}")
    return jnp.asarray(margin**-exponents * np.asarray(theta))


def checked_exponents(problem: Problem, exponents: Theta | None, who: str) -> Float[np.ndarray, "P"]:
    """The diagonal of Λ, I/L where none is given. Raises ValueError where there is none or it is no Λ."""
    if exponents is None:
        if problem.degree is None or problem.degree < 1:
            raise ValueError(f"{who} needs a homogeneous network or exponents, problem.degree was {problem.degree}")
        return np.full(problem.size, 1.0 / problem.degree)
    given = np.asarray(exponents)
    if given.shape != (problem.size,) or not (np.all(given >= 0) and 0 < given.max() < np.inf):
        raise ValueError(f"exponents must be {problem.size} numbers ≥ 0, not all of them zero, was {given}")
    return given


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
    from scipy.optimize import nnls  # heavy

    matrix = np.vstack([gradients.T, slack])
    # As many rows as constraints hold the same problem.
    q, r = np.linalg.qr(matrix)
    return nnls(r, q.T @ np.append(target, 0.0), maxiter=30 * r.shape[1])[0]
