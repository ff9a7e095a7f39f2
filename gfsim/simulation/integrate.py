"""The loop over steps.

diffrax supplies the interface of a solver and many solvers; the loop is ours because a run here has to be paused at any
step and go on bit-identically (progress, a change of solver, checkpoints), has to count the work of rejected steps, has
to hand back the last good state where a solve breaks down, and has to advance an ensemble with one step size per
member. `diffrax.diffeqsolve` offers none of the four.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree

from gfsim.dynamics.base import AbstractFlow
from gfsim.norms import inner, two_norm
from gfsim.simulation.compiled import Compiled
from gfsim.simulation.events import AbstractEvent, values
from gfsim.simulation.lanes import Lanes, in_turn
from gfsim.simulation.motion import (
    AT_END,
    COLUMNS,
    DIVERGED,
    RUNNING,
    STALLED,
    Carried,
    Kept,
    Motion,
    Paused,
    packed,
    unpacked,
)
from gfsim.simulation.starting import begun, error_order, is_finite, terms_of, work_of
from gfsim.simulation.step_control import next_step
from gfsim.solvers.base import AbstractFlowSolver
from gfsim.types import Scalar

# Energies below this have no digits left.
_LEAST_ENERGY = 1e-290


class Attempt(eqx.Module):
    """A step just tried: where it started and ended, and what its dense output needs."""

    start: Float[Array, ""]
    end: Float[Array, ""]
    dense_info: PyTree
    kept: Bool[Array, ""]


def attempt(
    flow: AbstractFlow,
    solver: dfx.AbstractSolver,
    events: tuple[AbstractEvent, ...],
    motion: Motion,
) -> tuple[Motion, Attempt]:
    """One step, accepted or not. One in which an event becomes true is not taken: the motion will end where it does."""
    terms = terms_of(flow)
    order = error_order(solver, terms)
    remaining = motion.end - motion.clock
    step = motion.step
    if isinstance(solver, AbstractFlowSolver):
        step = solver.step_size(motion.solver_state, step)
    # Two even steps are better than a long one and a sliver.
    step = jnp.where(step >= remaining, remaining, jnp.where(2 * step > remaining, remaining / 2, step))
    last = step >= remaining
    target = jnp.where(last, motion.end, motion.clock + step)

    y, error, dense_info, solver_state, result = solver.step(
        terms, motion.clock, target, motion.y, None, motion.solver_state, False
    )
    # `simulate` admits only solvers with an error estimate.
    assert error is not None
    y = Carried(flow.after_step(target, y.state), y.dissipated)
    ratio = motion.tolerance.ratio(error.state, motion.y.state, y.state)
    # A move by no more than atol, such as rounding at a minimum, dissipates atol²/step.
    energy_tolerance = motion.tolerance.rtol * (motion.energy_scale + y.dissipated) + motion.tolerance.atol**2 / step
    ratio = jnp.maximum(ratio, jnp.abs(error.dissipated) / jnp.maximum(energy_tolerance, _LEAST_ENERGY))
    finite = jnp.isfinite(ratio) & is_finite(y) & (result == dfx.RESULTS.successful)
    ratio = jnp.where(finite, ratio, jnp.inf)
    good = ratio <= 1.0

    end, event, crossed = motion.end, motion.event, jnp.zeros((), bool)
    if events:
        true = values(events, flow.problem, flow.parameters(y.state)) >= 0
        crossed = good & (event < 0) & jnp.any(true)
        path = solver.interpolation_cls(t0=motion.clock, t1=target, **dense_info)
        clock, first = _located(flow, events, path, motion.clock, target, jnp.argmax(true), crossed)
        end, event = jnp.where(crossed, clock, end), jnp.where(crossed, first, event)
    kept = good & ~crossed

    proposal = next_step(step, ratio, order, good, motion.last_step, motion.last_error)
    exhausted = ~good & (motion.clock + proposal <= motion.clock * (1 + 4 * jnp.finfo(float).eps))
    halt = jnp.where(kept & last, AT_END, RUNNING)
    halt = jnp.where(exhausted, jnp.where(finite, STALLED, DIVERGED), halt)

    if isinstance(solver, AbstractFlowSolver):
        refused = solver.after_rejection(motion.solver_state, solver_state)
    else:
        refused = motion.solver_state
    before, products_before = work_of(solver, motion.solver_state)
    after, products_after = work_of(solver, solver_state)

    def keep(new: PyTree, old: PyTree) -> PyTree:
        return jax.tree.map(lambda a, b: jnp.where(kept, a, b), new, old)

    moved = dataclasses.replace(
        motion,
        clock=jnp.where(kept, target, motion.clock),
        end=end,
        event=event,
        y=keep(y, motion.y),
        step=jnp.where(crossed, step, proposal),
        last_step=jnp.where(kept, step, motion.last_step),
        last_error=jnp.where(kept, ratio, motion.last_error),
        solver_state=keep(solver_state, refused),
        halt=halt,
        accepted=motion.accepted + kept.astype(int),
        rejected=motion.rejected + (~good).astype(int),
        gradients=motion.gradients + (after - before) + flow.gradients_after_step,
        products=motion.products + (products_after - products_before),
    )
    return moved, Attempt(motion.clock, target, dense_info, kept)


def _located(
    flow: AbstractFlow,
    events: tuple[AbstractEvent, ...],
    path: dfx.AbstractLocalInterpolation,
    before: Scalar,
    after: Scalar,
    last: Int[Array, ""],
    crossed: Bool[Array, ""],
) -> tuple[Scalar, Int[Array, ""]]:
    """Clock at which the first of the events becomes true on `path`, and which it is; `after` and `last`, which is true
    there, unless `crossed`.

    In an ensemble too the bisection runs only where a member crosses: a loop of no pass, where `cond` would be one.
    """

    def halve(carry: Any) -> Any:
        low, high, first, count = carry
        middle = 0.5 * (low + high)
        true = values(events, flow.problem, flow.parameters(path.evaluate(middle).state)) >= 0
        happened = jnp.any(true)
        low, high = jnp.where(happened, low, middle), jnp.where(happened, middle, high)
        return low, high, jnp.where(happened, jnp.argmax(true), first), count + 1

    # 52 halvings are all that float64 resolves.
    start = (before, after, last, jnp.array(0))
    _, clock, first, _ = jax.lax.while_loop(lambda carry: crossed & (carry[3] < 52), halve, start)
    return clock, first


@functools.partial(Compiled, per_member=True)
def explodes(fixed: tuple[AbstractFlow, Any, Any], paused: Paused) -> Bool[Array, ""]:
    """Whether the norm grows on a time scale that the clock no longer resolves: blow-up in finite time."""
    flow, _, _ = fixed
    state, clock = paused.state, paused.number("clock")
    velocity = flow.vector_field(clock, state)
    growth = inner(state, velocity)
    return growth * clock > 1e9 * two_norm(state) ** 2


class Orders(NamedTuple):
    """How far a call of `advance` takes each motion: at most `budget` attempts, or `to_spare` more where fewer steps of
    the last one's size are left than that; and never past `max_steps` in all."""

    budget: int
    to_spare: int
    max_steps: int


