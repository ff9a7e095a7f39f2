"""What is computed of the states that a run kept: parameters, physical time, potential, conserved quantities, and what
is observed."""

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
from gfsim.simulation.lapack import factorises
from gfsim.simulation.motion import Paused
from gfsim.types import Theta

Observable = Callable[[Problem, Theta], Array]

# Rows in a block, which is measured in one call: those of a run that keeps its ends, and others.
ENDS, BLOCKS = 2, (32768, 1024, 16)
# Numbers in a block of rows, 16 MB; a single row may be longer.
LARGEST_BLOCK = 2**21


class Measured(NamedTuple):
    """What is computed of a kept state."""

    theta: Any
    log_t: Array
    potential: Array
    conserved: Array | None
    observed: dict[str, Array]


def few(size: int, rows: int = BLOCKS[-1]) -> bool:
    """Whether so many rows of `size` parameters make a block."""
    return rows * size <= LARGEST_BLOCK


def _measured(
    dynamics: AbstractFlow | AbstractDescent, observers: Mapping[str, Observable], clock: Array, states: Any
) -> Measured:
    problem = dynamics.problem

    def one(row: tuple[Array, Any]) -> Measured:
        clock, state = row
        if isinstance(dynamics, AbstractFlow):
            theta, log_t = dynamics.parameters(state), dynamics.log_time(clock, state)
            potential = dynamics.potential(state)
        else:
            theta, log_t, potential = state, jnp.log(clock), problem.loss(state)
        observed = {name: jnp.asarray(f(problem, theta)) for name, f in observers.items()}
        return Measured(theta, log_t, potential, problem.balancedness(theta), observed)

    # Several rows at a time where parameters are few; a Hessian observable then stays within some 100 MB. A power of
    # two, as the blocks are: a rest would be compiled a second time.
    at_once = 1 << max(0, 14 - (problem.size - 1).bit_length())
    if jax.default_backend() == "cpu" and factorises(one, jax.tree.map(lambda x: x[0], (clock, states))):
        at_once = 1
    return jax.lax.map(one, (clock, states), batch_size=at_once)


@Compiled
def _measure(
    fixed: tuple[AbstractFlow | AbstractDescent, dict[str, Observable]], clock: Array, states: Any
) -> Measured:
    return _measured(*fixed, clock, states)


class Ends(NamedTuple):
    """What is computed of the two ends of a run: of each its θ and, `numbers`, its log t and potential."""

    theta: Any
    numbers: Array
    conserved: Array | None


@Compiled
def measure_ends(fixed: tuple[AbstractFlow, dict[str, Observable]], theta0: Theta, end: Paused) -> Ends:
    """What is computed of the start of a single run and of where it is."""
    clock, start = end.number("clock"), fixed[0].initial_state(theta0)
    states = jax.tree.map(lambda *x: jnp.stack(x), start, end.state)
    rows = _measured(*fixed, jnp.stack([jnp.zeros_like(clock), clock]), states)
    # Together, since to fetch an array takes as long as a step.
    return Ends(rows.theta, jnp.stack([rows.log_t, rows.potential]), rows.conserved)


def measure(
    dynamics: AbstractFlow | AbstractDescent, observers: Mapping[str, Observable], rows: tuple[np.ndarray, Any]
) -> Measured:
    """What is computed of any number of rows, in blocks of few sizes: runs of different lengths share their
    compilation."""
    total, fixed, size = rows[0].shape[0], Fixed(dynamics, observers), dynamics.problem.size
    sizes = (ENDS,) if total == ENDS else BLOCKS
    allowed = [block for block in sizes if few(size, block)] or [1]
    pieces, start = [], 0
    while start < total:
        # A block that is three quarters full costs less than many small ones.
        block = next((block for block in allowed if 3 * block <= 4 * (total - start)), allowed[-1])
        own = jax.tree.map(lambda x: _padded(x[start : start + block], block), rows)  # noqa: B023
        pieces.append(jax.tree.map(on_host, _measure(fixed, *own)))
        start += block
    return jax.tree.map(lambda *x: np.concatenate(x)[:total], *pieces)


def _padded(array: np.ndarray, length: int) -> np.ndarray:
    missing = length - array.shape[0]
    return np.concatenate([array, np.repeat(array[-1:], missing, axis=0)]) if missing else array
