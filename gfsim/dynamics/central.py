"""Central flows: the path around which a descent oscillates at the edge of stability."""

import abc
from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from equinox import AbstractVar
from jax.core import Tracer
from jaxtyping import Array, Float, Int

from gfsim.checks import finite_array, positive_integer, real_number
from gfsim.dynamics.descent import AbstractDescent, positive_step
from gfsim.dynamics.oscillation import complementary, generic_block, refined, third_derivatives
from gfsim.problems.checks import float64_vector
from gfsim.problems.problem import Problem, checked_problem
from gfsim.types import Theta

Moment = Float[Array, "moments"]

# Steps of Runge–Kutta 4 per step of descent: at the edge, where the fastest mode decays as e^{−2s}, each errs by 2e-4.
_INNER = 4
_FIRST_ITERATIONS = 40
# Directions whose eigenvalue is predicted above this, where the edge is at 2, may come to oscillate within a substep.
_NEAR = 1.8


class CentralState(eqx.Module):
    """θ, the second moment ν (empty for gradient descent), and Σ = UXUᵀ by X and U = P^{−1/2}Z, Z orthonormal."""

    theta: Theta
    moment: Moment
    block: Float[Array, "P k"]
    weights: Float[Array, "k k"]
    eigenvalues: Float[Array, "k"]


class CentralPath(eqx.Module):
    """A central flow at every step: θ, the eigenvalues of Σ (largest first), of P⁻¹H, and the time-averaged loss."""

    theta: Float[Array, "steps P"]
    variances: Float[Array, "steps k"]
    eigenvalues: Float[Array, "steps k"]
    loss: Float[Array, "steps"]


