"""Conditions that end a run: `simulate(..., until=norm_reaches(1.0) | loss_below(1e-3))`.

An event is true where its value is ≥ 0. It is looked at at the end of every step; where it has become true there, the
time at which it did is located on the solver's dense output, and the run ends there with a step of its own. What is
true only inside one step is not seen.
"""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from equinox import AbstractVar
from jaxtyping import Array, Float

from gfsim.checks import real_number
from gfsim.dynamics.modified import ModifiedFlow
from gfsim.landscape.spectrum import largest_eigenvalue
from gfsim.problems.problem import Problem
from gfsim.simulation.outcome import Outcome
from gfsim.types import Scalar, Theta


class AbstractEvent(eqx.Module):
    """A condition on (problem, θ)."""

    outcome: AbstractVar[Outcome]

    @abc.abstractmethod
    def value(self, problem: Problem, theta: Theta) -> Scalar:
        """A continuous function that is ≥ 0 where the event holds."""

    def __or__(self, other: "AbstractEvent | AnyOf") -> "AnyOf":
        return AnyOf((self,)) | other


class AnyOf(eqx.Module):
    """Whichever of several events comes first."""

    events: tuple[AbstractEvent, ...]

    def __or__(self, other: "AbstractEvent | AnyOf") -> "AnyOf":
        return AnyOf(self.events + as_tuple(other))


def as_tuple(until: "AbstractEvent | AnyOf | None") -> tuple[AbstractEvent, ...]:
    """The events of an `until` argument. Raises TypeError for anything else."""
    if until is None:
        return ()
    if isinstance(until, AnyOf):
        return until.events
    if isinstance(until, AbstractEvent):
        return (until,)
    raise TypeError(f"until must be an event of gfsim.events or several joined with |, was {until!r}")


def values(events: tuple[AbstractEvent, ...], problem: Problem, theta: Theta) -> Float[Array, " events"]:
    """The value of each event at θ; one that is not negative has happened.

    NaN where the event's quantity is: it has then not happened.
    """
    return jnp.array([event.value(problem, theta) for event in events], float)


class _NormReaches(AbstractEvent):
    outcome: Outcome = eqx.field(static=True)
    threshold: Float[Array, ""]

    def value(self, problem: Problem, theta: Theta) -> Scalar:
        return jnp.linalg.norm(theta) / self.threshold - 1


class _LogLossBelow(AbstractEvent):
    outcome: Outcome = eqx.field(static=True)
    threshold: Float[Array, ""]

    def value(self, problem: Problem, theta: Theta) -> Scalar:
        return self.threshold - problem.log_loss(theta)


class _GradientBelow(AbstractEvent):
    outcome: Outcome = eqx.field(static=True)
    threshold: Float[Array, ""]

    def value(self, problem: Problem, theta: Theta) -> Scalar:
        return 1 - jnp.linalg.norm(problem.grad(theta)) / self.threshold


class _Separated(AbstractEvent):
    outcome: Outcome = eqx.field(static=True)

    def value(self, problem: Problem, theta: Theta) -> Scalar:
        # Separated means q_min > 0; the event holds where its value is ≥ 0.
        return jnp.min(problem.margins(theta)) - jnp.finfo(float).tiny


class _SharpnessReaches(AbstractEvent):
    outcome: Outcome = eqx.field(static=True)
    threshold: Float[Array, ""]

    def value(self, problem: Problem, theta: Theta) -> Scalar:
        return largest_eigenvalue(problem, theta) / self.threshold - 1


def norm_reaches(r: float) -> AbstractEvent:
    """‖θ‖₂ ≥ r. Raises TypeError or ValueError unless r is a positive finite number."""
    return _NormReaches(Outcome.norm_reaches, _positive("r", r))


def loss_below(l: float) -> AbstractEvent:
    """L(θ) ≤ l, also where L becomes negative. Raises TypeError or ValueError unless l is a positive finite number."""
    return _LogLossBelow(Outcome.loss_below, jax.device_put(np.log(_positive("l", l))))


def log_loss_below(l: float) -> AbstractEvent:
    """log L(θ) ≤ l, in the log domain: l may be −1e6. Raises TypeError or ValueError unless l is a finite number."""
    if not np.isfinite(real_number("l", l)):
        raise ValueError(f"l must be finite, was {l}")
    return _LogLossBelow(Outcome.log_loss_below, jax.device_put(np.asarray(l, float)))


def gradient_below(g: float) -> AbstractEvent:
    """‖∇L(θ)‖₂ ≤ g. Raises TypeError or ValueError unless g is a positive finite number."""
    return _GradientBelow(Outcome.gradient_below, _positive("g", g))


def separated() -> AbstractEvent:
    """Every sample has a positive margin, q_min > 0."""
    return _Separated(Outcome.separated)


def sharpness_reaches(s: float) -> AbstractEvent:
    """λ_max(∇²L(θ)) ≥ s, s > 0; 33 Hessian products a step. Gradient descent is at its edge at s = 2/η."""
    return _SharpnessReaches(Outcome.sharpness_reaches, _positive("s", s))


def series_diverges(flow: ModifiedFlow) -> AbstractEvent:
    """ηλ_max ≥ 1, where a modified flow ends."""
    return _SharpnessReaches(Outcome.series_diverges, 1 / flow.step_size)


def _positive(name: str, value: float) -> Float[Array, ""]:
    if not 0 < real_number(name, value) < np.inf:
        raise ValueError(f"{name} must be positive and finite, was {value}")
    return jax.device_put(np.asarray(value, float))
