"""High-order gradient descent and its flow: steepest descent in a Φ of any degree p > 1."""

import functools
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, PyTree

from gfsim.checks import real_number
from gfsim.dynamics.base import AbstractFlow
from gfsim.dynamics.descent import AbstractDescent, positive_step
from gfsim.dynamics.optax_descent import OptaxDescent
from gfsim.norms import inner
from gfsim.problems.problem import Problem, checked_problem
from gfsim.types import Key, Scalar, Theta, Time

NORMS = ("euclidean", "coordinate")
# Halvings of one step; no loss that is finite at θ needs more.
_MOST_HALVINGS = 100


class Retimed(eqx.Module):
    """θ and the physical time t."""

    theta: Theta
    time: Float[Array, ""]


class HighOrderFlow(AbstractFlow):
    """θ' = −∇Φ*(∇L(θ)) with Φ of degree p = `degree` > 1, q = p/(p−1) and S = `smoothness`.

    - `"euclidean"`: Φ = (S/p)‖·‖^p, θ' = −S^{1−q}‖g‖^{q−2}g with g = ∇L;
    - `"coordinate"`: Φ = (S/p)Σ|·|^p, θ_i' = −S^{1−q}|g_i|^{q−1}sign g_i, which tends to sign descent as p → ∞.

    p = 2 is gradient flow. The loss falls at Φ(θ') + Φ*(g) = S^{1−q}‖g‖^q (in the norm ‖·‖_q for "coordinate"). Where
    ‖g‖² ≥ 2μL it comes to rest in finite time for p > 2, exponentially for p = 2 and algebraically for p < 2.

    The clock is τ with dt = S^{q−1}‖g‖₂^{2−q}dτ, and t is part of the state (`trajectory.log_t`). A Euclidean flow is
    then gradient flow, dθ/dτ = −g: as stiff as that and no more, and at a minimum τ = ∞ also where t is finite. End a
    run with `gf.events.gradient_below`; `gf.verification.extinction_time` gives the time that is left. Once ‖θ − θ*‖
    has come down to `atol`, g is the solver's error and so is what it adds to t: nothing estimates that. A single
    coordinate of the other norm may come to rest at a finite τ, past which steps are short.

    Raises ValueError for a degree of at most 1, a smoothness that is not positive, or another norm.

    Source: Qi, Gong & Li, high-order gradient descent; flow and clock are derived.
    """

    problem: Problem
    degree: Float[Array, ""]
    smoothness: Float[Array, ""]
    norm: str = eqx.field(static=True)

    def __init__(self, problem: Problem, degree: float | int, norm: str = "euclidean", smoothness: float = 1.0):
        self.problem = checked_problem(problem)
        _check(degree, norm, smoothness)
        self.degree = jax.device_put(np.asarray(degree, float))
        self.smoothness = jax.device_put(np.asarray(smoothness, float))
        self.norm = norm

    def initial_state(self, theta0: Theta) -> Retimed:
        return Retimed(theta0, jnp.zeros((), theta0.dtype))

    def vector_field(self, clock: Time, state: Retimed) -> Retimed:
        g = self.problem.grad(state.theta)
        rate = self.smoothness ** (self._q - 1) * _positive_norm(g) ** (2 - self._q)
        velocity = -g if self.norm == "euclidean" else -rate * dual_step(g, self.degree, self.norm, self.smoothness)
        return Retimed(velocity, rate)

    def parameters(self, state: Retimed) -> Theta:
        return state.theta

    def log_time(self, clock: Time, state: Retimed) -> Time:
        return jnp.log(state.time)

    def potential(self, state: Retimed) -> Scalar:
        return self.problem.loss(state.theta)

    def dissipation(self, state: Retimed, velocity: Retimed) -> Scalar:
        v = velocity.theta
        if self.norm == "euclidean":
            return inner(v, v)
        # −⟨g, v⟩ = p·Φ(v/t')·t', which spares the gradient.
        return self.smoothness * jnp.sum(jnp.abs(v) ** self.degree) * velocity.time ** (1 - self.degree)

    @property
    def _q(self) -> Scalar:
        return self.degree / (self.degree - 1)


class Smoothness(NamedTuple):
    """What the transformation remembers: the S that the last step took."""

    smoothness: Float[Array, ""]


def high_order(
    degree: float | int, norm: str = "euclidean", smoothness: float | None = 1.0, step_size: float = 1.0
) -> optax.GradientTransformationExtraArgs:
    """High-order descent as an optax transformation: the update −s·∇Φ*(g), s = `step_size` in (0, 1].

    Degree, norm and smoothness S are those of `HighOrderFlow`; the gradient may be any pytree, whose leaves count as
    one vector. If Φ(x − y) bounds the loss's Bregman divergence, which only degrees p ≤ 2 allow, a step lowers the loss
    by at least (sq − s^p(q−1))Φ*(g) ≥ sΦ*(g).

    With `smoothness=None` S is sought: each step starts at twice the length of the last one (S = 1 at first) and is
    halved until it lowers the loss by that much; `update` then needs `value` and `value_fn`, as optax's line searches
    do. Equal arguments give the same object, so that nothing compiles twice.

    Raises ValueError for arguments that `HighOrderFlow` refuses, and a step size outside (0, 1].
    """
    _check(degree, norm, 1.0 if smoothness is None else smoothness)
    if not 0 < real_number("step_size", step_size) <= 1:
        raise ValueError(f"step_size must lie in (0, 1], was {step_size}")
    return _transformation(float(degree), norm, None if smoothness is None else float(smoothness), float(step_size))