class AbstractCentralFlow(AbstractDescent):
    """θ' = −P⁻¹(∇L + ½∇⟨H, Σ⟩) per step, with Σ ⪰ 0 on the kernel of 2P − H and 2P − H ⪰ 0 on the directions followed.

    A substep h has the top eigenvectors U of P⁻¹H (UᵀPU = I), warm-started from the last one, and A = 2UᵀPU − UᵀHU at
    the end of a flow without oscillation, α, to which Σ = UXUᵀ adds β[X] to first order in h. X solves
    0 ⪯ X ⟂ α + β[X] ⪰ 0, and the flow runs over h with that Σ held. Where α ⪰ 0 it is the flow of P⁻¹∇L itself.
    """

    directions: AbstractVar[int]
    substeps: AbstractVar[int]

    @abc.abstractmethod
    def metric(self, moment: Moment) -> Theta:
        """The diagonal of P."""

    @abc.abstractmethod
    def moment_rate(self, moment: Moment, gradient: Theta, noise: Theta) -> Moment:
        """ν' per step, where the oscillation adds `noise` = diag(HΣH) to the mean squared gradient."""

    def step(self, count: Int[Array, ""], state: CentralState) -> CentralState:
        return jax.lax.fori_loop(0, self.substeps, lambda _, s: self._substep(s, 1 / self.substeps), state)

    def parameters(self, state: CentralState) -> Theta:
        return state.theta

    def path(self, theta0: Theta, steps: int) -> CentralPath:
        """The flow over so many steps, with the oscillation that it predicts around each of its states.

        Raises TypeError for a start that is no float64 array of shape (P,), ValueError for one that is not finite, and
        either for steps that are no positive integer.
        """
        start = float64_vector("theta0", theta0, self.problem.size)
        if not isinstance(start, Tracer):
            finite_array("theta0", start)
        return self._path(start, positive_integer("steps", steps))

    @eqx.filter_jit
    def _path(self, theta0: Theta, steps: int) -> CentralPath:
        def advance(state: CentralState, count: Int[Array, ""]) -> tuple[CentralState, tuple[Array, ...]]:
            after = self.step(count, state)
            directions = after.block / jnp.sqrt(self.metric(state.moment))[:, None]
            # The eigenvalues of UXUᵀ are those of (UᵀU)X, made symmetric by a root of X.
            values, vectors = jnp.linalg.eigh(after.weights)
            half = vectors * jnp.sqrt(jnp.maximum(values, 0.0))[None, :]
            variances = jnp.linalg.eigvalsh(half.T @ (directions.T @ directions) @ half)[::-1]
            loss = self.problem.loss(state.theta) + jnp.trace(after.weights)
            return after, (state.theta, variances, after.eigenvalues, loss)

        return CentralPath(*jax.lax.scan(advance, self.init(theta0), jnp.arange(steps))[1])

    def _start(self, theta0: Theta, moment: Moment) -> CentralState:
        k = min(self.directions, theta0.size)
        product = self._product(theta0, self.metric(moment))
        first = generic_block(theta0.size, k), jnp.zeros(k)
        block, values = jax.lax.fori_loop(0, _FIRST_ITERATIONS, lambda _, b: refined(product, b[0]), first)
        return CentralState(theta0, moment, block, jnp.zeros((k, k)), values)

    def _product(self, theta: Theta, metric: Theta):
        root = jnp.sqrt(metric)[:, None]
        columns = jax.vmap(lambda v: self.problem.hvp(theta, v), in_axes=1, out_axes=1)
        return lambda block: columns(block / root) / root

    def _substep(self, state: CentralState, h: float) -> CentralState:
        theta, moment = state.theta, state.moment
        p = self.metric(moment)
        block, eigenvalues = refined(self._product(theta, p), state.block)
        u = block / jnp.sqrt(p)[:, None]
        rest = jnp.zeros_like(theta)
        free_theta, free_moment = self._carried(theta, moment, rest, rest, h)
        free_p = self.metric(free_moment)
        # 2UᵀPU − UᵀHU at the end of a flow without oscillation.
        end = block * jnp.sqrt(free_p / p)[:, None]
        curvature = end.T @ self._product(free_theta, free_p)(end)
        alpha = 2 * end.T @ end - 0.5 * (curvature + curvature.T)

        turn = block.T @ state.block
        guess = turn @ state.weights @ turn.T

        def at_edge(width: int) -> tuple[Theta, Moment, Array]:
            directions = u[:, :width]
            products = (directions[:, :, None] * directions[:, None, :]).reshape(theta.size, -1)
            third = third_derivatives(self.problem, theta, directions)
            beta = 0.5 * (third / p[None, :]) @ third.T
            # ν' is affine in the noise diag(HΣH), where HU = 2PU.
            gain = self.moment_rate(moment, rest, rest + 1.0) - self.moment_rate(moment, rest, rest)
            spread = jax.jvp(self.metric, (moment,), (gain,))[1]
            beta = beta + products.T @ ((8 * spread * p**2)[:, None] * products)
            weights = complementary(alpha[:width, :width], h * beta, guess[:width, :width])
            noise = 4 * p**2 * (products @ weights.ravel())
            moved = self._carried(theta, moment, 0.5 * weights.ravel() @ third, noise, h)
            return *moved, jnp.zeros_like(guess).at[:width, :width].set(weights)

        # One direction needs one third derivative, k need k(k + 1)/2: the others join as they come near.
        k = block.shape[1]
        near = jnp.sum(2 - jnp.diagonal(alpha) > _NEAR)
        branch = jnp.where(jnp.linalg.eigvalsh(alpha)[0] >= 0, 0, jnp.where(near > 1, 2, 1))
        free = lambda: (free_theta, free_moment, jnp.zeros_like(guess))  # noqa: E731
        theta, moment, weights = jax.lax.switch(branch, [free, lambda: at_edge(1), lambda: at_edge(k)])
        return CentralState(theta, moment, block, weights, eigenvalues)

    def _carried(self, theta: Theta, moment: Moment, force: Theta, noise: Theta, h: float):
        """θ and ν after h with the oscillation held, by Runge–Kutta 4."""

        def field(y: tuple) -> tuple:
            theta, moment = y
            gradient = self.problem.grad(theta)
            return -(gradient + force) / self.metric(moment), self.moment_rate(moment, gradient, noise)

        def moved(y: tuple, slope: tuple, length: float) -> tuple:
            return jax.tree.map(lambda a, b: a + length * b, y, slope)

        inner = -(-_INNER // self.substeps)
        dt = h / inner

        def step(_: Array, y: tuple) -> tuple:
            k1 = field(y)
            k2 = field(moved(y, k1, dt / 2))
            k3 = field(moved(y, k2, dt / 2))
            k4 = field(moved(y, k3, dt))
            return jax.tree.map(lambda x, a, b, c, d: x + dt / 6 * (a + 2 * b + 2 * c + d), y, k1, k2, k3, k4)

        return jax.lax.fori_loop(0, inner, step, (theta, moment))


@final
class CentralFlow(AbstractCentralFlow):
    """The central flow of gradient descent: θ' = −(∇L + ½∇⟨H, Σ⟩) on the clock t = kη, 0 ⪯ Σ ⟂ (2/η)I − H ⪰ 0.

    `simulate` takes it like a descent, whose iterates oscillate about it with covariance Σ. Below the edge, where
    λ_max < 2/η, it is gradient flow. `directions` is the number of top eigenvectors followed, at least as many as
    reach the edge; `substeps` is how often per step Σ is found anew, which errs to first order in the time between: on
    networks whose sharpness rises slowly, 2 and 8 differ by some 1e-4 of the path over hundreds of steps; on a diagonal
    network that starts past the edge, at 2.9/η, λ_max was still 23 % above it after 80 steps with 2, 2 % with 8, 0.1 %
    with 32.
    `path` gives Σ's eigenvalues and the predicted time-averaged loss L + tr(Σ)/η. Where no Σ is found, since in a
    direction at the edge third derivatives are too small beside the others to hold it, what follows is not finite.

    Raises ValueError or TypeError for a `step_size` that is not positive and finite, and for `directions` or
    `substeps` that are not positive integers.

    Source: Cohen et al., arXiv 2410.24206.
    """

    problem: Problem
    step_size: Float[Array, ""]
    directions: int = eqx.field(static=True)
    substeps: int = eqx.field(static=True)

    def __init__(self, problem: Problem, step_size: float, directions: int = 3, *, substeps: int = 2):
        self.problem = checked_problem(problem)
        self.step_size = positive_step(step_size)
        self.directions = positive_integer("directions", directions)
        self.substeps = positive_integer("substeps", substeps)

    def init(self, theta0: Theta) -> CentralState:
        return self._start(theta0, jnp.zeros(0))

    def metric(self, moment: Moment) -> Theta:
        return jnp.full(self.problem.size, 1 / self.step_size)

    def moment_rate(self, moment: Moment, gradient: Theta, noise: Theta) -> Moment:
        return moment


@final
class RMSPropCentralFlow(AbstractCentralFlow):
    """The central flow of RMSProp, ν ← βν + (1 − β)g², θ ← θ − ηg/(√ν + ε), from a given ν.

    θ' = −P⁻¹(∇L + ½∇⟨H, Σ⟩), ν' = (1 − β)/β·(g² + diag(HΣH) − ν) per step, P = diag(√ν + ε)/η, 0 ⪯ Σ ⟂ 2P − H ⪰ 0.
    `moment0` is ν at the start, `decay` is β; the rest is as in `CentralFlow`.

    Raises ValueError or TypeError as `CentralFlow`, for a decay outside (0, 1), an ε that is negative or infinite, and
    a ν that is not a positive, finite vector of the parameters' size.

    Source: Cohen et al., arXiv 2410.24206.
    """

    problem: Problem
    step_size: Float[Array, ""]
    moment0: Theta
    decay: float = eqx.field(static=True)
    epsilon: float = eqx.field(static=True)
    directions: int = eqx.field(static=True)
    substeps: int = eqx.field(static=True)

    def __init__(
        self,
        problem: Problem,
        step_size: float,
        moment0: Theta,
        *,
        decay: float = 0.99,
        epsilon: float = 1e-8,
        directions: int = 3,
        substeps: int = 2,
    ):
        checked_problem(problem)
        decay, epsilon = real_number("decay", decay), real_number("epsilon", epsilon)
        if not 0 < decay < 1:
            raise ValueError(f"decay must lie between 0 and 1, was {decay}")
        if not 0 <= epsilon < np.inf:
            raise ValueError(f"epsilon must be at least 0 and finite, was {epsilon}")
        start = finite_array("moment0", moment0, problem.size)
        if not np.all(start > 0):
            raise ValueError(f"moment0 must be positive, held {start.min():g}")
        self.problem = problem
        self.step_size = positive_step(step_size)
        self.moment0 = jnp.asarray(start)
        self.decay = decay
        self.epsilon = epsilon
        self.directions = positive_integer("directions", directions)
        self.substeps = positive_integer("substeps", substeps)

    def init(self, theta0: Theta) -> CentralState:
        return self._start(theta0, self.moment0)

    def metric(self, moment: Moment) -> Theta:
        return (jnp.sqrt(moment) + self.epsilon) / self.step_size

    def moment_rate(self, moment: Moment, gradient: Theta, noise: Theta) -> Moment:
        return (1 - self.decay) / self.decay * (gradient**2 + noise - moment)
