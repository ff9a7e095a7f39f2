"""From a direction that a flow has reached to the KKT point of the max-margin problem nearby."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from gfsim.landscape.kkt import checked_exponents, constraint_gradients, constraints, feasible, kkt_residual
from gfsim.problems.problem import Problem
from gfsim.types import Array, HessianMatrix, Theta

# Bounds the memory of a Hessian to this many gradients at once.
_COLUMNS = 64
_NEWTON_STEPS, _ACTIVE_SETS = 60, 60
# A multiplier below this, in units of the largest, does not make a constraint active.
_SMALL = 1e-4


class MaxMarginPoint(NamedTuple):
    """A KKT point of min ½‖Mθ‖² subject to q_i(θ) ≥ 1, M as in `MarginKKT`, and what it is to second order.

    - `theta`: θ̃, at which q_min = 1; `margin`: ‖Mθ̃‖^{−1/λmax}, the normalised margin γ̄ = ‖θ̃‖^{−L} where homogeneous.
    - `multipliers`: λ_i ≥ 0, as in `MarginKKT`; `active`: the constraints with λ_i > 0.
    - `stationarity`: ‖Mθ̃ − Σ λ_i ∇q_i‖/‖Mθ̃‖; `infeasibility`: the largest |q_i − 1| of an active constraint, or
      1 − q_i of another.
    - `eigenvalues`: of M − Σ λ_i ∇²q_i on the tangent space of the active constraints, ascending.
    - `type`: "strict minimum" (all eigenvalues positive), "saddle" (one negative), "degenerate" (the least is zero to
      1e-8: not decided to second order, or one of a family of points).
    - `moved`: the angle between Mθ̃ and where it came from, in radians.
    - `refined`: whether stationarity and infeasibility are below the tolerance; where False this is no KKT point.
    """

    theta: Theta
    margin: float
    multipliers: Float[np.ndarray, "constraints"]
    active: Int[np.ndarray, "active"]
    stationarity: float
    infeasibility: float
    eigenvalues: Float[np.ndarray, "tangent"]
    type: str
    moved: float
    refined: bool


def max_margin_polish(
    problem: Problem, theta: Theta, exponents: Theta | None = None, tolerance: float = 1e-10
) -> MaxMarginPoint:
    """The KKT point of the max-margin problem near the direction of θ, by Newton's method with an active set.

    The multipliers of `kkt_residual` say which constraints begin as active. Newton's method solves
    Mθ = Σ λ_i ∇q_i(θ), q_i(θ) = 1 over them for (θ, λ); then the most violated constraint enters, or the most negative
    multiplier leaves, until there is neither. Steps are damped, so that one of a family of KKT points is reached where
    it is near. A kink of a ReLU of degree 1 at the point leaves `refined` False.

    Cost: dense matrices of size P + n, so P up to about a thousand.

    Raises ValueError as `kkt_residual` does, and for a tolerance that is not positive.

    Source: Lyu & Li, arXiv 1906.05890, Thm 4.4; Kunin et al., arXiv 2210.03820 for exponents.
    """
    if not tolerance > 0:
        raise ValueError(f"tolerance must be positive, was {tolerance}")
    multipliers = kkt_residual(problem, theta, exponents).multipliers
    own = checked_exponents(problem, exponents, "max_margin_polish")
    start = np.asarray(feasible(problem, theta, own))
    metric = (own == own.max()).astype(float)
    active = np.flatnonzero(multipliers > _SMALL * multipliers.max())
    x, lam = start, multipliers[active]
    for _ in range(_ACTIVE_SETS):
        x, lam = _newton(problem, x, lam, active, metric)
        q = np.asarray(constraints(problem, jnp.asarray(x)))
        inactive = np.setdiff1d(np.arange(q.size), active)
        if lam.size and lam.min() < 0:
            active, lam = np.delete(active, lam.argmin()), np.delete(lam, lam.argmin())
        elif inactive.size and q[inactive].min() < 1 - tolerance:
            active, lam = np.append(active, inactive[q[inactive].argmin()]), np.append(lam, 0.0)
        else:
            break
    return _described(problem, x, lam, active, metric, float(own.max()), start, tolerance)


def _newton(
    problem: Problem, x: np.ndarray, lam: np.ndarray, active: np.ndarray, metric: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(θ, λ) with Mθ = Σ λ_i ∇q_i and q_i = 1 over the active constraints, or the last finite iterate.

    In the unknowns θ/s and λ/s² with s = ‖Mθ‖ of the start, which data in other units leave as they are.
    """
    size, last = np.linalg.norm(metric * x), np.inf
    for _ in range(_NEWTON_STEPS):
        residual, jacobian = _residual(problem, x, lam, active, metric)
        residual, jacobian = residual / np.where(np.arange(residual.size) < x.size, size, 1.0), size * jacobian
        error = float(np.max(np.abs(residual)))
        # Rounding is reached where a small error no longer falls.
        if error == 0 or (error < 1e-12 and error >= last) or not np.isfinite(error):
            break
        last = error
        hessian = np.diag(metric) - np.asarray(_curvature(problem, *_put(x, _spread(problem, lam, active))))
        m = active.size
        system = np.block([[hessian, -jacobian.T], [-jacobian, np.zeros((m, m))]])
        right = np.concatenate([-residual[: x.size], residual[x.size :]])
        step = _damped_solve(system, right)
        if not np.all(np.isfinite(step)):
            break
        x, lam = x + size * step[: x.size], lam + size**2 * step[x.size :]
    return x, lam


