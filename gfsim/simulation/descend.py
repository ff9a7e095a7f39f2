"""A descent in progress: its loop, what is kept, how it ends."""

import time
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree

from gfsim.dynamics.central import AbstractCentralFlow
from gfsim.dynamics.descent import AbstractDescent
from gfsim.placement import on_host
from gfsim.simulation.checkpoint import Checkpoint
from gfsim.simulation.events import AbstractEvent, values
from gfsim.simulation.outcome import Outcome
from gfsim.simulation.progress import LogTimeMeter
from gfsim.simulation.rows import Row, Rows, table
from gfsim.simulation.save import EveryStep, SaveAt

LONGEST_CHUNK = 1 << 20


class Walk(eqx.Module):
    """A descent between two calls of `advance`: the iterate, the one before it, and what was kept so far."""

    count: Int[Array, ""]
    state: PyTree
    previous: PyTree
    saved: Int[Array, ""]
    kept: Float[Array, "slots P"]
    happened: Bool[Array, " events"]


def _happened(descent: AbstractDescent, events: tuple[AbstractEvent, ...], state: PyTree) -> Bool[Array, " events"]:
    return values(events, descent.problem, descent.parameters(state)) >= 0


def _finite(descent: AbstractDescent, state: PyTree) -> Bool[Array, ""]:
    # A sum is finite only where every entry is; it overflows no earlier than the loss of such an iterate.
    return jnp.isfinite(jnp.sum(descent.parameters(state)))


@eqx.filter_jit
def begin(
    descent: AbstractDescent, events: tuple[AbstractEvent, ...], slots: Any, every: bool, theta0: Any
) -> tuple[Walk, Array]:
    """The walk at iterate 0, kept already where `every` one is, and whether loss and gradient are finite there."""

    def one(theta0: Array) -> tuple[Walk, Array]:
        state = descent.init(theta0)
        kept = jnp.zeros((slots.size, *theta0.shape), theta0.dtype)
        if every:
            kept = kept.at[0].set(descent.parameters(state))
        count = jnp.zeros((), int)
        walk = Walk(count, state, state, count + int(every), kept, _happened(descent, events, state))
        finite = jnp.isfinite(descent.problem.loss(theta0)) & jnp.all(jnp.isfinite(descent.problem.grad(theta0)))
        return walk, finite

    return jax.vmap(one)(theta0) if theta0.ndim == 2 else one(theta0)


@eqx.filter_jit(donate="all-except-first")
def advance(
    fixed: tuple[AbstractDescent, tuple[AbstractEvent, ...], bool, Int[Array, " slots"], Int[Array, ""]], walk: Walk
) -> Walk:
    """Step to iterate `stop`, keeping the iterates `marks`, or to an event or an iterate that is not finite.

    Two loops: the inner one only steps, so that a step costs what it costs in a bare loop; the outer one keeps. One
    loop that does both where `every` iterate is kept.
    """
    descent, events, every, marks, stop = fixed

    def going(walk: Walk) -> Bool[Array, ""]:
        return _finite(descent, walk.state) & ~jnp.any(walk.happened)

    def step(walk: Walk) -> Walk:
        state = descent.step(walk.count, walk.state)
        return Walk(walk.count + 1, state, walk.state, walk.saved, walk.kept, _happened(descent, events, state))

    def step_and_keep(walk: Walk) -> Walk:
        walk = step(walk)
        reached = _finite(descent, walk.state)
        slot = jnp.where(reached, walk.count, walk.kept.shape[0])
        kept = walk.kept.at[slot].set(descent.parameters(walk.state), mode="drop")
        return eqx.tree_at(lambda w: (w.kept, w.saved), walk, (kept, walk.saved + reached.astype(int)))

    def next_mark(walk: Walk) -> Int[Array, ""]:
        # Past the last mark there is none: the largest integer is never reached.
        return jnp.where(walk.saved < marks.size, marks[jnp.minimum(walk.saved, marks.size - 1)], jnp.iinfo(int).max)

    def stretch(walk: Walk) -> Walk:
        until = jnp.minimum(next_mark(walk), stop)
        walk = jax.lax.while_loop(lambda w: (w.count < until) & going(w), step, walk)
        reached = (walk.count == next_mark(walk)) & _finite(descent, walk.state)
        slot = jnp.where(reached, walk.saved, marks.size)
        kept = walk.kept.at[slot].set(descent.parameters(walk.state), mode="drop")
        return eqx.tree_at(lambda w: (w.kept, w.saved), walk, (kept, walk.saved + reached.astype(int)))

    def one(walk: Walk) -> Walk:
        if every:
            return jax.lax.while_loop(lambda w: going(w) & (w.count < stop), step_and_keep, walk)
        unfinished = lambda w: going(w) & ((w.count < stop) | (w.count == next_mark(w)))  # noqa: E731
        return jax.lax.while_loop(unfinished, stretch, walk)

    return jax.vmap(one)(walk) if walk.count.ndim == 1 else one(walk)


