"""The flow of losses with an exponential tail, on a clock that follows them to infinity."""

import dataclasses
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gfsim.dynamics.base import AbstractFlow
from gfsim.norms import inner
from gfsim.problems.losses import CrossEntropy, Exponential, Logistic
from gfsim.problems.problem import Problem, checked_problem
from gfsim.types import Scalar, Theta, Time

# Gauss–Legendre nodes and weights on [0, 1] in the cube root of z, which tames the logarithms of z at 0.
_ROOTS, _PLAIN = np.polynomial.legendre.leggauss(20)
_NODES = (0.5 + 0.5 * _ROOTS) ** 3
_WEIGHTS = 1.5 * _PLAIN * (0.5 + 0.5 * _ROOTS) ** 2
# A step of less than this share of the next tells nothing of it that rounding leaves.
_TELLING = 0.05


class Elapsed(eqx.Module):
    """Physical time t at the last step's end: log(1 + t), with log dt/dσ and its slope there, and that σ; the same of
    the step's start, which was `span` earlier (0 where there is none that the rate is smooth from)."""

    clock: Float[Array, ""]
    log_rate: Float[Array, ""]
    slope: Float[Array, ""]
    log1p_time: Float[Array, ""]
    span: Float[Array, ""]
    log_rate_before: Float[Array, ""]
    slope_before: Float[Array, ""]


class Separating(eqx.Module):
    """u = θ/ρ and log ρ; beside them `pace` (0 until the data are separated) and the time elapsed, which steps set."""

    direction: Theta
    log_norm: Float[Array, ""]
    pace: Float[Array, ""]
    elapsed: Elapsed


