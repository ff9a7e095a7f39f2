"""The loop over steps.

diffrax supplies the solvers; the loop is ours because a run here has to be paused at any step and go on
bit-identically (progress, a change of solver, checkpoints), has to count the work of rejected steps, has to hand back
the last good state where a solve breaks down, and has to advance an ensemble with one step size per member.
`diffrax.diffeqsolve` offers none of the four.
"""

import dataclasses
from typing import Any, NamedTuple

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import optimistix as optx
from jaxtyping import Array, Bool, Float, Int, PyTree

from gfsim.dynamics.base import AbstractFlow
from gfsim.simulation.events import AbstractEvent, values
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
from gfsim.simulation.step_control import first_step, next_step
from gfsim.solvers.base import AbstractFlowSolver
from gfsim.solvers.tableau import evaluations_per_step, last_stages
from gfsim.types import Scalar, Theta


def flow_state(y: Carried) -> PyTree:
    """The part of the integrated variables that makes a problem stiff."""
    return y.state


def terms_of(flow: AbstractFlow) -> dfx.ODETerm:
    """The flow and its energy quadrature as a diffrax term."""

    def field(clock: Any, y: Carried, args: Any) -> Carried:
        velocity = flow.vector_field(clock, y.state)
        return Carried(velocity, flow.dissipation(y.state, velocity))

    return dfx.ODETerm(field)


def begin(
    flow: AbstractFlow,
    solver: dfx.AbstractSolver,
    events: tuple[AbstractEvent, ...],
    theta0: Theta,
    numbers: Float[Array, "columns"],
) -> tuple[Paused, Bool[Array, ""]]:
    """The motion that starts at `theta0`, and whether Φ and the velocity are finite there.

    `numbers` are those that a run decides: its end and tolerance. An event that holds at the start ends it there.
    """
    # A copy even of what the flow passes on: a motion's buffers are reused in place.
    state = jax.tree.map(jnp.copy, flow.initial_state(theta0))
    motion, terms = unpacked(Paused(numbers, state, None)), terms_of(flow)
    slope = terms.vf(motion.clock, motion.y, None)
    potential = flow.potential(state)
    field = lambda dt, y: flow.vector_field(motion.clock + dt, y)  # noqa: E731
    step = first_step(field, state, slope.state, _order(solver, terms), motion.tolerance, motion.end)
    true = values(events, flow.problem, flow.parameters(state)) >= 0
    happened = jnp.any(true)
    motion = dataclasses.replace(
        motion,
        step=step,
        last_error=jnp.ones_like(step),
        event=jnp.where(happened, jnp.argmax(true), -1) if events else motion.event - 1,
        halt=jnp.where(happened, AT_END, RUNNING),
        gradients=motion.gradients + 2,
        energy_scale=jnp.abs(potential),
    )
    finite = jnp.isfinite(potential) & jnp.isfinite(optx.two_norm(slope))
    return packed(mount(flow, solver, motion)), finite


def change(flow: AbstractFlow, solver: dfx.AbstractSolver, paused: Paused) -> Paused:
    """The same motion carried on by another solver."""
    return packed(mount(flow, solver, unpacked(paused)))


def _order(solver: dfx.AbstractSolver, terms: dfx.ODETerm) -> int:
    """The order k of the error estimate, e = O(h^k)."""
    order = solver.error_order(terms)
    assert isinstance(order, int)
    return order


def mount(flow: AbstractFlow, solver: dfx.AbstractSolver, motion: Motion) -> Motion:
    """The same motion begun, or carried on, by a solver that has no state yet."""
    solver_state = solver.init(terms_of(flow), motion.clock, motion.clock + motion.step, motion.y, None)
    gradients, products = _work(solver, solver_state, 0)
    return dataclasses.replace(
        motion,
        solver_state=solver_state,
        last_step=jnp.zeros_like(motion.step),
        # A first-same-as-last method evaluates its first slope inside its first step.
        gradients=motion.gradients + gradients + (1 if isinstance(solver, dfx.AbstractERK) else 0),
        products=motion.products + products,
    )


