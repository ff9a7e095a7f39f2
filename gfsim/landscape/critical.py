"""Critical points: found to rounding, their inertia, and which kind they are."""

import contextlib
from enum import StrEnum
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from gfsim.landscape.roots import zero_near
from gfsim.problems.problem import Problem, checked_theta
from gfsim.types import Array, Scalar, Theta

# Of max|λ|: where rounding leaves the zero eigenvalues of a polished point, and where the cut goes if that is empty.
_NOISE, _CUT = (2e-15, 2e-13), 2e-14
# Of max|λ|: eigenvalues below this may come from the distance that is left to a degenerate point. A simple zero of the
# gradient leaves a small share of them to it; a double one half, a triple one two thirds.
_DOUBTFUL, _SHARE = 1e-4, 0.25
# The radii at which a degenerate point is tested for descent, the directions tried, and the steps of each.
_RADII, _DIRECTIONS, _STEPS = (1e-1, 1e-2, 1e-3), 64, 200


class Inertia(NamedTuple):
    """How many eigenvalues of a Hessian are positive, negative and zero."""

    plus: int
    minus: int
    zero: int


class Kind(StrEnum):
    """What a critical point is, as far as its Hessian and the search for descent below it tell."""

    minimum = "minimum"
    degenerate_minimum = "degenerate minimum"
    strict_saddle = "strict saddle"
    non_strict_saddle = "non-strict saddle"


class CriticalPoint(NamedTuple):
    """A point θ with ∇𝓛(θ) = 0.

    - `theta`: shape (P,); `loss`: 𝓛(θ); `gradient_norm`: ‖∇𝓛(θ)‖; `moved`: its distance from the point polished.
    - `eigenvalues`: of ∇²𝓛(θ), ascending, shape (P,); `inertia`: their signs, counted as `inertia` says. One along
      whose eigenvector v the distance (v·∇𝓛)/λ that is left to the zero of ∇𝓛 changes λ by a quarter of itself or more
      counts as zero: to such a point, as 0 of x³ and x⁴, a search comes to within a power of rounding only.
    """

    theta: Theta
    loss: float
    gradient_norm: float
    moved: float
    eigenvalues: Float[np.ndarray, "P"]
    inertia: Inertia


def polish(problem: Problem, theta: Theta, tolerance: float = 1e-12, reach: float = 0.1) -> CriticalPoint:
    """The critical point next to θ, isolated or not.

    Levenberg and Marquardt's method on ∇𝓛 = 0, and then Newton steps of least norm, until the gradient is rounding.

    Cost: dense matrices of size P, so P up to a few thousand.

    Raises ValueError where no point with ‖∇𝓛‖ ≤ `tolerance`·max(1, max|λ|·‖θ‖) is found within `reach`·(1 + ‖θ‖), and
    for a tolerance or reach that is not positive; TypeError for a θ that is no float64 array of shape (P,).
    """
    for name, value in (("tolerance", tolerance), ("reach", reach)):
        if not value > 0:
            raise ValueError(f"{name} must be positive, was {value}")
    theta = checked_theta(problem, theta)
    found, size = _solve(problem, theta)
    return _described(problem, theta, found, float(size), tolerance, reach)


def critical_points(
    problem: Problem, starts: Float[Array, "starts P"], tolerance: float = 1e-12, reach: float = 0.1
) -> list[CriticalPoint]:
    """`polish` from many starts (rows, in R^P) at once, without those from which no critical point is found.

    `tolerance` and `reach` are those of `polish`. The points come in the order of their starts, repetitions included.
    """
    found = []
    for start, end, size in zip(starts, *_solve_all(problem, starts), strict=True):
        with contextlib.suppress(ValueError):
            found.append(_described(problem, start, end, float(size), tolerance, reach))
    return found


