"""One run: dynamics and a start in, trajectory out."""

import os
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import diffrax as dfx
import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gfsim.checks import positive_integer, real_number, true_or_false
from gfsim.dynamics.base import AbstractFlow
from gfsim.dynamics.descent import AbstractDescent
from gfsim.dynamics.modified import ModifiedFlow
from gfsim.landscape.spectrum import largest_eigenvalue
from gfsim.placement import on_host, placed, placement
from gfsim.problems.checks import tracing
from gfsim.problems.problem import Problem
from gfsim.simulation.assemble import assembled
from gfsim.simulation.checkpoint import Checkpoint
from gfsim.simulation.compiled import Compiled, Fixed
from gfsim.simulation.descend import DescentRun
from gfsim.simulation.events import AbstractEvent, AnyOf, as_tuple, series_diverges
from gfsim.simulation.measure import Observable
from gfsim.simulation.progress import LogTimeMeter
from gfsim.simulation.run import Run
from gfsim.simulation.save import EveryStep, SaveAt
from gfsim.simulation.step_control import Tolerance
from gfsim.simulation.trajectory import OWN_NAMES, Trajectory

# Below this a step's error is rounding.
SMALLEST_RTOL = 1e-14
# A flow whose start has no larger entry than this has local errors whose squares underflow.
SMALLEST_START = 1e-130


def simulate(
    dynamics: AbstractFlow | AbstractDescent,
    theta0: Float[Array, "*members P"],
    t1: float,
    *,
    save: SaveAt | EveryStep | None = None,
    observe: Mapping[str, Observable] | None = None,
    until: AbstractEvent | AnyOf | None = None,
    solver: dfx.AbstractSolver | None = None,
    rtol: float = 1e-6,
    atol: float | None = None,
    max_steps: int = 10_000_000,
    progress: bool = False,
    checkpoint: str | os.PathLike | None = None,
) -> Trajectory:
    """Follow a flow or a descent from `theta0` at clock 0 to clock `t1`, or until an event.

    **Arguments:**

    - `dynamics`: a flow or a descent; `theta0`, `t1`, `save` and the result's `t` are in its own state and clock. A
      descent takes round(t1/η) steps, at least one, and keeps the iterates nearest to the times of `save`.
    - `theta0`: shape (P,), or (B, P) for an ensemble of B runs with their own step sizes, events and outcomes. A JAX
      array spread over several devices keeps its `jax.sharding`, and the run's states take it.
    - `save`: `log_spaced`, `linear_spaced` or `every_step`; without it the start and the end are kept.
    - `observe`: functions f(problem, θ), evaluated at the kept states; module-level functions compile once. Their names
      may not be those of a trajectory's own arrays.
    - `until`: an event of `gfsim.events`, or several joined with `|`; one true at the start ends the run there.
    - `solver`: a diffrax solver with an error estimate; None chooses by measured stiffness, during the run too. Like
      `rtol` and `atol` it is for flows alone.
    - `rtol`, `atol`: a step's error must satisfy ‖e‖₂ ≤ atol + rtol·‖state‖₂; atol is 1e-3·rtol·‖theta0‖₂ by default,
      and must be positive for a start at 0.
    - `max_steps`: attempted steps, rejected ones included, after which the run ends with that outcome.
    - `progress`: show a meter in log time on stderr.
    - `checkpoint`: a file that keeps the run's state every ten seconds and at its end. The same call resumes from it
      and returns, bit for bit, what the uninterrupted run returns (`stats["seconds"]` excepted).

    For a flow the identity Φ(0) − Φ(t) = ∫‖∇Φ‖² is accumulated inside the solve; `stats["energy_residual"]` is its
    largest violation over the kept states, `stats["invariant_drift"]` that of the network's conserved quantities.

    Raises TypeError or ValueError, before anything is solved, for arguments of the wrong type, shape or range.
    """
    if not isinstance(dynamics, (AbstractFlow, AbstractDescent)):
        raise TypeError(
            "dynamics must be a flow or a descent such as gfsim.GradientFlow or gfsim.GradientDescent, "
            f"was {_kind(dynamics)}"
        )
    start = _checked_start(dynamics.problem, theta0)
    t1, rtol, atol, max_steps = _checked_numbers(t1, rtol, atol, max_steps)
    true_or_false("progress", progress)
    if solver is not None and not isinstance(solver, dfx.AbstractAdaptiveSolver):
        raise TypeError(f"solver must be a diffrax solver with an error estimate, was {_kind(solver)}")
    if save is not None and not isinstance(save, (SaveAt, EveryStep)):
        raise TypeError(f"save must come from log_spaced, linear_spaced or every_step, was {type(save).__name__}")
    events = as_tuple(until)
    if isinstance(dynamics, ModifiedFlow):
        events = (*events, _checked_series(dynamics, start))
    observers = _checked_observers(observe, dynamics.problem)
    began = time.perf_counter()

    kept = Checkpoint(checkpoint, dynamics, start, events, t1, save, solver, rtol, atol, max_steps)
    meter = LogTimeMeter(t1, progress)
    if isinstance(dynamics, AbstractDescent):
        if solver is not None:
            raise ValueError(f"solver must be left out for a descent, was {type(solver).__name__}")
        descent = DescentRun(dynamics, start, t1, max_steps, save, events)
        with meter:
            descent.go(meter, kept)
        return assembled(descent, observers, began, None)

    tolerance = _tolerance(start, rtol, atol)
    run = Run(dynamics, start, t1, save, events, tolerance, solver, observed=bool(observers))
    with meter:
        run.go(max_steps, meter, kept)

    # At a change of solver the error changes by orders of magnitude: the companion changes where the run did.
    used = run.used if solver is None else []

    def companion(trajectory: Trajectory) -> Trajectory:
        return _solve_at_rows(dynamics, start, trajectory, save, tolerance, solver, used)

    return assembled(run, observers, began, companion)