def _work(solver: dfx.AbstractSolver, state: PyTree, attempts: int) -> tuple[Any, Any]:
    """(gradients, products) of `attempts` steps of a solver with a fixed cost, or as counted by its state.

    An implicit solver of diffrax has no fixed cost and counts as zero: its work is not known.
    """
    if isinstance(solver, AbstractFlowSolver):
        return solver.work(state)
    if isinstance(solver, dfx.AbstractERK):
        return attempts * evaluations_per_step(type(solver)), 0
    return 0, 0


def _stretch(solver: dfx.AbstractSolver, dense_info: PyTree) -> Scalar:
    """h times a decay or growth rate that the step felt, from its last two stages; zero for other than explicit ones.

    Both are at the step's end; h(f(g₂) − f(g₁)) = hJ(g₂ − g₁), where rounding and error have put the stiffest modes
    [Hairer & Wanner, IV.2]. At its stability limit an explicit method feels these; it may feel less than there is.
    """
    if not isinstance(solver, dfx.AbstractERK):
        return jnp.zeros(())
    # Products of the stages hold no further vector of their size.
    weights = jnp.asarray(last_stages(type(solver)))
    stages = [k.reshape(k.shape[0], -1) for k in jax.tree.leaves(dense_info["k"].state)]
    arguments, images = jnp.sum((weights @ sum(k @ k.T for k in stages)) * weights, axis=1)
    return jnp.where(arguments > 0, jnp.sqrt(jnp.maximum(images, 0.0) / jnp.where(arguments > 0, arguments, 1.0)), 0.0)


def work_is_known(solver: dfx.AbstractSolver) -> bool:
    """Whether the solver's gradients are counted."""
    return isinstance(solver, (AbstractFlowSolver, dfx.AbstractERK))


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
    order = _order(solver, terms)
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
    energy_tolerance = motion.tolerance.rtol * (motion.energy_scale + y.dissipated)
    ratio = jnp.maximum(ratio, jnp.abs(error.dissipated) / jnp.where(energy_tolerance > 0, energy_tolerance, jnp.inf))
    finite = jnp.isfinite(ratio) & jnp.isfinite(optx.two_norm(y)) & (result == dfx.RESULTS.successful)
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
    # diffrax's first-same-as-last methods evaluate their first slope again as long as no step was accepted.
    repeated = ~kept & (motion.last_step == 0) if isinstance(solver, dfx.AbstractERK) else jnp.zeros((), bool)
    before, products_before = _work(solver, motion.solver_state, 0)
    after, products_after = _work(solver, solver_state, 1)

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
        stretch=jnp.where(kept, jnp.maximum(0.5 * motion.stretch, _stretch(solver, dense_info)), motion.stretch),
        solver_state=keep(solver_state, refused),
        halt=halt,
        accepted=motion.accepted + kept.astype(int),
        rejected=motion.rejected + (~good).astype(int),
        gradients=motion.gradients + (after - before) + repeated.astype(int) + flow.gradients_after_step,
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


def explodes(flow: AbstractFlow, paused: Paused) -> Bool[Array, ""]:
    """Whether the norm grows on a time scale that the clock no longer resolves: blow-up in finite time."""
    state, clock = paused.state, paused.number("clock")
    velocity = flow.vector_field(clock, state)
    growth = sum(jnp.vdot(y, v) for y, v in zip(jax.tree.leaves(state), jax.tree.leaves(velocity), strict=True))
    return growth * clock > 1e9 * optx.two_norm(state) ** 2


@eqx.filter_jit
def pick(paused: Paused, members: Int[Array, " some"]) -> Paused:
    """The motion of some members; an index past the last stands for a member that has ended."""
    some = jax.tree.map(lambda x: x.at[members].get(mode="clip"), paused)
    halt = jnp.where(members < paused.numbers.shape[0], some.number("halt"), AT_END)
    return Paused(some.numbers.at[:, COLUMNS.index("halt")].set(halt), some.state, some.solver_state)


@eqx.filter_jit(donate="all-except-first")
def put(fixed: tuple[Paused, Int[Array, " some"]], paused: Paused) -> Paused:
    """`paused` with the members that `pick` took replaced."""
    some, members = fixed
    return jax.tree.map(lambda x, new: x.at[members].set(new, mode="drop"), paused, some)