class DescentRun:
    """Advances a `Walk` to its end in chunks of steps."""

    def __init__(
        self,
        descent: AbstractDescent,
        theta0: Float[Array | np.ndarray, "*members P"],
        t1: float,
        max_steps: int,
        save: SaveAt | EveryStep | None,
        events: tuple[AbstractEvent, ...],
    ):
        self.dynamics = descent
        self.ensemble = theta0.ndim == 2
        self._events = events
        self._step_size = float(descent.step_size)
        wanted = max(1, round(t1 / self._step_size))
        self._last = min(wanted, max_steps)
        self._limited = self._last < wanted
        if isinstance(save, SaveAt):
            # Past the end there are none, and integers would not hold all of them.
            steps = np.rint(save.times / self._step_size)
            marks = np.unique(steps[steps <= self._last].astype(int))
        elif save is None:
            marks = np.array([0, self._last])
        else:
            marks = np.arange(self._last + 1)
        if not marks.size:
            marks = np.array([self._last])
        self._marks = jax.device_put(marks)
        self._every = isinstance(save, EveryStep)
        self.walk, finite = begin(descent, events, self._marks, self._every, theta0)
        self.start = np.array(on_host(theta0))
        if not np.all(on_host(finite)):
            raise ValueError("theta0 must have a finite loss and gradient, had infinity or NaN")

    def go(self, meter: LogTimeMeter, checkpoint: Checkpoint) -> None:
        """Step until every member has ended, from the checkpoint where there is one."""
        last, stop, chunk = self._last, 0, 1024
        if (stored := checkpoint.load()) is not None:
            notes, filled = stored
            stop, self.walk = notes["stop"], filled(self.walk)
        while stop < last and np.any(on_host(self.walk.count) == stop):
            stop = min(stop + chunk, last)
            fixed: Any = (self.dynamics, self._events, self._every, self._marks, np.asarray(stop))
            began = time.perf_counter()
            self.walk = advance(fixed, self.walk)
            meter.show(stop * self._step_size, int(np.max(on_host(self.walk.count))))
            if time.perf_counter() - began < 0.2:
                chunk = min(4 * chunk, LONGEST_CHUNK)
            if checkpoint.due():
                checkpoint.save({"stop": stop}, self.walk)
        checkpoint.save({"stop": stop}, self.walk)

    def outcomes(self) -> tuple[Outcome, ...]:
        """How each member ended."""
        finite = np.all(np.isfinite(self._theta(self.walk.state)), axis=-1)
        happened = on_host(self.walk.happened).reshape(finite.size, -1)
        return tuple(map(self._outcome, finite, happened))

    def _outcome(self, finite: bool, happened: np.ndarray) -> Outcome:
        if not finite:
            return Outcome.diverged
        if np.any(happened):
            return self._events[int(np.argmax(happened))].outcome
        return Outcome.max_steps if self._limited else Outcome.reached_end

    def account(self) -> dict[str, Any]:
        """The optimiser, its steps and gradients (None where a step costs more than one), summed over members."""
        steps = int(np.sum(on_host(self.walk.count)))
        gradients = None if isinstance(self.dynamics, AbstractCentralFlow) else steps
        return {"optimiser": type(self.dynamics).__name__, "steps": steps, "gradients": gradients}

    def rows(self) -> Rows:
        """The iterates kept."""
        marks, (saved, last) = (
            np.asarray(self._marks),
            map(np.atleast_1d, map(on_host, (self.walk.saved, self.walk.count))),
        )
        kept, start, end = on_host(self.walk.kept), np.atleast_2d(self.start), self._theta(self.walk.state)
        kept = kept if self.ensemble else kept[None]
        if np.any(overflowed := ~np.all(np.isfinite(end), axis=-1)):
            # An iterate that overflowed is no result: the one before it is.
            last = last - overflowed
            end = np.where(overflowed[:, None], self._theta(self.walk.previous), end)
        start_is_kept = bool(marks[0] == 0)
        # The start is a row of its own.
        first = int(start_is_kept)
        marks, kept, saved = (
            np.broadcast_to(marks, kept.shape[:2])[:, first:],
            kept[:, first:],
            np.maximum(saved - first, 0),
        )

        def row(counts: np.ndarray, theta: np.ndarray) -> Row:
            return Row(counts * self._step_size, theta, None)

        return table(row(np.zeros_like(last), start), row(marks, kept), saved, row(last, end), start_is_kept)

    def _theta(self, state: PyTree) -> Float[np.ndarray, "members P"]:
        parameters = jax.vmap(self.dynamics.parameters) if self.ensemble else self.dynamics.parameters
        return np.atleast_2d(on_host(parameters(state)))