def _solve_at_rows(
    flow: AbstractFlow,
    start: Array | np.ndarray,
    trajectory: Trajectory,
    save: SaveAt | EveryStep | None,
    tolerance: Tolerance,
    solver: dfx.AbstractSolver | None,
    used: Sequence[tuple[float, str]],
) -> Trajectory:
    """The same flow at a tenth of the tolerance, kept at the rows of `trajectory`, in as many steps as it takes."""
    began = time.perf_counter()
    rtol = np.maximum(tolerance.rtol / 10, SMALLEST_RTOL)
    closer = Tolerance(np.asarray(rtol), np.asarray(tolerance.atol * (rtol / tolerance.rtol)))
    ends = np.asarray(trajectory.t)[..., -1]
    if isinstance(save, EveryStep):
        if ends.ndim == 1:
            raise ValueError("error_estimate needs rows at common times, save was every_step() of an ensemble")
        # The steps of the run, as times given.
        save = SaveAt(np.asarray(trajectory.t))
    run = Run(flow, start, ends, save, (), closer, solver, used)
    kept = Checkpoint(None, flow, start, (), ends, save, closer, solver)
    run.go(sys.maxsize, LogTimeMeter(float(np.max(ends)), shown=False), kept)
    return assembled(run, {}, began, None)


def _tolerance(theta0: Float[Array | np.ndarray, "*members P"], rtol: float, atol: float | None) -> Tolerance:
    start = on_host(theta0)
    size = np.sqrt(np.vecdot(start, start))
    # Of most starts their norm says that they are large enough.
    if np.count_nonzero(size < 1e-100):
        largest = np.abs(start).max(axis=-1)
        if (lost := (largest > 0) & (largest < SMALLEST_START)).any():
            found = np.atleast_1d(largest)[np.atleast_1d(lost)][0]
            raise ValueError(
                f"theta0 must be 0 or have an entry of {SMALLEST_START:g} or more, was {found:.3g} at most"
            )
        if atol == 0 and np.any(largest == 0):
            raise ValueError("atol must be positive where theta0 is 0, was 0")
        # Without a scale of its own, a start at the origin gets one that any motion soon exceeds.
        size = np.where(size > 0, size, 1e-6)
    absolute = 1e-3 * rtol * size if atol is None else np.full(size.shape, atol)
    return Tolerance(np.asarray(rtol, float), np.asarray(absolute, float))