@functools.cache
def _transformation(p: float, norm: str, smoothness: float | None, s: float) -> optax.GradientTransformationExtraArgs:
    q = p / (p - 1)
    promised = s * q - s**p * (q - 1)
    halving = 2.0 ** (p - 1)

    def init(params: PyTree) -> Smoothness:
        return Smoothness(jnp.asarray(1.0 if smoothness is None else smoothness))

    def update(updates: Any, state: Any, params: Any = None, *, value: Any = None, value_fn: Any = None, **_: Any):
        def moved(S: Scalar) -> PyTree:
            return jax.tree.map(lambda v: -s * v, dual_step(updates, p, norm, S))

        if smoothness is not None:
            return moved(state.smoothness), state
        if value_fn is None or value is None or params is None:
            raise ValueError("smoothness=None needs params, value and value_fn in update, as OptaxDescent gives them")

        def too_long(trial: tuple[Scalar, Int[Array, ""]]) -> Array:
            S, count = trial
            there = value_fn(jax.tree.map(jnp.add, params, moved(S)))
            fall = promised * _dual(updates, p, norm, S)
            # Below rounding no fall of the loss can be seen.
            enough = there <= value - fall + 4 * jnp.finfo(float).eps * jnp.abs(value)
            return ~enough & (count < _MOST_HALVINGS)

        first = (state.smoothness / halving, jnp.zeros((), int))
        S, _count = jax.lax.while_loop(too_long, lambda trial: (trial[0] * halving, trial[1] + 1), first)
        return moved(S), Smoothness(S)

    return optax.GradientTransformationExtraArgs(init, update)


class HighOrderDescent(AbstractDescent):
    """θ ← θ − s·∇Φ*(∇L(θ)): Euler's method for `HighOrderFlow`, with its degree, norm and smoothness; s = `step_size`.

    0 < s ≤ 1; the clock is t = ks. `smoothness=None` searches for S step by step (see `high_order`). With a fixed S and
    a degree p > 2 no fall of the loss is promised: about a nondegenerate minimum iterates end in a cycle.

    With `batch_size` and `key` the gradient is that of a mini-batch, in batches as `OptaxDescent` draws them. The mean
    of ∇Φ* over batches is not ∇Φ* of the mean gradient unless p = 2: iterates gather about the zero of that mean, which
    is not a minimum of the loss, however small s.

    Raises ValueError for arguments that `HighOrderFlow` or `OptaxDescent` refuses, and a step size outside (0, 1].

    Source: Qi, Gong & Li, high-order gradient descent (HGD; HSGD with batches).
    """

    step_size: Float[Array, ""]
    descent: OptaxDescent

    def __init__(
        self,
        problem: Problem,
        degree: float | int,
        step_size: float = 1.0,
        norm: str = "euclidean",
        smoothness: float | None = 1.0,
        batch_size: int | None = None,
        key: Key | None = None,
    ):
        smoothness = None if smoothness is None else real_number("smoothness", smoothness)
        degree = real_number("degree", degree)
        self.step_size = positive_step(step_size)
        transformation = high_order(degree, norm, smoothness, real_number("step_size", step_size))
        self.descent = OptaxDescent(problem, transformation, step_size, batch_size, key)

    @property
    def problem(self) -> Problem:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The problem."""
        return self.descent.problem

    def init(self, theta0: Theta) -> PyTree:
        return self.descent.init(theta0)

    def step(self, count: Int[Array, ""], state: PyTree) -> PyTree:
        return self.descent.step(count, state)

    def parameters(self, state: PyTree) -> Theta:
        return self.descent.parameters(state)


def dual_step(gradient: PyTree, degree: Any, norm: str, smoothness: Any) -> PyTree:
    """∇Φ*(g): S^{1−q}‖g‖^{q−2}g, or S^{1−q}|g_i|^{q−1}sign g_i; 0 at 0, with derivative 0 there."""
    q = degree / (degree - 1)
    scale = smoothness ** (1 - q)
    if norm == "euclidean":
        factor = scale * _positive_norm(gradient) ** (q - 2)
        return jax.tree.map(lambda g: factor * g, gradient)

    def each(g: Array) -> Array:
        rests = g == 0
        return jnp.where(rests, 0.0, scale * jnp.abs(jnp.where(rests, 1.0, g)) ** (q - 1) * jnp.sign(g))

    return jax.tree.map(each, gradient)


def _dual(gradient: PyTree, degree: float | int, norm: str, smoothness: Scalar) -> Scalar:
    """Φ*(g) = ⟨g, ∇Φ*(g)⟩/q."""
    q = degree / (degree - 1)
    return jnp.asarray(optax.tree.vdot(gradient, dual_step(gradient, degree, norm, smoothness))) / q


def _positive_norm(gradient: PyTree) -> Scalar:
    """‖g‖₂, or 1 where g = 0, so that powers of it are finite with their derivatives."""
    squared = optax.tree.norm(gradient, squared=True)
    return jnp.sqrt(jnp.where(squared == 0, 1.0, squared))


def _check(degree: float | int, norm: str, smoothness: float) -> None:
    if not 1 < real_number("degree", degree) < np.inf:
        raise ValueError(f"degree must be a finite number above 1, was {degree}")
    if not isinstance(norm, str) or norm not in NORMS:
        raise ValueError(f"norm must be euclidean or coordinate, was {norm!r}")
    if not 0 < real_number("smoothness", smoothness) < np.inf:
        raise ValueError(f"smoothness must be a positive finite number, was {smoothness}")