class Orders(NamedTuple):
    """How far a call of `advance` goes: at most `budget` attempts, or `to_spare` more where fewer steps of the last
    one's size are left than that."""

    budget: int
    to_spare: int


@eqx.filter_jit(donate="all-except-first")
def advance(
    fixed: tuple[
        AbstractFlow, dfx.AbstractSolver, tuple[AbstractEvent, ...], Array | None, Int[Array, "2"], Array | None
    ],
    paused: Paused,
    kept: Kept,
) -> tuple[Paused, Kept]:
    """Attempted steps of every running member, keeping states at `times` (all accepted ones if None).

    `fixed` holds flow, solver, events, times, `Orders`, and, in an ensemble, which rows of `kept` belong to the members
    of `paused`. One body serves a single run and an ensemble; in an ensemble the loop is batched by hand, so that a
    finished member costs neither a copy of what it kept nor a saved state.
    """
    flow, solver, events, given_times, orders, members = fixed
    orders = Orders(*orders)
    steps = jnp.asarray(orders.to_spare, float)
    every_step = given_times is None
    times = jnp.array([jnp.inf]) if given_times is None else given_times
    motion = unpacked(paused)
    ensemble = motion.clock.ndim == 1
    map_members = jax.vmap if ensemble else lambda f: f
    capacity = kept.clock.shape[-1]
    # Slots are counted from the run's start for given times, and from this call's start for every step.
    offset = motion.saved if every_step else jnp.zeros_like(motion.saved)

    def going(carry: Any) -> Any:
        motion, _, attempts = carry
        room = motion.saved - offset < capacity if every_step else True
        near = jnp.all(motion.end - motion.clock < steps * motion.last_step)
        allowed = orders.budget + jnp.where(near, orders.to_spare, 0)
        return jnp.any(motion.halt == RUNNING) & jnp.all(room) & (attempts < allowed)

    def write(kept: Kept, slot: Array, clock: Array, y: Carried, wanted: Array) -> Kept:
        # Out-of-range slots are dropped: no member is copied for the sake of another.
        slot = jnp.where(wanted, slot, capacity)
        where = (members, slot) if ensemble else (slot,)
        put = lambda array, value: array.at[where].set(value, mode="drop")  # noqa: E731
        return Kept(put(kept.clock, clock), jax.tree.map(put, kept.y, y))

    def body(carry: Any) -> Any:
        motion, kept, attempts = carry
        running = motion.halt == RUNNING
        moved, tried = map_members(lambda m: attempt(flow, solver, events, m))(motion)
        if ensemble:
            motion = jax.tree.map(
                lambda new, old: jnp.where(running.reshape((-1,) + (1,) * (new.ndim - 1)), new, old), moved, motion
            )
        else:
            motion = moved
        stepped = tried.kept & running

        if every_step:
            kept = write(kept, motion.saved - offset, motion.clock, motion.y, stepped)
            saved = motion.saved + stepped.astype(int)
            return eqx.tree_at(lambda m: m.saved, motion, saved), kept, attempts + 1

        def due(saved: Array) -> Array:
            time = times[jnp.minimum(saved, times.size - 1)]
            return stepped & (saved < times.size) & (time <= tried.end)

        def interpolate(tried: Attempt, y: Carried, time: Scalar) -> Carried:
            dense = solver.interpolation_cls(t0=tried.start, t1=tried.end, **tried.dense_info).evaluate(time)
            return jax.tree.map(lambda end, inside: jnp.where(time >= tried.end, end, inside), y, dense)

        def save(carry: Any) -> Any:
            kept, saved = carry
            time = times[jnp.minimum(saved, times.size - 1)]
            wanted = due(saved)
            kept = write(kept, saved, time, map_members(interpolate)(tried, motion.y, time), wanted)
            return kept, saved + wanted.astype(int)

        kept, saved = jax.lax.while_loop(lambda c: jnp.any(due(c[1])), save, (kept, motion.saved))
        return eqx.tree_at(lambda m: m.saved, motion, saved), kept, attempts + 1

    motion, kept, _ = jax.lax.while_loop(going, body, (motion, kept, jnp.zeros((), int)))
    return packed(motion), kept
