"""The oscillation that keeps a descent at the edge of stability: which directions, and how strongly."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gfsim.norms import inner
from gfsim.problems.problem import Problem
from gfsim.types import Theta

Block = Float[Array, "P k"]
Small = Float[Array, "k k"]
SmallMap = Float[Array, "kk kk"]

_MOST_ITERATIONS = 500
_RELATIVE_CHANGE = 1e-9
# Share of α up to which conditions may be violated at the end; and share of the largest third derivatives below which
# others are rounding.
_RESIDUAL, _ROUNDING = 1e-3, 1e-12


def generic_block(size: int, columns: int) -> Block:
    """Orthonormal columns that are aligned with nothing."""
    i, j = jnp.arange(1.0, size + 1)[:, None], jnp.arange(1.0, columns + 1)[None, :]
    return jnp.linalg.qr(jnp.cos(jnp.outer(i[:, 0] ** 2, jnp.sqrt(j[0] + 1))))[0]


def refined(product: Callable[[Block], Block], block: Block) -> tuple[Block, Float[Array, "k"]]:
    """The best approximation of the top eigenvectors, and their eigenvalues, in the span of `block` and its image.

    One step of the block Lanczos method; `product` applies a symmetric matrix to columns.
    """
    k = block.shape[1]
    image = product(block)
    basis, triangle = jnp.linalg.qr(jnp.concatenate([block, image], axis=1))
    # The first columns are those of the block, up to their signs: their image is known.
    known = image * jnp.sign(jnp.diagonal(triangle)[:k])[None, :]
    small = basis.T @ jnp.concatenate([known, product(basis[:, k:])], axis=1)
    eigenvalues, vectors = jnp.linalg.eigh(0.5 * (small + small.T))
    return basis @ vectors[:, ::-1][:, :k], eigenvalues[::-1][:k]


def third_derivatives(problem: Problem, theta: Theta, directions: Block) -> Float[Array, "kk P"]:
    """∇³L(θ)[u_i, u_j] = ∇⟨u_i, H u_j⟩ for all pairs of columns, row by row."""
    k = directions.shape[1]
    rows, columns = jnp.triu_indices(k)

    def one(pair: tuple[Theta, Theta]) -> Theta:
        u, v = pair
        return jax.jvp(lambda th: problem.hvp(th, u), (theta,), (v,))[1]

    # A few at a time is the fastest on a CPU.
    pairs = jax.lax.map(one, (directions.T[rows], directions.T[columns]), batch_size=3)
    place = jnp.zeros((k, k), int).at[rows, columns].set(jnp.arange(rows.size))
    return pairs[jnp.maximum(place, place.T).ravel()]


def complementary(alpha: Small, beta: SmallMap, start: Small) -> Small:
    """X ⪰ 0 with α + β[X] ⪰ 0 and ⟨X, α + β[X]⟩ = 0, as the minimiser of ½β[X, X] + ⟨α, X⟩ over X ⪰ 0.

    `beta`, symmetric and positive semidefinite, acts on X.ravel(). Accelerated projected gradient with restarts from
    `start`, after the congruence X = DYD that leaves no entry of β above one; zero in directions on which β does not
    act, and NaN where the iteration does not get there.
    """
    k = alpha.shape[0]
    # Of a direction not its own entry alone: with others it may act where by itself it does not.
    largest = jnp.max(jnp.diagonal(beta).reshape(k, k), axis=1)
    acts = largest > _ROUNDING**2 * jnp.max(largest)
    scale = jnp.where(acts, jnp.where(acts, largest, 1.0) ** -0.25, 0.0)
    both = jnp.outer(scale, scale)
    alpha, beta = both * alpha, jnp.outer(both.ravel(), both.ravel()) * beta
    start = jnp.where(both > 0, start / jnp.where(both > 0, both, 1.0), 0.0)
    step = 1 / jnp.maximum(jnp.linalg.norm(beta), jnp.finfo(float).tiny)

    def slope(y: Small) -> Small:
        return alpha + (beta @ y.ravel()).reshape(k, k)

    def unfinished(carry: tuple) -> Array:
        y, _, _, change, count = carry
        return (change > _RELATIVE_CHANGE * jnp.linalg.norm(y)) & (count < _MOST_ITERATIONS)

    def iterate(carry: tuple) -> tuple:
        y, ahead, momentum, _, count = carry
        new = _projected(ahead - step * slope(ahead))
        # Momentum that points uphill is dropped.
        momentum = jnp.where(inner(ahead - new, new - y) > 0, 1.0, momentum)
        following = (1 + jnp.sqrt(1 + 4 * momentum**2)) / 2
        ahead = new + (momentum - 1) / following * (new - y)
        return new, ahead, following, jnp.linalg.norm(new - y), count + 1

    start = _projected(start)
    first = (start, start, jnp.ones(()), jnp.full((), jnp.inf), jnp.zeros((), int))
    y = jax.lax.while_loop(unfinished, iterate, first)[0]
    # Moved by a length of one, and not by the shorter steps that converge.
    violation = jnp.linalg.norm(y - _projected(y - slope(y)))
    return jnp.where(violation <= _RESIDUAL * jnp.linalg.norm(alpha), both * y, jnp.nan)


def _projected(x: Small) -> Small:
    """The nearest positive semidefinite matrix."""
    if x.shape == (1, 1):
        return jnp.maximum(x, 0.0)
    eigenvalues, vectors = jnp.linalg.eigh(0.5 * (x + x.T))
    return (vectors * jnp.maximum(eigenvalues, 0.0)[None, :]) @ vectors.T
