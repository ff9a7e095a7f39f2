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
    """`_measure` of any number of rows, in blocks of few sizes: runs of different lengths share their compilation."""
    total, fixed = rows[0].shape[0], Fixed(dynamics, observers)
    fitting = LARGEST_BLOCK // dynamics.problem.size
    allowed = [size for size in BLOCKS[:-1] if size <= fitting] or BLOCKS[-1:]
    if total == ENDS and allowed != BLOCKS[-1:]:
        # θ stays where it was computed, which is where it is wanted: to bring it back takes as long as many steps.
        measured = _measure(fixed, *rows)
        return jax.tree.map(on_host, measured._replace(theta=None))._replace(theta=measured.theta)
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
    clock, states, dissipated = jax.tree.map(lambda x: x.reshape(count * longest, *x.shape[2:]), table)
    measured = _measure_in_blocks(run.dynamics, observers, (clock, states))
    first = 0 if start_is_kept else 1

    def kept(rows: np.ndarray) -> np.ndarray:
        return rows.reshape(count, longest, *rows.shape[1:])[:, first:] if run.ensemble else rows[first:]

    theta = measured.theta
    if run.ensemble or first or not isinstance(theta, jax.Array):
        theta = jax.device_put(kept(on_host(theta)))
    t, rows, energies = jax.tree.map(kept, (clock, measured._replace(theta=None), dissipated))

    def at_start(rows: Any) -> np.ndarray | None:
        return None if rows is None else rows[::longest] if run.ensemble else np.asarray(rows[0])

    outcomes = run.outcomes()
    stats = {**run.account(), "seconds": time.perf_counter() - began}
    trajectory = Trajectory(
        t=t,
        log_t=rows.log_t,
        theta=theta,
        observed=rows.observed,
        valid=(np.arange(longest) < sizes[:, None])[:, first:] if run.ensemble else np.ones(longest - first, bool),
        potential=rows.potential,
        dissipated=energies,
        conserved=rows.conserved,
        start={"potential": at_start(measured.potential), "conserved": at_start(measured.conserved)},
        outcome=outcomes if run.ensemble else outcomes[0],
        stats=stats,
        companion=None if companion is None else lambda: companion(trajectory),
    )
    for name in ("energy_residual", "invariant_drift"):
        if (violation := getattr(trajectory, name)) is not None:
            stats[name] = float(np.max(np.abs(violation)))
    return trajectory
