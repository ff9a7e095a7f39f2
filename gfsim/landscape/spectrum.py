"""Eigenvalues of the Hessian: from the dense matrix where it is small, without forming it where it is not."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from matfree import decomp

from gfsim.checks import finite_array, positive_integer
from gfsim.placement import on_host
from gfsim.problems.problem import Problem
from gfsim.types import Array, Scalar, Theta

_SUBSPACE = 32
# Up to this many parameters the dense matrix is formed.
DENSE = 3000
# Of the residual in units of the largest |λ|, and of the Krylov space.
_CONVERGED, _LARGEST_SUBSPACE = 1e-9, 1024
# Of an off-diagonal entry, in units of the largest entry.
_EXHAUSTED = 1e-12


class Spectrum(NamedTuple):
    """Eigenvalues λ of ∇²𝓛(θ) in ascending order, eigenvectors v as rows, and residuals ‖∇²𝓛(θ)v − λv‖.

    An eigenvalue lies within its residual of a true one. `converged`: all residuals are at most 1e-9·max|λ|.
    """

    values: Float[np.ndarray, "k"]
    vectors: Float[np.ndarray, "k P"]
    residuals: Float[np.ndarray, "k"]
    converged: bool


def spectrum(problem: Problem, theta: Theta, k: int | None = None) -> Spectrum:
    """The k lowest and the k highest eigenvalues of ∇²𝓛(θ) with eigenvectors; all of them where 2k ≥ P or k is None.

    Up to P = 3000 parameters from the dense matrix. Above, from fully reorthogonalised Lanczos iterations, whose Krylov
    space is doubled until the 2k residuals are at most 1e-9·max|λ| or it has dimension 1024. A Krylov space holds one
    vector of a multiple eigenvalue, which is therefore counted once; where it is exhausted there are fewer than 2k.

    Raises ValueError where all eigenvalues are asked for and P > 3000, for a k that is not a positive integer
    (or TypeError), and for a θ of another shape or not finite.
    """
    size = problem.size
    finite_array("theta", on_host(theta) if isinstance(theta, jax.Array) else theta, size)
    # As it is laid over devices, if it is.
    theta = jnp.asarray(theta, float)
    count = size if k is None else min(2 * positive_integer("k", k), size)
    if size <= DENSE:
        return _dense(problem, theta, count)
    if count > _LARGEST_SUBSPACE // 2:
        raise ValueError(f"k must be at most {_LARGEST_SUBSPACE // 4} for more than {DENSE} parameters, was {k}")
    largest = min(size, _LARGEST_SUBSPACE)
    steps = min(max(4 * count, 64), largest)
    while True:
        found = _lanczos(problem, theta, count, steps)
        if found.converged or steps == largest:
            return found
        steps = min(2 * steps, largest)


def largest_eigenvalue(problem: Problem, theta: Theta) -> Scalar:
    """λ_max(∇²𝓛(θ)) from below: the largest Ritz value of 32 Lanczos steps, fully reorthogonalised.

    An f(problem, θ) for `simulate(..., observe=…)`, with 33 Hessian products a call and memory 32·P where
    `gf.observables.sharpness` forms the matrix. It starts from the same generic vector at every θ. Exact to rounding
    where P ≤ 32 and the spectrum is simple; otherwise the error falls with the gap below λ_max.
    """
    size = problem.size
    steps = min(_SUBSPACE, size)
    start = _generic(size)
    scale = _scale(problem, theta, start)

    def step(carry: tuple[Array, Array], k: Array) -> tuple[tuple[Array, Array], Array]:
        basis, v = carry
        basis = basis.at[k].set(v)
        image = problem.hvp(theta, v) / scale
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
    return scale * jnp.linalg.eigvalsh(0.5 * (ritz + ritz.T) + jnp.diag(floor))[-1]


def _scale(problem: Problem, theta: Theta, v: Theta) -> Scalar:
    """The largest entry of ∇²𝓛(θ)v, or one: squares of entries below 1e-154 would underflow."""
    scale = jnp.max(jnp.abs(problem.hvp(theta, v)))
    return jnp.where(scale > 0, scale, 1.0)


def _generic(size: int) -> Theta:
    # Fixed, and with no symmetry that a network could share.
    return jnp.cos(jnp.arange(1.0, size + 1.0) ** 2)


def _orthogonal(v: Array, basis: Float[Array, "steps P"]) -> Array:
    return v - (basis @ v) @ basis


def _dense(problem: Problem, theta: Theta, count: int) -> Spectrum:
    hessian = on_host(problem.hessian(theta))
    values, columns = np.linalg.eigh(hessian)
    kept = _ends(values.size, count)
    vectors = columns.T[kept]
    return _with_residuals(values[kept], vectors, vectors @ hessian)


def _lanczos(problem: Problem, theta: Theta, count: int, steps: int) -> Spectrum:
    basis, tridiagonal, scale = (on_host(x) for x in _krylov(problem, theta, steps))
    # Where the space is exhausted, what follows is rounding blown up to norm one, or NaN after an exact zero.
    largest = np.max(np.abs(tridiagonal), initial=0.0, where=np.isfinite(tridiagonal))
    exhausted = np.flatnonzero(~(np.abs(np.diag(tridiagonal, 1)) > _EXHAUSTED * largest))
    own = int(exhausted[0]) + 1 if exhausted.size else steps
    ritz, coordinates = np.linalg.eigh(tridiagonal[:own, :own])
    kept = _ends(own, min(count, own))
    vectors = coordinates[:, kept].T @ basis[:own]
    images = on_host(_images(problem, theta, jnp.asarray(vectors))) / scale
    found = _with_residuals(ritz[kept], vectors, images)
    return found._replace(values=scale * found.values, residuals=scale * found.residuals)


@eqx.filter_jit
def _krylov(problem: Problem, theta: Theta, steps: int) -> tuple[Array, Array, Scalar]:
    """An orthonormal basis as rows, the tridiagonal matrix of ∇²𝓛(θ)/s in it, and s."""
    start = _generic(problem.size)
    scale = _scale(problem, theta, start)
    # matfree mixes its own integers.
    with jax.numpy_dtype_promotion("standard"):
        decomposition = decomp.tridiag_sym(steps, reortho="full", custom_vjp=False)
        basis, tridiagonal, *_ = decomposition(lambda v: problem.hvp(theta, v) / scale, start)
    return jnp.asarray(basis), jnp.asarray(tridiagonal), scale


@eqx.filter_jit
def _images(problem: Problem, theta: Theta, vectors: Float[Array, "k P"]) -> Float[Array, "k P"]:
    return jax.lax.map(lambda v: problem.hvp(theta, v), vectors)


def _ends(size: int, count: int) -> np.ndarray:
    low = (count + 1) // 2
    return np.r_[0:low, size - (count - low) : size]


def _with_residuals(values: np.ndarray, vectors: np.ndarray, images: np.ndarray) -> Spectrum:
    residuals = np.linalg.norm(images - values[:, None] * vectors, axis=1)
    return Spectrum(values, vectors, residuals, bool(np.max(residuals) <= _CONVERGED * np.max(np.abs(values))))
