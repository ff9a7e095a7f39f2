"""KKT points of the neural correlation function on the unit sphere."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import optimistix as optx
from jaxtyping import Float

from gfsim.problems.problem import Problem, checked_theta
from gfsim.types import Array, HessianMatrix, Scalar, Theta

# Bounds the memory of a Hessian to this many gradients at once.
_COLUMNS = 64
# Of the ascent, in units of the multiplier's inverse.
_STEP, _STEPS = 0.5, 500
# Stationarity, in units of the multiplier, that is rounding; and 1 − cos within which a point is the one nearby.
_ROUNDED, _BESIDE = 1e-14, 1e-4


class CorrelationPoint(NamedTuple):
    """A point û of the sphere and what N does there.

    - `direction`: û, shape (P,); `value`: N* = N(û); `multiplier`: λ = L·N*.
    - `stationarity`: ‖∇N(û) − λû‖, in the units of N.
    - `eigenvalues`: of P(∇²N − λI)P on the tangent space (P − 1 values, ascending), P = I − ûûᵀ; all negative at a
      strict local maximum.
    - `decay_rate`: κ = −(largest eigenvalue), at which the slowest direction error dies on the clock dσ = ρ^{L−2}dτ.
    - `moved`: 1 − cos between û and the direction that was refined.
    - `refined`: whether this is a KKT point, and the one nearby. Where it is False nothing else here is a KKT point's;
      eigenvalues and decay rate are NaN.
    """

    direction: Theta
    value: float
    multiplier: float
    stationarity: float
    eigenvalues: Float[np.ndarray, "tangent"]
    decay_rate: float
    moved: float
    refined: bool


def correlation_kkt(problem: Problem, theta: Theta, tolerance: float = 1e-10, reach: float = 0.1) -> CorrelationPoint:
    """The KKT point of max N(u) subject to ‖u‖ = 1 that lies uphill of the direction of θ.

    Where N > 0, half-unit steps of the ascent u' = ∇N(u)/(L N(u)) − u on the sphere come first, 500 of them. Newton's
    method then solves ∇N(u) = μu, ½(1 − ‖u‖²) = 0 for (u, μ) ∈ R^{P+1}; by Euler's identity μ = L·N(û) at a solution.
    Where the KKT points are not isolated (a network of degree 1, whose mass may be shared among equal neurons) the
    system is singular; steps of least norm then go to a point nearby, and what is stationary to rounding stays where it
    is. A dead neuron is no such case for activations of degree p ≥ 2: its block of the matrix is −μI.

    A point returned as refined is stationary to `tolerance`·max(1, |μ|), and Newton's method went no further to it than
    1 − cos = `reach`. At a kink of ∇N — a sample on the edge of a (leaky) ReLU of degree 1 — Newton's method cycles or
    leaves for a point far away, and the result has `refined=False`.

    Cost: dense matrices of size P + 1, so P up to a few thousand.

    Raises ValueError for a network that is not homogeneous of degree at least 2, a θ of zero norm or not finite, and
    a tolerance that is not positive; TypeError for a θ that is no float64 array of shape (P,).

    Source: the problem is Kumar & Haupt's, arXiv 2403.08121; the Hessian's use as a rate is derived from it.
    """
    theta = checked_theta(problem, theta)
    degree = _degree(problem, "correlation_kkt")
    start = _direction(theta)
    if not tolerance > 0:
        raise ValueError(f"tolerance must be positive, was {tolerance}")
    above = _ascend(problem, start, degree)
    u, stationarity, refined = _nearest(problem, above, degree, tolerance, reach)
    value = float(problem.correlation(u))
    eigenvalues = np.full(problem.size - 1, np.nan)
    if refined:
        eigenvalues = _tangent_eigenvalues(np.asarray(_hessian(problem, u)), np.asarray(u), degree * value)
    return CorrelationPoint(
        direction=u,
        value=value,
        multiplier=degree * value,
        stationarity=stationarity,
        eigenvalues=eigenvalues,
        decay_rate=-float(eigenvalues[-1]) if eigenvalues.size else np.inf,
        moved=float(0.5 * jnp.sum((u - start) ** 2)),
        refined=refined,
    )


def time_to_blow_up(problem: Problem, theta: Theta) -> Scalar:
    """ρ^{2−L}/(L(L−2)N(û)) with ρ = ‖θ‖, û = θ/ρ: the clock left to u' = ∇N(u) where û is a KKT point, L > 2.

    On a KKT ray ρ' = L N* ρ^{L−1}. Elsewhere it is the bound that holds while N(û) only grows.

    Raises ValueError for a degree of 2 or less, and where N(û) ≤ 0.
    """
    degree = _degree(problem, "time_to_blow_up", 3)
    value = problem.correlation(_direction(theta))
    if not value > 0:
        raise ValueError(f"theta must have a positive correlation N, was {value}")
    return jnp.linalg.norm(theta) ** (2 - degree) / (degree * (degree - 2) * value)


def layer_split(degree: int, layers: int) -> Float[np.ndarray, "layers"]:
    """‖W_l‖² at a positive KKT point of W_m σ(… σ(W_1 x)), σ of degree p: p^{m−l}/Σ_k p^k, l = 1 … m.

    [derived] Scaling layer l by c scales N by c^{p^{m−l}}, so ⟨W_l, ∂N/∂W_l⟩ = p^{m−l}N, and stationarity makes it
    L N*‖W_l‖².
    """
    powers = float(degree) ** np.arange(layers - 1, -1, -1)
    return powers / powers.sum()


@eqx.filter_jit
def _ascend(problem: Problem, start: Theta, degree: int) -> Theta:
    def step(u: Theta, _: None) -> tuple[Theta, None]:
        value, gradient = jax.value_and_grad(problem.correlation)(u)
        # Half a step: the fastest mode, a two-layer network's balance, decays at p multipliers.
        moved = u + _STEP * gradient / (degree * jnp.where(value > 0, value, 1.0))
        return jnp.where(value > 0, moved / jnp.linalg.norm(moved), u), None

    return jax.lax.scan(step, start, None, length=_STEPS)[0]


def _nearest(problem: Problem, above: Theta, degree: int, tolerance: float, reach: float) -> tuple[Theta, float, bool]:
    """The KKT point next to `above`, its stationarity, and whether it is one and within `reach`."""

    def judged(u: Theta, stationarity: Scalar) -> tuple[float, float]:
        """Stationarity in units of the multiplier, and 1 − cos to `above`."""
        size = max(1.0, degree * abs(float(problem.correlation(u))))
        return float(stationarity) / size, float(0.5 * jnp.sum((u - above) ** 2))

    tried = [(above, _stationarity(problem, above, degree))]
    found = [judged(*tried[0])]
    # Where the points are a family, the matrix is singular up to rounding: Newton's method then goes far along them,
    # and steps of least norm do not. Elsewhere those take as long as many others.
    for well_posed in (None, False):
        if found[-1][0] <= (_ROUNDED if len(found) == 1 else tolerance) and found[-1][1] <= _BESIDE:
            break
        tried.append(_refine(problem, above, degree, well_posed))
        found.append(judged(*tried[-1]))
    near = [k for k, (size, away) in enumerate(found) if size <= tolerance and away <= reach]
    # The nearest; but the start, where it is not stationary to rounding, only where there is no other.
    best = min(near, key=lambda k: (k == 0, found[k][1]), default=-1)
    u, stationarity = tried[best]
    return u, float(stationarity), bool(near)


@eqx.filter_jit
def _stationarity(problem: Problem, u: Theta, degree: int) -> Scalar:
    return jnp.linalg.norm(jax.grad(problem.correlation)(u) - degree * problem.correlation(u) * u)


@eqx.filter_jit
def _refine(problem: Problem, start: Theta, degree: int, well_posed: bool | None) -> tuple[Theta, Scalar]:
    gradient = jax.grad(problem.correlation)

    def residual(unknown: tuple[Theta, Scalar], _: None) -> tuple[Theta, Scalar]:
        u, multiplier = unknown
        return gradient(u) - multiplier * u, 0.5 * (1.0 - jnp.vdot(u, u))

    solver = optx.Newton(rtol=1e-13, atol=1e-13, linear_solver=lx.AutoLinearSolver(well_posed=well_posed))
    unknown = start, degree * problem.correlation(start)
    u, _ = optx.root_find(residual, solver, unknown, max_steps=30, throw=False).value
    u = u / jnp.linalg.norm(u)
    # A step that broke down leaves NaN, which must not pass for a small residual.
    stationarity = _stationarity(problem, u, degree)
    finite = jnp.isfinite(stationarity)
    return jnp.where(finite, u, start), jnp.where(finite, stationarity, jnp.inf)


@eqx.filter_jit
def _hessian(problem: Problem, u: Theta) -> HessianMatrix:
    def column(v: Theta) -> Theta:
        return jax.jvp(jax.grad(problem.correlation), (u,), (v,))[1]

    columns = jax.lax.map(column, jnp.eye(problem.size), batch_size=_COLUMNS)
    return 0.5 * (columns + columns.T)


def _tangent_eigenvalues(hessian: np.ndarray, u: np.ndarray, multiplier: float) -> Float[np.ndarray, "tangent"]:
    # A Householder reflection takes û to the first axis; the rest of the rotated matrix is the tangent block, without
    # the trivial eigenvalue that a projection would leave among the others.
    w = u.copy()
    w[0] += np.copysign(1.0, u[0])
    w /= np.linalg.norm(w)
    half = hessian - 2.0 * np.outer(w, w @ hessian)
    rotated = half - 2.0 * np.outer(half @ w, w)
    return np.linalg.eigvalsh(rotated[1:, 1:]) - multiplier


def _degree(problem: Problem, who: str, least: int = 2) -> int:
    degree = problem.degree
    if degree is None or degree < least:
        raise ValueError(f"{who} needs a network homogeneous of degree at least {least}, problem.degree was {degree}")
    return degree


def _direction(theta: Array) -> Theta:
    norm = float(jnp.linalg.norm(theta))
    if not (np.isfinite(norm) and norm > 0):
        raise ValueError(f"theta must have a positive, finite norm, was {norm}")
    return theta / norm