def alone(function: Callable) -> Callable:
    """function of the only member of a batch, as a batch."""

    def batched(*batch: PyTree) -> PyTree:
        return jax.tree.map(lambda x: x[None], function(*jax.tree.map(lambda x: x[0], batch)))

    return batched


@functools.partial(Compiled, donate=(0, 1))
def advance(
    fixed: tuple[AbstractFlow, dfx.AbstractSolver, tuple[AbstractEvent, ...]],
    paused: Paused,
    kept: Kept | None,
    given_times: Float[Array, " slots"] | None,
    orders: Int[Array, "3"],
    queue: Int[Array, "waves lanes"] | None = None,
) -> tuple[Paused, Kept | None]:
    """Attempted steps of every running member, keeping states at the times given, or all accepted ones for None; none
    without a place to keep them. A single run that has not begun begins.

    `orders` are `Orders`. An ensemble is stepped as a whole, or, with a `queue`, as many of its members at a time as
    the queue has lanes: those named in it, in its order, a number past the last standing for none. A lane whose member
    has ended, or has made its attempts, takes the next one. One body serves a single run and an ensemble; in an
    ensemble the loop is batched by hand, so that a finished member costs neither a copy of what it kept nor a saved
    state.
    """
    flow, solver, events = fixed
    budget, to_spare, max_steps = Orders(*orders)
    steps = jnp.asarray(to_spare, float)
    every_step = kept is not None and given_times is None
    times = jnp.array([jnp.inf]) if given_times is None else given_times
    ensemble = paused.numbers.ndim == 2
    # A lane of its own is no batch: control flow stays what it is, and matrices stay where they are.
    single = queue is not None and queue.shape[1] == 1
    map_members = alone if single else jax.vmap if ensemble else lambda f: f
    capacity = 0 if kept is None else kept.clock.shape[-1]

    def active(lanes: Lanes) -> Array:
        motion = unpacked(lanes.paused)
        near = motion.end - motion.clock < steps * motion.last_step
        allowed = budget + jnp.where(near, to_spare, 0)
        # Slots are counted from the run's start for given times, and from this call's start for every step.
        room = motion.saved - lanes.saved < capacity if every_step else True
        left = motion.accepted + motion.rejected < max_steps
        return (motion.halt == RUNNING) & left & room & (lanes.attempts < allowed)

    def write(kept: Kept, rows: Array, slot: Array, clock: Array, y: Carried, wanted: Array) -> Kept:
        # Out-of-range slots are dropped: no member is copied for the sake of another.
        slot = jnp.where(wanted, slot, capacity)
        where = (rows, slot) if ensemble else (slot,)
        put = lambda array, value: array.at[where].set(value, mode="drop")  # noqa: E731
        return Kept(put(kept.clock, clock), jax.tree.map(put, kept.y, y))

    def step(carry: tuple[Lanes, Kept | None]) -> tuple[Lanes, Kept | None]:
        lanes, kept = carry
        before, going = unpacked(lanes.paused), active(lanes)
        motion, tried = map_members(lambda m: attempt(flow, solver, events, m))(before)
        stepped, attempts = tried.kept, lanes.attempts + 1
        # Where there is one, it goes.
        if ensemble and not single:
            motion = jax.tree.map(
                lambda new, old: jnp.where(going.reshape((-1,) + (1,) * (new.ndim - 1)), new, old), motion, before
            )
            stepped = stepped & going
        if kept is None:
            return lanes._replace(paused=packed(motion), attempts=attempts), kept
        if every_step:
            kept = write(kept, lanes.rows, motion.saved - lanes.saved, motion.clock, motion.y, stepped)
            motion = dataclasses.replace(motion, saved=motion.saved + stepped.astype(int))
            return lanes._replace(paused=packed(motion), attempts=attempts), kept

        fine = solver.fine_rows(flow.problem.size) if isinstance(solver, AbstractFlowSolver) else None
        path_cls = fine.path_cls if fine else solver.interpolation_cls

        def due(saved: Array) -> Array:
            time = times[jnp.minimum(saved, times.size - 1)]
            return stepped & (saved < times.size) & (time <= tried.end)

        def interpolate(tried: Attempt, info: PyTree, y: Carried, time: Scalar) -> Carried:
            dense = path_cls(t0=tried.start, t1=tried.end, **info).evaluate(time)
            return jax.tree.map(lambda end, inside: jnp.where(time >= tried.end, end, inside), y, dense)

        def save_all(carry: Any) -> Any:
            info = tried.dense_info
            if fine:
                info = map_members(functools.partial(fine.made, terms_of(flow)))(tried.start, tried.end, info)

            def save(carry: Any) -> Any:
                kept, saved = carry
                time, wanted = times[jnp.minimum(saved, times.size - 1)], due(saved)
                row = map_members(interpolate)(tried, info, motion.y, time)
                return write(kept, lanes.rows, saved, time, row, wanted), saved + wanted.astype(int)

            return jax.lax.while_loop(more, save, carry)

        # A loop of one pass or none: `cond` would copy what is kept.
        more = lambda carry: jnp.any(due(carry[1]))  # noqa: E731
        gradients = motion.gradients + (fine.cost * due(motion.saved).astype(int) if fine else 0)
        kept, saved = jax.lax.while_loop(more, save_all, (kept, motion.saved))
        motion = dataclasses.replace(motion, saved=saved, gradients=gradients)
        return lanes._replace(paused=packed(motion), attempts=attempts), kept

    # Between two steps too a motion's numbers are one array: each array that a loop carries costs about as much as an
    # operation of it.
    paused = paused._replace(numbers=jnp.asarray(paused.numbers))
    unbegun, paused = paused.unbegun, paused._replace(unbegun=None)
    if unbegun is not None:
        # Every motion that has begun has taken gradients.
        given, new = paused, paused.number("gradients") == 0
        start = Paused(paused.numbers[: len(COLUMNS)], paused.state, None)
        paused = jax.lax.cond(new, lambda: begun(fixed, start), lambda: given)
    members = paused.numbers.shape[:-1]
    if queue is None:
        rows = jnp.arange(members[0]) if ensemble else jnp.zeros((), int)
        lanes = Lanes(paused, rows, jnp.zeros(members, int), paused.number("saved").astype(int))
        lanes, kept = jax.lax.while_loop(lambda carry: jnp.any(active(carry[0])), step, (lanes, kept))
        return lanes.paused._replace(unbegun=unbegun), kept

    return in_turn(step, active, paused, kept, queue, budget)
