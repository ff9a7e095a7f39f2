"""The loop over steps.

diffrax supplies the solvers; the loop is ours because a run here has to be paused at any step and go on
bit-identically (progress, a change of solver, checkpoints), has to count the work of rejected steps, has to hand back
the last good state where a solve breaks down, and has to advance an ensemble with one step size per member.
`diffrax.diffeqsolve` offers none of the four.
"""

import dataclasses
from typing import Any

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import optimistix as optx
from jaxtyping import Array, Bool, Float, Int, PyTree

from gfsim.dynamics.base import AbstractFlow
from gfsim.simulation.events import AbstractEvent, values
from gfsim.simulation.step_control import Tolerance, first_step, next_step
from gfsim.solvers.base import AbstractFlowSolver
from gfsim.solvers.tableau import evaluations_per_step
from gfsim.types import Scalar, Theta

RUNNING, AT_END, AT_EVENT, STALLED, DIVERGED = range(5)


class Carried(eqx.Module):
    """The integrated variables: the flow's state, and the energy ∫ −dΦ dissipated so far.

    The energy has a tolerance of its own, rtol·(|Φ(0)| + energy) a step, so that no step is accepted on the state's
    error alone while the energy identity is lost.
    """

    state: PyTree
    dissipated: Float[Array, "*members"]


def flow_state(y: Carried) -> PyTree:
    """The part of the integrated variables that makes a problem stiff."""
    return y.state


class Motion(eqx.Module):
    """Everything an interrupted run needs to go on: one pytree, with a leading axis for an ensemble."""

    clock: Float[Array, "*members"]
    end: Float[Array, "*members"]
    watching: Bool[Array, "*members"]
    tolerance: Tolerance
    y: Carried
    step: Float[Array, "*members"]
    last_step: Float[Array, "*members"]
    last_error: Float[Array, "*members"]
    solver_state: PyTree
    halt: Int[Array, "*members"]
    saved: Int[Array, "*members"]
    accepted: Int[Array, "*members"]
    rejected: Int[Array, "*members"]
    gradients: Int[Array, "*members"]
    products: Int[Array, "*members"]
    energy_scale: Float[Array, "*members"]


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
    tolerance: Tolerance,
    theta0: Theta,
    end: Scalar,
) -> tuple[Motion, Carried, Bool[Array, ""], Bool[Array, " events"]]:
    """The motion that starts at clock 0, its start, whether Φ and the velocity are finite there, which events hold."""
    terms = terms_of(flow)
    clock = jnp.zeros_like(end)
    y = Carried(flow.initial_state(theta0), jnp.zeros_like(end))
    slope = terms.vf(clock, y, None)
    potential = flow.potential(y.state)
    step = first_step(
        lambda dt, y: flow.vector_field(clock + dt, y),
        y.state,
        slope.state,
        _order(solver, terms),
        tolerance,
        end,
    )
    zero = jnp.zeros((), int)
    motion = Motion(
        clock=clock,
        end=end,
        watching=jnp.ones((), bool),
        tolerance=tolerance,
        y=y,
        step=step,
        last_step=jnp.zeros_like(step),
        last_error=jnp.ones_like(step),
        solver_state=None,
        halt=zero + RUNNING,
        saved=zero,
        accepted=zero,
        rejected=zero,
        gradients=zero + 2,
        products=zero,
        energy_scale=jnp.abs(potential),
    )
    finite = jnp.isfinite(potential) & jnp.isfinite(optx.two_norm(slope))
    return mount(flow, solver, motion), y, finite, values(events, flow.problem, flow.parameters(y.state)) >= 0


def _order(solver: dfx.AbstractSolver, terms: dfx.ODETerm) -> int:
    """The order k of the error estimate, e = O(h^k)."""
    order = solver.error_order(terms)
    assert isinstance(order, int)
    return order


def mount(flow: AbstractFlow, solver: dfx.AbstractSolver, motion: Motion) -> Motion:
    """The same motion carried on by another solver."""
    solver_state = solver.init(terms_of(flow), motion.clock, motion.clock + motion.step, motion.y, None)
    gradients, products = _work(solver, solver_state, 0)
    mounted = dataclasses.replace(
        motion,
        solver_state=solver_state,
        last_step=jnp.zeros_like(motion.step),
        # A first-same-as-last method evaluates its first slope inside its first step.
        gradients=motion.gradients + gradients + (1 if isinstance(solver, dfx.AbstractERK) else 0),
        products=motion.products + products,
    )
    return _strong(mounted)


def _strong(tree: PyTree) -> PyTree:
    """The same arrays without weak types, which would compile everything downstream once more."""
    return jax.tree.map(lambda x: jax.lax.convert_element_type(x, x.dtype), tree)


