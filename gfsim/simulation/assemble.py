"""From the states that a run kept to its trajectory: what is computed of them after the solve."""

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from gfsim.dynamics.base import AbstractFlow
from gfsim.dynamics.descent import AbstractDescent
from gfsim.placement import on_host
from gfsim.problems.problem import Problem
from gfsim.simulation.compiled import Compiled, Fixed
from gfsim.simulation.descend import DescentRun
from gfsim.simulation.lapack import factorises
from gfsim.simulation.run import Run
from gfsim.simulation.trajectory import Trajectory
from gfsim.types import Theta

Observable = Callable[[Problem, Theta], Array]

# Rows that are measured in one call: those of a run that keeps its ends, and others.
ENDS, BLOCKS = 2, (32768, 1024, 16, 1)
# Numbers in a block of rows, 16 MB; a single row may be longer.
LARGEST_BLOCK = 2**21


class _Measured(NamedTuple):
    """What is computed of a kept state."""

    theta: Any
    log_t: Array
    potential: Array
    conserved: Array | None
    observed: dict[str, Array]


@Compiled
def _measure(
    fixed: tuple[AbstractFlow | AbstractDescent, dict[str, Observable]], clock: Array, states: Any
) -> _Measured:
    dynamics, observers = fixed
    problem = dynamics.problem

    def one(row: tuple[Array, Any]) -> _Measured:
        clock, state = row
        if isinstance(dynamics, AbstractFlow):
            theta, log_t = dynamics.parameters(state), dynamics.log_time(clock, state)
            potential = dynamics.potential(state)
        else:
            theta, log_t, potential = state, jnp.log(clock), problem.loss(state)
        observed = {name: jnp.asarray(f(problem, theta)) for name, f in observers.items()}
        return _Measured(theta, log_t, potential, problem.balancedness(theta), observed)

    # Several rows at a time where parameters are few; a Hessian observable then stays within some 100 MB. A power of
    # two, as the blocks are: a rest would be compiled a second time.
    at_once = 1 << max(0, 14 - (problem.size - 1).bit_length())
    if jax.default_backend() == "cpu" and factorises(one, jax.tree.map(lambda x: x[0], (clock, states))):
        at_once = 1
    return jax.lax.map(one, (clock, states), batch_size=at_once)


def _measure_in_blocks(
    dynamics: AbstractFlow | AbstractDescent, observers: Mapping[str, Observable], rows: tuple[np.ndarray, Any]
) -> _Measured:
    """`_measure` of any number of rows, in blocks of few sizes: runs of different lengths share their compilation.

    Of two rows it is not waited for, and θ stays where it was computed, which is where it is wanted: to bring it back
    takes as long as many steps.
    """
    total, fixed = rows[0].shape[0], Fixed(dynamics, observers)
    fitting = LARGEST_BLOCK // dynamics.problem.size
    allowed = [size for size in BLOCKS[:-1] if size <= fitting] or BLOCKS[-1:]
    if total == ENDS and allowed != BLOCKS[-1:]:
        return _measure(fixed, *rows)
    pieces, start = [], 0
    while start < total:
        block = next((size for size in allowed if size <= total - start), allowed[-1])
        own = jax.tree.map(lambda x: _padded(x[start : start + block], block), rows)  # noqa: B023
        pieces.append(jax.tree.map(on_host, _measure(fixed, *own)))
        start += block
    return jax.tree.map(lambda *x: np.concatenate(x)[:total], *pieces)


def _padded(array: np.ndarray, length: int) -> np.ndarray:
    missing = length - array.shape[0]
    return np.concatenate([array, np.repeat(array[-1:], missing, axis=0)]) if missing else array


def assembled(
    run: Run | DescentRun,
    observers: Mapping[str, Observable],
    began: float,
    companion: Callable[[Trajectory], Trajectory] | None,
) -> Trajectory:
    """The trajectory of a run that began at `began` of `time.perf_counter`."""
    start_is_kept, sizes, table = run.rows()
    count, longest = table.clock.shape
    # One after the other, each as long as the longest.
    flat = lambda x: x.reshape(count * longest, *x.shape[2:])  # noqa: E731
    clock, states = flat(table.clock), jax.tree.map(flat, table.state)
    measured = _measure_in_blocks(run.dynamics, observers, (clock, states))
    outcomes, account = run.outcomes(), run.account()
    first = 0 if start_is_kept else 1

    def kept(rows: Any) -> np.ndarray:
        rows = on_host(rows).reshape(count, longest, *rows.shape[1:])[:, first:]
        return rows if run.ensemble else rows[0]

    theta = measured.theta
    if run.ensemble or first or not isinstance(theta, jax.Array):
        theta = jax.device_put(kept(theta))
    log_t, potential = kept(measured.log_t), kept(measured.potential)

    def at_start(rows: Any) -> np.ndarray | None:
        if rows is None:
            return None
        return on_host(rows)[::longest] if run.ensemble else np.asarray(on_host(rows)[0])

    stats = {**account, "seconds": time.perf_counter() - began}
    trajectory = Trajectory(
        t=kept(clock),
        log_t=log_t,
        theta=theta,
        observed={name: kept(values) for name, values in measured.observed.items()},
        valid=(np.arange(longest) < sizes[:, None])[:, first:] if run.ensemble else np.ones(longest - first, bool),
        potential=potential,
        dissipated=None if table.dissipated is None else kept(flat(table.dissipated)),
        conserved=None if measured.conserved is None else kept(measured.conserved),
        start={"potential": at_start(measured.potential), "conserved": at_start(measured.conserved)},
        outcome=outcomes if run.ensemble else outcomes[0],
        stats=stats,
        companion=None if companion is None else lambda: companion(trajectory),
    )
    for name in ("energy_residual", "invariant_drift"):
        if (violation := getattr(trajectory, name)) is not None:
            stats[name] = float(np.max(np.abs(violation)))
    return trajectory
