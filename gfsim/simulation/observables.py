"""Functions f(problem, θ) of the states that a run keeps, for `simulate(..., observe={name: f})`."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gfsim.problems.losses import CrossEntropy, Logistic
from gfsim.problems.problem import Problem
from gfsim.types import Scalar, Theta


def loss(problem: Problem, theta: Theta) -> Scalar:
    """L(θ)."""
    return problem.loss(theta)


def log_loss(problem: Problem, theta: Theta) -> Scalar:
    """log L(θ), from the log domain: it does not underflow."""
    return problem.log_loss(theta)


def norm(problem: Problem, theta: Theta) -> Scalar:
    """‖θ‖₂."""
    return jnp.linalg.norm(theta)


def gradient_norm(problem: Problem, theta: Theta) -> Scalar:
    """‖∇L(θ)‖₂."""
    return jnp.linalg.norm(problem.grad(theta))


def sharpness(problem: Problem, theta: Theta) -> Scalar:
    """λ_max of the Hessian, from the dense matrix: O(P²) memory, for P up to a few thousand."""
    return jnp.linalg.eigvalsh(problem.hessian(theta))[-1]


def margin(problem: Problem, theta: Theta) -> Scalar:
    """q_min = min_i y_i f(x_i), or the smallest f_{y_i} − max_{j≠y_i} f_j with K outputs."""
    return jnp.min(problem.margins(theta))


def normalised_margin(problem: Problem, theta: Theta) -> Scalar:
    """γ̄ = q_min/‖θ‖^L for a network homogeneous of degree L [Lyu & Li, arXiv 1906.05890]."""
    return margin(problem, theta) / norm(problem, theta) ** _degree(problem, "normalised_margin")


def smoothed_margin(problem: Problem, theta: Theta) -> Scalar:
    """γ̃ = log(1/L)/‖θ‖^L, with L the summed exponential loss [Lyu & Li, arXiv 1906.05890].

    For the logistic loss and cross-entropy log(1/L) is −log(e^L − 1), positive once L < ln 2. Mean losses are turned
    into sums first. Meant for losses of order one and below.
    """
    degree = _degree(problem, "smoothed_margin")
    value = problem.log_loss(theta) - jnp.log(problem.criterion.scale(problem.data.n))
    if isinstance(problem.criterion, (Logistic, CrossEntropy)):
        # log(e^L − 1) = log L + log((e^L − 1)/L); the second term is L/2 to first order and vanishes with L.
        summed = jnp.exp(jnp.minimum(value, 6.0))
        large = summed > 1e-8
        safe = jnp.where(large, summed, 1.0)
        value = value + jnp.where(large, jnp.log(jnp.expm1(safe) / safe), summed / 2)
    return -value / norm(problem, theta) ** degree


def correlation(problem: Problem, theta: Theta) -> Scalar:
    """The neural correlation function at the direction of θ, N(θ/‖θ‖)."""
    return problem.correlation(theta / norm(problem, theta))


def balancedness(problem: Problem, theta: Theta) -> Float[Array, " quantities"]:
    """The network's quantities that gradient flow of any loss conserves (‖w_j‖² − p a_j² per neuron, …).

    Raises ValueError for a network without such quantities.
    """
    value = problem.balancedness(theta)
    if value is None:
        raise ValueError("balancedness needs a network with conserved quantities; this problem's has none")
    return value


def weight_rank(problem: Problem, theta: Theta) -> Float[Array, " layers"]:
    """σ₂/σ₁ of every weight matrix with at least two rows and columns: 0 where a layer has rank one.

    Raises ValueError for a network without such a matrix.
    """
    matrices = [w for w in jax.tree.leaves(problem.network_at(theta)) if w.ndim == 2 and min(w.shape) > 1]
    if not matrices:
        raise ValueError("weight_rank needs a network with a weight matrix of at least 2×2; this problem's has none")

    def ratio(w: Float[Array, "rows columns"]) -> Scalar:
        singular = jnp.linalg.svd(w, compute_uv=False)
        return singular[1] / singular[0]

    return jnp.stack([ratio(w) for w in matrices])


def tangent_extremes(problem: Problem, theta: Theta) -> Float[Array, "2"]:
    """λ_min and λ_max of JJᵀ, J = ∂f/∂θ of all outputs on all samples, (nK, P); λ_min is 0 where nK > P.

    From the singular values of J, O(nK·P) memory. With `loss` and `gradient_norm` it is what
    `gf.verification.structure` needs.
    """
    jacobian = jax.jacrev(problem.outputs)(theta).reshape(-1, problem.size)
    squared = jnp.linalg.svd(jacobian, full_matrices=False, compute_uv=False) ** 2
    smallest = squared[-1] if jacobian.shape[0] <= problem.size else jnp.zeros(())
    return jnp.stack([smallest, squared[0]])


STRUCTURE = {"loss": loss, "gradient_norm": gradient_norm, "tangent_extremes": tangent_extremes}
"""What `gf.verification.structure` needs, for `simulate(..., observe=STRUCTURE)`."""


def _degree(problem: Problem, who: str) -> int:
    if problem.degree is None:
        raise ValueError(f"{who} needs a homogeneous network, problem.degree was None")
    return problem.degree
