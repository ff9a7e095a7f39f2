"""Moving along a branch of critical points."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from gfsim.landscape.critical import count_signs
from gfsim.problems.problem import Problem
from gfsim.types import Array, Theta

_CORRECTIONS = 12


def walk(problem: Problem, theta: Theta, direction: Theta, length: float, steps: int) -> Float[np.ndarray, "points P"]:
    """Points of the branch through the critical point θ, `length` apart, beginning with θ in the given direction.

    Each step goes along the projection of the last one on the null space of ∇²𝓛 and is then taken back to ∇𝓛 = 0 by
    Newton steps of least norm; where that fails, because the branch ends or its Hessian changes rank, the walk ends.

    Raises ValueError where θ is a critical point without null directions or `direction` has no part in them, and for a
    length or number of steps that is not positive.
    """
    if not (length > 0 and steps >= 1):
        raise ValueError(f"length, steps must be positive, were {length}, {steps}")
    points, heading = [np.asarray(theta)], np.asarray(direction, float)
    rank = problem.size - count_signs(np.linalg.eigvalsh(np.asarray(problem.hessian(theta)))).zero
    for _ in range(steps):
        tangent = np.asarray(_tangent(problem, jnp.asarray(points[-1]), rank) @ jnp.asarray(heading))
        if not np.linalg.norm(tangent) > 1e-6 * np.linalg.norm(heading):
            if len(points) > 1:
                break
            raise ValueError("direction must have a part along the branch (the null space of ∇²L), had none")
        heading = tangent / np.linalg.norm(tangent)
        end, size = _back(problem, jnp.asarray(points[-1] + length * heading), rank)
        moved = float(jnp.linalg.norm(end - points[-1]))
        if not (size <= 1e-10 * (1 + float(jnp.linalg.norm(end))) and 0.5 * length <= moved <= 2 * length):
            break
        points.append(np.asarray(end))
    return np.stack(points)


def sample(problem: Problem, theta: Theta, radius: float, count: int, seed: int = 0) -> Float[np.ndarray, "found P"]:
    """Random points of the branch through θ at distances of about `radius`: random tangents, taken back to ∇𝓛 = 0.

    Those that do not come back are left out.
    """
    rank = problem.size - count_signs(np.linalg.eigvalsh(np.asarray(problem.hessian(theta)))).zero
    drawn = jnp.asarray(np.random.default_rng(seed).standard_normal((count, problem.size)))
    tangents = drawn @ _tangent(problem, theta, rank)
    starts = theta[None] + radius * tangents / jnp.linalg.norm(tangents, axis=1, keepdims=True)
    ends, sizes = (np.asarray(x) for x in _all_back(problem, starts, rank))
    near = np.linalg.norm(ends - np.asarray(theta), axis=1) <= 2 * radius
    return ends[(sizes <= 1e-10 * (1 + np.linalg.norm(ends, axis=1))) & near]


def branch_dimension(problem: Problem, theta: Theta, radius: float = 1e-3, seed: int = 0) -> int:
    """The dimension of the branch through θ, from points of it and not from the Hessian's nullity.

    The number of singular values of 4P sampled displacements of length `radius` that are above the geometric mean of
    `radius`, which displacements along the branch have, and `radius`², which its curvature adds.
    """
    points = sample(problem, theta, radius, 4 * problem.size, seed)
    if not len(points):
        return 0
    singular = np.linalg.svd(points - np.asarray(theta), compute_uv=False) / np.sqrt(len(points))
    return int(np.sum(singular > radius**1.5))


@eqx.filter_jit
def _tangent(problem: Problem, theta: Theta, rank: int) -> Float[Array, "P P"]:
    """The projection on the P − rank eigenvectors of smallest |λ|."""
    values, columns = jnp.linalg.eigh(problem.hessian(theta))
    flat = columns[:, jnp.argsort(jnp.abs(values))[: problem.size - rank]]
    return flat @ flat.T


@eqx.filter_jit
def _back(problem: Problem, theta: Theta, rank: int) -> tuple[Theta, Array]:
    def step(u: Theta, _: None) -> tuple[Theta, None]:
        values, columns = jnp.linalg.eigh(problem.hessian(u))
        # The rank is that of the branch, whatever small eigenvalues the point beside it has.
        order = jnp.argsort(-jnp.abs(values))[:rank]
        steep = columns[:, order]
        return u - steep @ ((steep.T @ problem.grad(u)) / values[order]), None

    end = jax.lax.scan(step, theta, None, length=_CORRECTIONS)[0]
    return end, jnp.linalg.norm(problem.grad(end))


@eqx.filter_jit
def _all_back(problem: Problem, thetas: Float[Array, "count P"], rank: int) -> tuple[Array, Array]:
    return jax.lax.map(lambda theta: _back(problem, theta, rank), thetas, batch_size=64)