def _work(solver: dfx.AbstractSolver, state: PyTree, attempts: int) -> tuple[Any, Any]:
    """(gradients, products) of `attempts` steps of a solver with a fixed cost, or as counted by its state.

    An implicit solver of diffrax has no fixed cost and counts as zero: its work is not known.
    """
    if isinstance(solver, AbstractFlowSolver):
        return solver.work(state)
    if isinstance(solver, dfx.AbstractERK):
        return attempts * evaluations_per_step(type(solver)), 0
    return 0, 0


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
    """One step, accepted or not. A step in which an event becomes true is not taken: the motion halts before it."""
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

    crossed = jnp.zeros((), bool)
    if events:
        crossed = good & motion.watching & jnp.any(values(events, flow.problem, flow.parameters(y.state)) >= 0)
    kept = good & ~crossed

    proposal = next_step(step, ratio, order, good, motion.last_step, motion.last_error)
    exhausted = ~good & (motion.clock + proposal <= motion.clock * (1 + 4 * jnp.finfo(float).eps))
    halt = jnp.where(kept & last, AT_END, RUNNING)
    halt = jnp.where(crossed, AT_EVENT, halt)
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
        y=keep(y, motion.y),
        step=jnp.where(crossed, step, proposal),
        last_step=jnp.where(kept, step, motion.last_step),
        last_error=jnp.where(kept, ratio, motion.last_error),
        solver_state=keep(solver_state, refused),
        halt=halt,
        accepted=motion.accepted + kept.astype(int),
        rejected=motion.rejected + (~good).astype(int),
        gradients=motion.gradients + (after - before) + repeated.astype(int) + flow.gradients_after_step,
        products=motion.products + (products_after - products_before),
    )
    return moved, Attempt(motion.clock, target, dense_info, kept)


def locate(
    flow: AbstractFlow, solver: dfx.AbstractSolver, events: tuple[AbstractEvent, ...], motion: Motion
) -> tuple[Scalar, Int[Array, ""]]:
    """Clock at which the first of the events becomes true in the step that `motion` halted before, and which it is."""
    target = motion.clock + motion.step
    y, _, dense_info, _, _ = solver.step(
        terms_of(flow), motion.clock, target, motion.y, None, motion.solver_state, False
    )
    path = solver.interpolation_cls(t0=motion.clock, t1=target, **dense_info)

    def crossing(event: AbstractEvent) -> Scalar:
        def value(clock: Scalar, args: Any) -> Scalar:
            return event.value(flow.problem, flow.parameters(path.evaluate(clock).state))

        # The signs at the ends are known: asking for them again would compile the path twice more, with a run-time
        # check that keeps the program out of JAX's persistent cache. 52 halvings are all that float64 resolves.
        found = optx.root_find(
            value,
            optx.Bisection(rtol=0.0, atol=0.0, flip=False),
            motion.clock + motion.step / 2,
            options={"lower": motion.clock, "upper": target},
            max_steps=52,
            throw=False,
        ).value
        happened = event.value(flow.problem, flow.parameters(y.state)) >= 0
        return jnp.where(happened, jnp.clip(found, motion.clock, target), jnp.inf)

    clocks = jnp.stack([crossing(event) for event in events])
    return jnp.min(clocks), jnp.argmin(clocks)


def explodes(flow: AbstractFlow, motion: Motion) -> Bool[Array, ""]:
    """Whether the norm grows on a time scale that the clock no longer resolves: blow-up in finite time."""
    state = motion.y.state
    velocity = flow.vector_field(motion.clock, state)
    growth = sum(jnp.vdot(y, v) for y, v in zip(jax.tree.leaves(state), jax.tree.leaves(velocity), strict=True))
    return growth * motion.clock > 1e9 * optx.two_norm(state) ** 2


class Kept(eqx.Module):
    """The states kept so far, in arrays long enough for all that one call of `advance` can keep."""

    clock: Float[Array, "*members slots"]
    y: Carried


@eqx.filter_jit
def pick(motion: Motion, members: Int[Array, " some"]) -> Motion:
    """The motion of some members; an index past the last stands for a member that has ended."""
    some = jax.tree.map(lambda x: x.at[members].get(mode="clip"), motion)
    return dataclasses.replace(some, halt=jnp.where(members < motion.halt.size, some.halt, AT_END))


@eqx.filter_jit(donate="all-except-first")
def put(fixed: tuple[Motion, Int[Array, " some"]], motion: Motion) -> Motion:
    """`motion` with the members that `pick` took replaced."""
    some, members = fixed
    return jax.tree.map(lambda x, new: x.at[members].set(new, mode="drop"), motion, some)


@eqx.filter_jit(donate="all-except-first")
def advance(
    fixed: tuple[AbstractFlow, dfx.AbstractSolver, tuple[AbstractEvent, ...], Array | None, Array, Array | None],
    motion: Motion,
    kept: Kept,
) -> tuple[Motion, Kept]:
    """At most `budget` attempts of every running member, keeping states at `times` (all accepted ones if None).

    `fixed` holds flow, solver, events, times, budget and, in an ensemble, which rows of `kept` belong to the members
    of `motion`. One body serves a single run and an ensemble; in an ensemble the loop is batched by hand, so that a
    finished member costs neither a copy of what it kept nor a saved state.
    """
    flow, solver, events, given_times, budget, members = fixed
    every_step = given_times is None
    times = jnp.array([jnp.inf]) if given_times is None else given_times
    ensemble = motion.clock.ndim == 1
    map_members = jax.vmap if ensemble else lambda f: f
    capacity = kept.clock.shape[-1]
    # Slots are counted from the run's start for given times, and from this call's start for every step.
    offset = motion.saved if every_step else jnp.zeros_like(motion.saved)

    def going(carry: Any) -> Any:
        motion, _, attempts = carry
        room = motion.saved - offset < capacity if every_step else True
        return jnp.any(motion.halt == RUNNING) & jnp.all(room) & (attempts < budget)

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
    return _strong(motion), kept