def _checked_start(problem: Problem, theta0: Any) -> Float[Array | np.ndarray, "*members P"]:
    dtype = getattr(theta0, "dtype", None)
    if dtype is not None and dtype != np.float64:
        raise TypeError(
            f"theta0 must be float64, was {dtype}; convert it with jnp.asarray(theta0, jnp.float64), "
            'after jax.config.update("jax_enable_x64", True)'
        )
    try:
        values = np.array(on_host(theta0), dtype=float)
    except (TypeError, ValueError) as error:
        raise TypeError(f"theta0 must be an array of real numbers, was {theta0!r}") from error
    if values.ndim not in (1, 2) or values.shape[-1] != problem.size or values.size == 0:
        raise ValueError(f"theta0 must have shape ({problem.size},) or (B, {problem.size}), was {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError("theta0 must be finite, held NaN or infinity")
    where = placement(theta0)
    return values if where is None else placed(values, where)


def _checked_series(flow: ModifiedFlow, theta0: Float[Array | np.ndarray, "*members P"]) -> AbstractEvent:
    """The event that ends a modified flow. Raises ValueError where it has happened before the start."""
    eta, members = float(flow.step_size), jnp.atleast_2d(theta0)
    sharpest = max(float(_sharpness(flow.problem, member)) for member in members)
    if eta * sharpest >= 1:
        raise ValueError(
            "step_size of a modified flow must be below 1/λ_max, where its series converges; at theta0 "
            f"1/λ_max was {1 / sharpest:.4g} and step_size {eta:g}"
        )
    return series_diverges(flow)


_sharpness = eqx.filter_jit(largest_eigenvalue)


def _checked_numbers(
    t1: float, rtol: float, atol: float | None, max_steps: int
) -> tuple[float, float, float | None, int]:
    """The same as Python's own numbers: a checkpoint knows a run by them."""
    t1, rtol = real_number("t1", t1), real_number("rtol", rtol)
    if not 0 < t1 < np.inf:
        raise ValueError(f"t1 must be a positive finite number, was {t1}")
    if not SMALLEST_RTOL <= rtol < 1:
        raise ValueError(f"rtol must lie in [{SMALLEST_RTOL}, 1), was {rtol}")
    if atol is not None:
        atol = real_number("atol", atol)
        if not 0 <= atol < np.inf:
            raise ValueError(f"atol must be non-negative and finite, was {atol}")
    return t1, rtol, atol, positive_integer("max_steps", max_steps)


def _kind(value: object) -> str:
    return f"the class {value.__name__} itself" if isinstance(value, type) else type(value).__name__


@Compiled
def _observed(fixed: tuple[Problem, Observable], theta: Array) -> Array:
    problem, function = fixed
    return jnp.asarray(function(problem, theta))


def _checked_observers(observe: Mapping[str, Observable] | None, problem: Problem) -> dict[str, Observable]:
    if observe is not None and not isinstance(observe, Mapping):
        raise TypeError(f"observe must map names to functions f(problem, theta), was {observe!r}")
    observers = dict(observe or {})
    for name, function in observers.items():
        if not isinstance(name, str) or name in OWN_NAMES:
            raise ValueError(f"observe must name what it measures by a string other than {OWN_NAMES}, was {name!r}")
        # Rows are measured after the solve, which an error there would lose. What is not hashable is not static either.
        with tracing(f"observe[{name!r}]", function, "a function f(problem, theta) with an array as value"):
            _observed.eval_shape(Fixed(problem, function), problem.theta)
    return observers
