"""How fast the Hessian can change: bounds on the third derivatives of the loss, and on its jumps across kinks."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Float

from gfsim.problems.losses import Logistic, Square
from gfsim.problems.networks import ReLUPower, Softplus, Tanh, TwoLayer
from gfsim.problems.problem import Problem
from gfsim.types import Array, Scalar, Theta

# sup |σ''| of tanh; sup of the second derivative of the logistic function, which serves softplus and log(1 + e^{−q}).
_TANH_SECOND = 4 / (3 * math.sqrt(3))
_LOGISTIC_SECOND = 1 / (6 * math.sqrt(3))


def has_third_order_bound(problem: Problem) -> bool:
    """Whether `third_order_bound` knows the network (two-layer; tanh, softplus, ReLU or its square) and the loss."""
    network = problem.network_at(problem.theta)
    if not (isinstance(network, TwoLayer) and isinstance(problem.criterion, Square | Logistic)):
        return False
    sigma = network.activation
    return isinstance(sigma, Tanh | Softplus) or (isinstance(sigma, ReLUPower) and sigma.p <= 2)


def third_order_bound(problem: Problem, theta: Theta, radius: Scalar) -> Scalar:
    """An upper bound on ‖∇³L‖ over the ball of `radius` around θ: a Lipschitz constant of the Hessian between kinks.

    With G, B, C bounds of ‖∇f‖, ‖∇²f‖, ‖∇³f‖ at a sample: |ℓ'''|G³ + 3|ℓ''|GB + |ℓ'|C, summed over samples as the loss
    is. Infinite for a ReLU network of degree 1 with a kink w_j·x_i = 0 inside the ball, where the gradient itself
    jumps; for degree 2 the Hessian jumps there, by `hessian_jump_bound`.

    [derived] The neuron a σ(w·x), ‖x‖ = X: ‖∇f‖² ≤ Σ_j σ² + a²σ'²X²; ∇²f is a block per neuron of norm at most that of
    [[0, σ'X], [σ'X, aσ''X²]]; ∇³f[v, v, v] = 3α σ''z² + a σ'''z³ with z = ω·x, and α‖ω‖² ≤ 2/(3√3) on the unit sphere.
    """
    network: TwoLayer = problem.network_at(theta)
    length, margin, a = _sizes(problem, network, radius)
    activation: Any = network.activation
    _, first, second, third = _derivative_bounds(activation, margin + radius * length)
    g, slope = _gradient_and_slope(problem, theta, radius)
    half = a * second * length**2 / 2
    b = jnp.max(half + jnp.sqrt(half**2 + (first * length) ** 2), axis=1)
    c = jnp.max(2 / math.sqrt(3) * second * length**2 + a * third * length**3, axis=1)
    bend, twist = (1.0, 0.0) if isinstance(problem.criterion, Square) else (0.25, _LOGISTIC_SECOND)
    bound = problem.criterion.reduce(twist * g**3 + 3 * bend * g * b + slope * c)
    if isinstance(activation, ReLUPower) and activation.p == 1:
        bound = jnp.where(jnp.all(margin > radius * length), bound, jnp.inf)
    return bound


def hessian_jump_bound(problem: Problem, theta: Theta, radius: Scalar) -> Scalar:
    """An upper bound on the sum of ‖H₊ − H₋‖ over the kinks that a segment inside the ball can cross; 0 where smooth.

    [derived] For σ(z) = max(z, sz)² σ'' jumps by 2(1 − s²) at z = w_j·x_i = 0, where σ and σ' are continuous: H jumps
    by 2(1 − s²) ℓ'_i a_j x_i x_iᵀ, times 1/n for the mean, in the block of w_j alone. A segment meets a kink at most
    once.
    """
    network: TwoLayer = problem.network_at(theta)
    activation: Any = network.activation
    if not (isinstance(activation, ReLUPower) and activation.p == 2):
        return jnp.zeros(())
    length, margin, a = _sizes(problem, network, radius)
    _, slope = _gradient_and_slope(problem, theta, radius)
    reached = margin <= radius * length
    per_neuron = jnp.sum(jnp.where(reached, slope[:, None] * length**2 * a, 0.0), axis=0)
    return problem.criterion.scale(problem.data.n) * 2 * (1 - activation.slope**2) * jnp.max(per_neuron)


def _sizes(
    problem: Problem, network: TwoLayer, radius: Scalar
) -> tuple[Float[Array, "n 1"], Float[Array, "n width"], Float[Array, "1 width"]]:
    """‖x_i‖, |w_j·x_i|, and the largest |a_j| in the ball."""
    x = problem.data.inputs
    return jnp.linalg.norm(x, axis=1)[:, None], jnp.abs(x @ network.w.T), jnp.abs(network.a)[None, :] + radius


def _gradient_and_slope(problem: Problem, theta: Theta, radius: Scalar) -> tuple[Float[Array, "n"], Float[Array, "n"]]:
    """Bounds in the ball of ‖∇f‖ and |ℓ'| at every sample."""
    network: TwoLayer = problem.network_at(theta)
    length, margin, a = _sizes(problem, network, radius)
    activation: Any = network.activation
    value, first, *_ = _derivative_bounds(activation, margin + radius * length)
    g = jnp.sqrt(jnp.sum(value**2 + (a * first * length) ** 2, axis=1))
    if isinstance(problem.criterion, Square):
        return g, jnp.abs(problem.outputs(theta) - problem.data.targets) + g * radius
    return g, jnp.ones_like(g)


def third_order_estimate(problem: Problem, theta: Theta, *, starts: int = 3, iterations: int = 12) -> Scalar:
    """‖∇³L(θ)‖ from below: the largest ‖∇³L[v, v]‖ of a few power iterations v ← ∇³L[v, v]/‖·‖."""

    def image(v: Theta) -> Theta:
        return jax.jvp(lambda th: problem.hvp(th, v), (theta,), (v,))[1]

    def iterate(_: Array, v: Theta) -> Theta:
        moved = image(v)
        norm = jnp.linalg.norm(moved)
        return jnp.where(norm > 0, moved / jnp.where(norm > 0, norm, 1.0), v)

    def one(start: Theta) -> Scalar:
        return jnp.linalg.norm(image(jax.lax.fori_loop(0, iterations, iterate, start / jnp.linalg.norm(start))))

    i = jnp.arange(1.0, problem.size + 1)
    blocks = jnp.stack([jnp.cos(i**2 + k) for k in range(starts)])
    return jnp.max(jax.lax.map(one, blocks))


def _derivative_bounds(
    activation: Tanh | Softplus | ReLUPower, z: Float[Array, "n width"]
) -> tuple[Float[Array, "n width"], ...]:
    """Bounds of |σ|, |σ'|, |σ''|, |σ'''| on [−z, z], for a ReLU between its kinks."""
    one = jnp.ones_like(z)
    if isinstance(activation, Tanh):
        return jnp.tanh(z), one, _TANH_SECOND * one, 2 * one
    if isinstance(activation, Softplus):
        return jax.nn.softplus(z), one, one / 4, _LOGISTIC_SECOND * one
    if activation.p == 1:
        return z, one, 0 * one, 0 * one
    return z**2, 2 * z, 2 * one, 0 * one