class MarginFlow(AbstractFlow):
    """θ' = −∇𝓛(θ) for the exponential, logistic or cross-entropy loss, re-timed to run to log 𝓛 = −1e6 and beyond.

    The path is that of `GradientFlow`; the state is (u, log ρ) with u = θ/ρ, ρ = ‖θ‖, and nothing in it under- or
    overflows: with g = −∇log 𝓛, in which the weights ℓ'(q_i) stand as logarithms, dθ/dσ = κ g and dt/dσ = κ/𝓛.

    For a network homogeneous of degree L, κ = ρ^{2−L} from the start, that is dσ = ρ^{L−2}𝓛 dt. For the exponential
    loss, with p = softmax(−ρ^L q(u)): d log ρ/dσ = L Σ p_i q_i(u), du/dσ = (I − uuᵀ) Σ p_i ∇q_i(u).

    For any other network κ = 1 (dσ = 𝓛 dt) up to the first step's end at which every sample has a positive margin, and
    κ = c·ρ/‖g‖ from there on (c·dσ is the length ‖dθ‖ in units of ρ), c such that κ is continuous.

    log t is the sum of ∫exp(log dt/dσ) dσ over the steps, the exponent being the quintic Hermite interpolant of the
    step's two ends and its predecessor's start. Beside what θ's own error makes of it, t was good to 3e-6 relative at
    rtol 1e-6 and to 2e-8 at 1e-8; order 8, from rtol 1e-10 on, takes longer steps, and t is good to 5e-6 there. The
    potential is log 𝓛, whose dissipation is κ‖g‖². Directions are meaningful while rtol·|log 𝓛| is below about 0.05:
    log 𝓛 = −1e6 wants rtol ≤ 5e-8.

    Raises ValueError for another loss and for a problem from a function. `theta0` must not be zero.

    Source: the rescaled flow is that of Lyu & Li, arXiv 1906.05890, Thm 4.1 (proof); the clocks are derived.
    """

    problem: Problem
    _degree: int | None = eqx.field(static=True)

    gradients_after_step: ClassVar[int] = 1

    def __init__(self, problem: Problem):
        if not isinstance(checked_problem(problem).criterion, (Exponential, Logistic, CrossEntropy)):
            raise ValueError(
                "problem must have the loss Exponential, Logistic or CrossEntropy, "
                f"was {type(problem.criterion).__name__}"
            )
        self.problem = problem
        self._degree = problem.degree

    def initial_state(self, theta0: Theta) -> Separating:
        norm = jnp.linalg.norm(theta0)
        zero = jnp.zeros_like(norm)
        elapsed = Elapsed(*[zero] * len(dataclasses.fields(Elapsed)))
        start = self.after_step(zero, Separating(theta0 / norm, jnp.log(norm), zero, elapsed))
        # There was no step before.
        return eqx.tree_at(lambda s: s.elapsed.span, start, zero)

    def vector_field(self, clock: Time, state: Separating) -> Separating:
        g, kappa = self._pull(state)
        size = jnp.linalg.norm(state.direction)
        u = state.direction / size
        v = kappa * g / jnp.exp(state.log_norm)
        radial = inner(u, v)
        # The factor `size` makes u/‖u‖ follow the flow exactly, however far rounding has carried ‖u‖ from one.
        return Separating(
            size * (v - radial * u),
            radial,
            jnp.zeros_like(radial),
            jax.tree.map(jnp.zeros_like, state.elapsed),
        )

    def after_step(self, clock: Time, state: Separating) -> Separating:
        """The state with `pace` and `elapsed` brought up to `clock`."""
        since = state.elapsed
        log_rate, slope = self._rate_and_slope(state)
        log1p_time = jnp.logaddexp(since.log1p_time, _log_increment(since, clock, log_rate, slope))
        span = clock - since.clock
        if self._degree is None:
            # The rate is continuous at the joint, its slope is not.
            before = state.pace
            state = eqx.tree_at(lambda s: s.pace, state, self._pace(state))
            span = jnp.where(state.pace == before, span, 0.0)
            _, slope = self._rate_and_slope(state)
        elapsed = Elapsed(clock, log_rate, slope, log1p_time, span, since.log_rate, since.slope)
        return eqx.tree_at(lambda s: s.elapsed, state, elapsed)

    def parameters(self, state: Separating) -> Theta:
        return jnp.exp(state.log_norm) * state.direction / jnp.linalg.norm(state.direction)

    def log_time(self, clock: Time, state: Separating) -> Time:
        since = _log_increment(state.elapsed, clock, *self._rate_and_slope(state))
        log1p_time = jnp.logaddexp(state.elapsed.log1p_time, since)
        # log t = log(1 + t) + log(1 − 1/(1 + t))
        return log1p_time + jnp.log(-jnp.expm1(-log1p_time))

    def potential(self, state: Separating) -> Scalar:
        return self.problem.log_loss(self.parameters(state))

    def dissipation(self, state: Separating, velocity: Separating) -> Scalar:
        if self._degree is None:
            g, kappa = self._pull(state)
            return kappa * inner(g, g)
        # κ‖g‖² = ‖dθ/dσ‖²/κ spares the gradient.
        squared = inner(velocity.direction, velocity.direction) / inner(state.direction, state.direction)
        return jnp.exp(self._degree * state.log_norm) * (squared + velocity.log_norm**2)

    def _pull(self, state: Separating) -> tuple[Theta, Scalar]:
        """g = −∇log 𝓛 and κ."""
        g = -jax.grad(self.problem.log_loss)(self.parameters(state))
        if self._degree is not None:
            return g, jnp.exp((2 - self._degree) * state.log_norm)
        joined = state.pace > 0
        norm = jnp.where(joined, jnp.linalg.norm(jnp.where(joined, g, 1.0)), 1.0)
        return g, jnp.where(joined, state.pace * jnp.exp(state.log_norm) / norm, 1.0)

    def _rate_and_slope(self, state: Separating) -> tuple[Scalar, Scalar]:
        """log dt/dσ = log κ − log 𝓛 and its derivative along the flow."""
        log_loss = self.potential(state)
        velocity = self.vector_field(jnp.zeros_like(log_loss), state)
        fall = self.dissipation(state, velocity)
        if self._degree is not None:
            return (2 - self._degree) * state.log_norm - log_loss, (2 - self._degree) * velocity.log_norm + fall
        log_kappa, change = jax.jvp(lambda s: jnp.log(self._pull(s)[1]), (state,), (velocity,))
        return log_kappa - log_loss, change + fall

    def _pace(self, state: Separating) -> Scalar:
        theta = self.parameters(state)
        separated = jnp.min(self.problem.margins(theta)) > 0
        speed = jnp.linalg.norm(jax.grad(self.problem.log_loss)(theta)) / jnp.exp(state.log_norm)
        return jnp.where((state.pace == 0) & separated, speed, state.pace)