def _described(
    problem: Problem, theta: Theta, found: Theta, size: float, tolerance: float, reach: float
) -> CriticalPoint:
    moved = float(jnp.linalg.norm(found - theta))
    eigenvalues, vectors = np.linalg.eigh(np.asarray(problem.hessian(found)))
    scale = max(1.0, float(np.max(np.abs(eigenvalues))) * float(jnp.linalg.norm(found)))
    if not (size <= tolerance * scale and moved <= reach * (1 + float(jnp.linalg.norm(theta)))):
        raise ValueError(
            f"theta must lie near a critical point, had ‖∇L‖ = {float(jnp.linalg.norm(problem.grad(theta))):.3g}, "
            f"and the search ended at a distance of {moved:.3g} with ‖∇L‖ = {size:.3g}"
        )
    counted = count_signs(np.where(_resolved(problem, found, eigenvalues, vectors), eigenvalues, 0.0))
    return CriticalPoint(found, float(problem.loss(found)), size, moved, eigenvalues, counted)


def _resolved(
    problem: Problem, theta: Theta, eigenvalues: Float[np.ndarray, "P"], vectors: Float[np.ndarray, "P P"]
) -> np.ndarray:
    """Which eigenvalues are those of the critical point and not of the distance to it."""
    resolved = np.ones(eigenvalues.shape, bool)
    left = vectors.T @ np.asarray(problem.grad(theta))
    for k in np.flatnonzero(np.abs(eigenvalues) < _DOUBTFUL * np.max(np.abs(eigenvalues))):
        change = float(_third(problem, theta, jnp.asarray(vectors[:, k]))) * left[k]
        resolved[k] = np.abs(change) < _SHARE * eigenvalues[k] ** 2
    return resolved


def inertia(problem: Problem, theta: Theta, tolerance: float = 1e-9) -> Inertia:
    """(n₊, n₋, n₀) of ∇²𝓛 at a critical point θ, from the dense matrix.

    An eigenvalue counts as zero below a cut in the widest gap that the |λ| leave between 2e-15 and 2e-13 of max|λ|,
    where rounding puts the zeros of a polished point; genuine eigenvalues get as small as 1e-12 of max|λ|.

    Raises ValueError where ‖∇𝓛(θ)‖ > `tolerance`·max(1, max|λ|·‖θ‖): away from critical points a Hessian has no
    exact zeros to be counted.
    """
    eigenvalues = np.linalg.eigvalsh(np.asarray(problem.hessian(theta)))
    size = float(jnp.linalg.norm(problem.grad(theta)))
    if not size <= tolerance * max(1.0, float(np.max(np.abs(eigenvalues))) * float(jnp.linalg.norm(theta))):
        raise ValueError(f"theta must be a critical point (gf.landscape.polish finds one), had ‖∇L‖ = {size:.3g}")
    return count_signs(eigenvalues)


def count_signs(eigenvalues: Float[np.ndarray, "k"]) -> Inertia:
    """(n₊, n₋, n₀) of given eigenvalues, by the rule of `inertia`."""
    sizes = np.abs(eigenvalues)
    # A matrix that is zero has no scale, and no sign.
    levels = sizes / (sizes.max() if sizes.max() > 0 else 1.0)
    low, high = _NOISE
    inside = np.sort(levels[(levels > low) & (levels < high)])
    cut = _CUT
    if inside.size:
        ladder = np.concatenate([[low], inside, [high]])
        widest = int(np.argmax(np.diff(np.log(ladder))))
        cut = float(np.sqrt(ladder[widest] * ladder[widest + 1]))
    counted = levels > cut
    return Inertia(
        int(np.sum(counted & (eigenvalues > 0))), int(np.sum(counted & (eigenvalues < 0))), int(np.sum(~counted))
    )