def _damped_solve(system: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The Levenberg–Marquardt step with damping ‖residual‖, of quadratic convergence also where solutions are a family.

    Source: Yamashita & Fukushima, Computing Suppl. 15 (2001) 239–249.
    """
    values, vectors = np.linalg.eigh(system)
    damping = max(np.linalg.norm(right), 1e-12 * np.abs(values).max())
    return vectors @ (values / (values**2 + damping**2) * (vectors.T @ right))


def _residual(
    problem: Problem, x: np.ndarray, lam: np.ndarray, active: np.ndarray, metric: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mθ − Σ λ_i ∇q_i and q_i − 1 in one vector, and the gradients ∇q_i."""
    theta = jnp.asarray(x)
    jacobian = constraint_gradients(problem, theta, active)
    q = np.asarray(constraints(problem, theta))[active]
    return np.concatenate([metric * x - lam @ jacobian, q - 1.0]), jacobian


def _described(
    problem: Problem,
    x: np.ndarray,
    lam: np.ndarray,
    active: np.ndarray,
    metric: np.ndarray,
    largest_exponent: float,
    start: np.ndarray,
    tolerance: float,
) -> MaxMarginPoint:
    residual, jacobian = _residual(problem, x, lam, active, metric)
    q = np.asarray(constraints(problem, jnp.asarray(x)))
    size = float(np.linalg.norm(metric * x))
    stationarity = float(np.linalg.norm(residual[: x.size])) / size
    infeasibility = float(max(np.max(np.abs(q[active] - 1), initial=0.0), np.max(1 - q)))
    refined = bool(max(stationarity, infeasibility) <= tolerance and np.all(lam >= 0))
    eigenvalues, kind = np.full(0, np.nan), "not a KKT point"
    if refined:
        multipliers = _spread(problem, lam, active)
        hessian = np.diag(metric) - np.asarray(_curvature(problem, *_put(x, multipliers)))
        # The last rows of a full V span what is orthogonal to every active gradient.
        _, values, v = np.linalg.svd(jacobian, full_matrices=True)
        tangent = v[int(np.sum(values > 1e-10 * values[0])) :]
        eigenvalues = np.linalg.eigvalsh(tangent @ hessian @ tangent.T)
        least = eigenvalues[0] if eigenvalues.size else np.inf
        kind = "strict minimum" if least > 1e-8 else "saddle" if least < -1e-8 else "degenerate"
    # By the chord: an arc cosine resolves no angle below 1e-8.
    before = metric * start
    chord = np.linalg.norm(metric * x / size - before / np.linalg.norm(before))
    return MaxMarginPoint(
        theta=jnp.asarray(x),
        margin=size ** (-1.0 / largest_exponent),
        multipliers=_spread(problem, lam, active),
        active=active,
        stationarity=stationarity,
        infeasibility=infeasibility,
        eigenvalues=eigenvalues,
        type=kind,
        moved=float(2 * np.arcsin(min(chord / 2, 1.0))),
        refined=refined,
    )


def _spread(problem: Problem, lam: np.ndarray, active: np.ndarray) -> Float[np.ndarray, "constraints"]:
    """The multipliers of all constraints, zero where they are not active."""
    shape = eqx.filter_eval_shape(constraints, problem, problem.theta).shape
    multipliers = np.zeros(shape)
    multipliers[active] = lam
    return multipliers


def _put(*arrays: np.ndarray) -> tuple[Array, ...]:
    return tuple(jax.device_put(a) for a in arrays)


@eqx.filter_jit
def _curvature(problem: Problem, theta: Theta, multipliers: Float[Array, "constraints"]) -> HessianMatrix:
    """Σ λ_i ∇²q_i(θ)."""
    gradient = jax.grad(lambda th: jnp.vdot(multipliers, constraints(problem, th)))
    columns = jax.lax.map(lambda v: jax.jvp(gradient, (theta,), (v,))[1], jnp.eye(theta.size), batch_size=_COLUMNS)
    return 0.5 * (columns + columns.T)