def _log_increment(since: Elapsed, clock: Time, log_rate: Scalar, slope: Scalar) -> Scalar:
    """Logarithm of the physical time since the last step's end; −inf at that end itself."""
    span = clock - since.clock
    ratio = since.span / jnp.where(span > 0, span, 1.0)
    # The step before tells what is left of the logarithm of the rate by its cubic, where it is not far shorter.
    told = (ratio > _TELLING) & (span > 0)
    before = since.log_rate_before, since.slope_before
    quartic, quintic = _bends(span, jnp.where(told, ratio, 1.0), *before, since.log_rate, since.slope, log_rate, slope)
    bends = jnp.where(told, quartic, 0.0), jnp.where(told, quintic, 0.0)
    return _log_integral(span, since.log_rate, since.slope, log_rate, slope, *bends)


def _cubic(s: Array, h0: Scalar, a: Scalar, h1: Scalar, b: Scalar) -> Array:
    """h(s) − h1 of the cubic Hermite polynomial h with values h0, h1 and slopes a, b at 0 and 1."""
    r = 1 - s
    return (h0 - h1) * r**2 * (1 + 2 * s) + a * s * r**2 - b * s**2 * r


def _bends(
    span: Scalar, ratio: Scalar, h: Scalar, slope: Scalar, h0: Scalar, slope0: Scalar, h1: Scalar, slope1: Scalar
) -> tuple[Scalar, Scalar]:
    """A and B, such that the cubic of a step plus s²(1 − s)²(A + Bs) has the value h and the slope of the step's
    predecessor at s = −`ratio`, too."""
    at = -ratio
    value, change = jax.jvp(lambda s: _cubic(s, h0, span * slope0, h1, span * slope1), (at,), (jnp.ones_like(at),))
    weight, fall = (at * (1 - at)) ** 2, 2 * at * (1 - at) * (1 - 2 * at)
    there = (h - h1 - value) / weight
    quintic = (span * slope - change - fall * there) / weight
    return there + ratio * quintic, quintic


def _log_integral(
    span: Scalar,
    h0: Scalar,
    slope0: Scalar,
    h1: Scalar,
    slope1: Scalar,
    quartic: Scalar | float = 0.0,
    quintic: Scalar | float = 0.0,
) -> Scalar:
    """log ∫₀^span e^{h(x)} dx for the cubic h with the given values and slopes at 0 and at `span`, and the bends of
    `_bends` beside it.

    With b = span·slope1 and s = x/span the substitution z = e^{b(s−1)} takes the exponential of the end's tangent out
    of the integrand, so that a step over thousands of e-folds costs no accuracy.
    """
    a, b = span * slope0, span * slope1
    # Below this the substitution is the identity to rounding; far above, the start of the step does not count.
    b = jnp.clip(jnp.where(jnp.abs(b) < 1e-6, 1e-6, b), -30.0, None)
    lowest = jnp.exp(-b)
    nodes = jnp.asarray(_NODES)
    z = lowest + (1 - lowest) * nodes
    s = 1 + jnp.log(z) / b
    r = 1 - s
    difference = _cubic(s, h0, a, h1, span * slope1) + (s * r) ** 2 * (quartic + quintic * s)
    # In logarithms: before the first step h0 is not set, and e^{h0 − h1} overflows from a start of loss e^710.
    log_average = jax.nn.logsumexp(difference + b * r, b=jnp.asarray(_WEIGHTS))
    return h1 + jnp.log(span) + jnp.log((1 - lowest) / b) + log_average