def classify(problem: Problem, point: CriticalPoint, seed: int = 0) -> Kind:
    """Which kind of critical point this is.

    With n₋ = 0 and n₀ > 0 the Hessian does not decide. Then, at the distances r = 0.1, 0.01 and 0.001 along null
    directions, F(c) = min_w 𝓛(θ + rNc + Qw) is lowered over ‖c‖ = 1 from 64 directions (N, Q: bases of the null space
    and of its complement, w by Newton's method). The point is a non-strict saddle where F falls below 𝓛(θ) by more than
    rounding at every r, and at 0.001 by less than a hundredth of what it does at 0.01: descent of order 3, or 4 with a
    coefficient above 0.01. Otherwise it is reported as a minimum, which is then what was found and not proven.
    """
    if point.inertia.minus:
        return Kind.strict_saddle
    if not point.inertia.zero:
        return Kind.minimum
    values, columns = np.linalg.eigh(np.asarray(problem.hessian(point.theta)))
    # Those that were counted as zero come first.
    order = np.argsort(np.abs(np.where(_resolved(problem, point.theta, values, columns), values, 0.0)))
    null, rest = (jnp.asarray(columns[:, order[cut]]) for cut in np.split(np.arange(order.size), [point.inertia.zero]))
    drawn = np.random.default_rng(seed).standard_normal((_DIRECTIONS, point.inertia.zero))
    drawn = jnp.asarray(drawn / np.linalg.norm(drawn, axis=1, keepdims=True))
    stiffness = jnp.asarray(point.eigenvalues[order[point.inertia.zero :]])
    falls = [-float(_descent(problem, point.theta, null, rest, stiffness, drawn, jnp.asarray(r))) for r in _RADII]
    noise = 100 * np.finfo(float).eps * max(abs(point.loss), np.finfo(float).tiny)
    # At a fit the outputs' rounding is more than that of the loss, and the fall that it leaves the same at every r.
    descends = min(falls) > noise and falls[1] > 100 * falls[2]
    return Kind.non_strict_saddle if descends else Kind.degenerate_minimum


@eqx.filter_jit
def _third(problem: Problem, theta: Theta, v: Theta) -> Scalar:
    """D³𝓛[v, v, v]."""
    return jax.jvp(lambda x: jnp.vdot(v, problem.hvp(x, v)), (theta,), (v,))[1]


@eqx.filter_jit
def _solve(problem: Problem, theta: Theta) -> tuple[Theta, Scalar]:
    return zero_near(problem.grad, theta)


@eqx.filter_jit
def _solve_all(problem: Problem, starts: Float[Array, "starts P"]) -> tuple[Array, Array]:
    return jax.lax.map(lambda theta: _solve(problem, theta), starts)


@eqx.filter_jit
def _descent(
    problem: Problem,
    theta: Theta,
    null: Float[Array, "P null"],
    rest: Float[Array, "P rest"],
    stiffness: Float[Array, "rest"],
    directions: Float[Array, "directions null"],
    radius: Scalar,
) -> Scalar:
    """min_c F(c) − 𝓛(θ), see `classify`."""

    def settle(c: Array) -> Theta:
        at = theta + radius * (null @ c)

        def correct(u: Theta, _: None) -> tuple[Theta, None]:
            return u - rest @ ((rest.T @ problem.grad(u)) / stiffness), None

        return jax.lax.scan(correct, at, None, length=8)[0]

    def lower(c: Array) -> Scalar:
        def step(c: Array, k: Scalar) -> tuple[Array, None]:
            slope = null.T @ problem.grad(settle(c))
            slope = slope - jnp.vdot(c, slope) * c
            norm = jnp.linalg.norm(slope)
            # Of decreasing length, because F has the scale of r³ or r⁴ and no curvature known beforehand.
            c = c - jnp.where(norm > 0, 0.3 / (1 + 0.1 * k) / jnp.where(norm > 0, norm, 1.0), 0.0) * slope
            return c / jnp.linalg.norm(c), None

        end = jax.lax.scan(step, c, jnp.arange(float(_STEPS)))[0]
        return jnp.minimum(problem.loss(settle(c)), problem.loss(settle(end)))

    return jnp.min(jax.lax.map(lower, directions, batch_size=_DIRECTIONS)) - problem.loss(theta)
