"""Eigenvalues of the Hessian without forming it."""

import jax
import jax.numpy as jnp
from jaxtyping import Float

from gfsim.problems.problem import Problem
from gfsim.types import Array, Scalar, Theta

_SUBSPACE = 32


def largest_eigenvalue(problem: Problem, theta: Theta) -> Scalar:
    """λ_max(∇²𝓛(θ)) from below: the largest Ritz value of 32 Lanczos steps, fully reorthogonalised.

    An f(problem, θ) for `simulate(..., observe=…)`, with 32 Hessian products a call and memory 32·P where
    `gf.observables.sharpness` forms the matrix. It starts from the same generic vector at every θ. Exact to rounding
    where P ≤ 32 and the spectrum is simple; otherwise the error falls with the gap below λ_max.
    """
    size = problem.size
    steps = min(_SUBSPACE, size)
    # Fixed, and with no symmetry that a network could share.
    start = jnp.cos(jnp.arange(1.0, size + 1.0) ** 2)

    def step(carry: tuple[Array, Array], k: Array) -> tuple[tuple[Array, Array], Array]:
        basis, v = carry
        basis = basis.at[k].set(v)
        image = problem.hvp(theta, v)
        # Twice is enough: one pass loses orthogonality to cancellation.
        rest = _orthogonal(_orthogonal(image, basis), basis)
        norm = jnp.linalg.norm(rest)
        small = norm <= 1e-12 * jnp.linalg.norm(image)
        return (basis, jnp.where(small, 0.0, rest / jnp.where(small, 1.0, norm))), image

    carry = jnp.zeros((steps, size)), start / jnp.linalg.norm(start)
    (basis, _), images = jax.lax.scan(step, carry, jnp.arange(steps))
    ritz = basis @ images.T
    # Rows left zero by an exhausted iteration would add false eigenvalues 0; they go below all others.
    unused = jnp.sum(basis**2, axis=1) < 0.5
    floor = jnp.where(unused, -1.0 - jnp.sum(jnp.abs(ritz)), 0.0)
    return jnp.linalg.eigvalsh(0.5 * (ritz + ritz.T) + jnp.diag(floor))[-1]


def _orthogonal(v: Array, basis: Float[Array, "steps P"]) -> Array:
    return v - (basis @ v) @ basis
