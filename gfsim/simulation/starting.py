"""How a motion begins, and how another solver carries it on."""

import dataclasses
import functools
import threading
from typing import Any

import diffrax as dfx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, PyTree

from gfsim.dynamics.base import AbstractFlow
from gfsim.norms import two_norm
from gfsim.simulation.compiled import Compiled, Fixed
from gfsim.simulation.events import AbstractEvent, values
from gfsim.simulation.motion import AT_END, RUNNING, UNDEFINED, Carried, Motion, Paused, packed, unpacked
from gfsim.simulation.step_control import first_step
from gfsim.solvers.base import AbstractFlowSolver

# Tracing a flow takes longer than a short run of it. A call does not write to arrays of the host. None stands for a
# solver that keeps what the host has no zero of, a key of random numbers.
_blank: dict[Any, Paused | None] = {}
_MOST_BLANK = 64
_one_at_a_time = threading.Lock()


def flow_state(y: Carried) -> PyTree:
    """The part of the integrated variables that makes a problem stiff."""
    return y.state


def terms_of(flow: AbstractFlow) -> dfx.ODETerm:
    """The flow and its energy quadrature as a diffrax term."""

    def field(clock: Any, y: Carried, args: Any) -> Carried:
        # Else XLA may compute parts of a gradient once more for its norm.
        velocity = jax.lax.optimization_barrier(flow.vector_field(clock, y.state))
        return Carried(velocity, flow.dissipation(y.state, velocity))

    return dfx.ODETerm(field)


def begun(fixed: tuple[AbstractFlow, dfx.AbstractSolver, tuple[AbstractEvent, ...]], paused: Paused) -> Paused:
    """The motion that starts at the state given; the numbers given are its end and tolerance.

    An event that holds at the start ends it there; UNDEFINED where Φ or the velocity is not finite.
    """
    flow, solver, events = fixed
    motion, terms, state = unpacked(paused), terms_of(flow), paused.state
    slope = terms.vf(motion.clock, motion.y, None)
    potential = flow.potential(state)
    field = lambda dt, y: flow.vector_field(motion.clock + dt, y)  # noqa: E731
    step = first_step(field, state, slope.state, error_order(solver, terms), motion.tolerance, motion.end)
    true = values(events, flow.problem, flow.parameters(state)) >= 0
    happened = jnp.any(true)
    finite = jnp.isfinite(potential) & is_finite(slope)
    motion = dataclasses.replace(
        motion,
        step=step,
        last_error=jnp.ones_like(step),
        event=jnp.where(happened, jnp.argmax(true), -1) if events else motion.event - 1,
        halt=jnp.where(finite, jnp.where(happened, AT_END, RUNNING), UNDEFINED),
        gradients=motion.gradients + 2,
        energy_scale=jnp.abs(potential),
    )
    return packed(mount(flow, solver, motion))


@functools.partial(Compiled, per_member=True)
def begin(fixed: tuple[AbstractFlow, dfx.AbstractSolver, tuple[AbstractEvent, ...]], paused: Paused) -> Paused:
    """The motion that starts at θ0, which is the state given; the numbers given are its end and tolerance."""
    # A copy even of what the flow passes on: a motion's buffers are reused in place.
    state = jax.tree.map(jnp.copy, fixed[0].initial_state(paused.state))
    return begun(fixed, paused._replace(state=state))


def to_begin(flow: AbstractFlow, fixed: Fixed, paused: Paused) -> Paused:
    """A single run that its first call begins: as `begin` returns it, but for its numbers and the solver's zero.

    A program of its own would take as long as several steps of a short run.
    """
    # What a solver keeps may be as large as the data.
    known = (fixed.static, paused.state.shape, *(x.shape for x in fixed.arrays))
    try:
        blank = _blank[known]
    except KeyError:
        # Not by one thread at a time: a loss may be traced that solves a flow of its own.
        blank = _zeros(begin.eval_shape(fixed, paused))
        with _one_at_a_time:
            while len(_blank) >= _MOST_BLANK:
                del _blank[next(iter(_blank))]
            _blank[known] = blank
    if blank is None:
        return begin(fixed, paused)
    numbers = np.concatenate([paused.numbers, blank.numbers[paused.numbers.size :]])
    return Paused(numbers, first_state(flow, paused), blank.solver_state, ())


def _zeros(like: Paused) -> Paused | None:
    if any(jnp.issubdtype(x.dtype, jax.dtypes.extended) for x in jax.tree.leaves(like)):
        return None
    return jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), like)


def first_state(flow: AbstractFlow, paused: Paused) -> PyTree:
    """The first state of the motion that starts at θ0, which is the state given."""
    is_theta = type(flow).initial_state is AbstractFlow.initial_state
    return paused.state if is_theta else _initial(Fixed(flow), paused)


@functools.partial(Compiled, per_member=True)
def _initial(fixed: tuple[AbstractFlow], paused: Paused) -> PyTree:
    return fixed[0].initial_state(paused.state)


def is_finite(y: Carried) -> Bool[Array, ""]:
    """Whether every number is, and the state's norm, which error tests need; not the energy's square, ‖g‖⁴."""
    return jnp.isfinite(two_norm(y.state)) & jnp.isfinite(y.dissipated)


@functools.partial(Compiled, per_member=True)
def change(fixed: tuple[AbstractFlow, dfx.AbstractSolver, tuple[AbstractEvent, ...]], paused: Paused) -> Paused:
    """The same motion carried on by another solver."""
    flow, solver, _ = fixed
    return packed(mount(flow, solver, unpacked(paused)))


def error_order(solver: dfx.AbstractSolver, terms: dfx.ODETerm) -> int:
    """The order k of the error estimate, e = O(h^k)."""
    order = solver.error_order(terms)
    assert isinstance(order, int)
    return order


def mount(flow: AbstractFlow, solver: dfx.AbstractSolver, motion: Motion) -> Motion:
    """The same motion begun, or carried on, by a solver that has no state yet."""
    solver_state = solver.init(terms_of(flow), motion.clock, motion.clock + motion.step, motion.y, None)
    gradients, products = work_of(solver, solver_state)
    return dataclasses.replace(
        motion,
        solver_state=solver_state,
        last_step=jnp.zeros_like(motion.step),
        gradients=motion.gradients + gradients,
        products=motion.products + products,
    )


def work_of(solver: dfx.AbstractSolver, state: PyTree) -> tuple[Any, Any]:
    """(gradients, products) as counted by the solver's state; zero where they are not known."""
    return solver.work(state) if isinstance(solver, AbstractFlowSolver) else (0, 0)
