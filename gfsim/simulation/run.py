"""A run in progress: which solver steps, what is kept, how it ends."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any

import diffrax as dfx
import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Float

from gfsim.dynamics.base import AbstractFlow
from gfsim.placement import on_host, placed, placement, with_rows
from gfsim.simulation import choice, integrate
from gfsim.simulation.checkpoint import Checkpoint
from gfsim.simulation.events import AbstractEvent
from gfsim.simulation.integrate import Carried, Kept, Motion
from gfsim.simulation.outcome import Outcome
from gfsim.simulation.progress import LogTimeMeter
from gfsim.simulation.save import EveryStep, SaveAt
from gfsim.simulation.step_control import Tolerance
from gfsim.solvers.chebyshev import RKC
from gfsim.solvers.choose import OFFERED, Chooser
from gfsim.solvers.spectral_radius import generic_direction

EVERY_STEP_SLOTS = 256
LONGEST_CHUNK = 4096
# Attempts between two looks at whether a planned change of solver is due.
OFTEN = 16
# Attempts between two looks at how many members of an ensemble still run. When no more than this share of those carried
# along do, they go on alone: each new size compiles once, which only long runs repay.
COMPACT_EVERY = 2048
COMPACT_BELOW = 0.25


@eqx.filter_jit
def _over_members(function: Callable, ensemble: bool, shared: Any, *mapped: Any) -> Any:
    """function(*shared, *mapped), vmapped over the leading axis of `mapped` in an ensemble."""
    f = lambda *m: function(*shared, *m)  # noqa: E731
    return jax.vmap(f)(*mapped) if ensemble else f(*mapped)


class Run:
    """Advances a `Motion` to its end in chunks, between which the host looks at it."""

    def __init__(
        self,
        flow: AbstractFlow,
        theta0: Float[Array, "*members P"],
        t1: Float[np.ndarray, "*members"],
        save: SaveAt | EveryStep | None,
        events: tuple[AbstractEvent, ...],
        tolerance: Tolerance,
        solver: dfx.AbstractSolver | None,
        repeating: Sequence[tuple[float, str]] = (),
    ):
        """`repeating` names the solvers of an earlier run and the clock from which it used each."""
        self.dynamics = flow
        self.events = events
        self.ensemble = theta0.ndim == 2
        self._save = save
        self._chooser: Chooser | None = None
        # What is still to be changed to, and when.
        self._planned = [(clock, choice.prepared(OFFERED[name](), flow, tolerance)) for clock, name in repeating]
        if self._planned:
            _, self.solver = self._planned.pop(0)
        elif solver is not None:
            self.solver = choice.prepared(solver, flow, tolerance)
        else:
            self._chooser = choice.chooser(flow, theta0, tolerance)
            self.solver = self._chooser.solver
        self.used = [(0.0, type(self.solver).__name__)]
        self._direction: Any = None
        self._looking_products = 0

        members = theta0.shape[:-1]
        tolerance = Tolerance(jax.device_put(np.broadcast_to(np.asarray(tolerance.rtol), members)), tolerance.atol)
        self.motion: Motion
        self.motion, start, finite, self._true_at_start = self._each(
            integrate.begin, (flow, self.solver, events), tolerance, theta0, t1
        )
        # A copy on the host: the motion's buffers are reused in place.
        self._start: Any = jax.tree.map(lambda x: np.array(on_host(x)), start)
        if not np.all(on_host(finite)):
            which = "" if not self.ensemble else f" for members {np.flatnonzero(~on_host(finite))[:5].tolist()}"
            raise ValueError(f"theta0 must have a finite loss and gradient, had infinity or NaN{which}")
        self._outcomes = dict.fromkeys(np.ndindex(members), Outcome.reached_end)
        self._width = members[0] if members else 1
        self._begin_keeping(members)

    def _each(self, function: Callable, shared: Any, *mapped: Any) -> Any:
        return _over_members(function, self.ensemble, shared, *mapped)

    def _begin_keeping(self, members: tuple[int, ...]) -> None:
        self._flushed: list[tuple[np.ndarray, np.ndarray, Carried]] = []
        self._times: np.ndarray | None = None
        slots = 1
        if isinstance(self._save, SaveAt):
            self._times = self._save.times
            slots = self._times.size
        elif self._save is None:
            # No time is ever due: one slot that stays empty.
            self._times = np.array([np.inf])
        else:
            slots = EVERY_STEP_SLOTS

        lead = len(members)
        clock = np.zeros((*members, slots))
        y = jax.tree.map(lambda x: np.zeros((*members, slots, *x.shape[lead:]), x.dtype), self._start)
        if self._times is not None and self._times[0] == 0.0:
            first = (slice(None), 0) if self.ensemble else (0,)
            jax.tree.map(lambda rows, x: rows.__setitem__(first, x), y, self._start)
            self._set(saved=np.ones(members, int))
        place = lambda rows, x: placed(rows, with_rows(placement(x), lead))  # noqa: E731
        self.kept = Kept(place(clock, self.motion.clock), jax.tree.map(place, y, self.motion.y))

    def go(self, max_steps: int, meter: LogTimeMeter, checkpoint: Checkpoint) -> None:
        """Advance until every member has ended, from the checkpoint where there is one."""
        self._end_where_true_at_start()
        self._taken, chunk = 0, 64
        self._mark = self._marks()
        self._resume(checkpoint)
        while np.any(self._running()) and self._taken < max_steps:
            look_at = self._chooser.next_look if self._chooser else max_steps
            budget = min(chunk, max_steps - self._taken, max(1, look_at - self._taken))
            if self._planned:
                budget = min(budget, OFTEN)
            if self.ensemble:
                budget = min(budget, COMPACT_EVERY - self._taken % COMPACT_EVERY)
            began = time.perf_counter()
            before = self._attempts()
            self._advance(budget)
            self._taken += int(np.max(self._attempts() - before, initial=1))
            # Chunks of about a fifth of a second keep the meter alive without costing throughput.
            if time.perf_counter() - began < 0.2:
                chunk = min(2 * chunk, LONGEST_CHUNK)
            self._end_at_events()
            running = self._running()
            # Decided by counts alone, never by time: a run that resumes must do the same.
            if self.ensemble and self._taken % COMPACT_EVERY == 0 and np.sum(running) <= COMPACT_BELOW * self._width:
                self._width = max(1, int(np.sum(running)))
            meter.show(float(np.min(on_host(self.motion.clock))), self._taken)
            if self._chooser and self._taken >= self._chooser.next_look and np.any(running):
                self._look(self._taken, self._mark)
                self._mark = self._marks()
            if self._planned and self._typical(on_host(self.motion.clock)) >= self._planned[0][0]:
                _, solver = self._planned.pop(0)
                self._change_to(solver)
            if checkpoint.due():
                self._store(checkpoint)
        self._close()
        self._store(checkpoint)

    # Checkpoints hold all that changes between two chunks; everything else follows from the arguments of the run.

    def _store(self, checkpoint: Checkpoint) -> None:
        notes = {
            "taken": self._taken,
            "used": self.used,
            "chooser": self._chooser.notes() if self._chooser else None,
            "products": self._looking_products,
            "outcomes": list(self._outcomes.values()),
            "flushed": len(self._flushed),
            "looked": self._direction is not None,
            "width": self._width,
        }
        checkpoint.save(notes, (self.motion, self.kept, self._mark, self._direction, self._flushed))

    def _resume(self, checkpoint: Checkpoint) -> None:
        if (stored := checkpoint.load()) is None:
            return
        notes, filled = stored
        self._taken, self.used, self._looking_products = notes["taken"], notes["used"], notes["products"]
        if self._chooser:
            self._chooser.recall(notes["chooser"])
            if self.solver is not self._chooser.solver:
                self._carry_on_with(self._chooser.solver)
        self._outcomes = dict(zip(self._outcomes, map(Outcome, notes["outcomes"]), strict=True))
        self._width = notes["width"]
        direction = self._each(generic_direction, (), self.motion.y.state) if notes["looked"] else None
        counts = np.zeros(self.motion.clock.shape, int)
        flush = (counts, np.array(self.kept.clock), jax.tree.map(np.array, self.kept.y))
        like = (self.motion, self.kept, self._mark, direction, [flush] * notes["flushed"])
        self.motion, self.kept, self._mark, self._direction, self._flushed = filled(like)

    def _carry_on_with(self, solver: dfx.AbstractSolver) -> None:
        self.solver = solver
        self._set(solver_state=None)
        self.motion = self._each(integrate.mount, (self.dynamics, solver), self.motion)

    def _change_to(self, solver: dfx.AbstractSolver) -> None:
        self._carry_on_with(solver)
        self.used.append((self._typical(on_host(self.motion.clock)), type(solver).__name__))

    def _attempts(self) -> np.ndarray:
        return np.asarray(on_host(self.motion.accepted) + on_host(self.motion.rejected))

    def _running(self) -> np.ndarray:
        return np.asarray(on_host(self.motion.halt) == integrate.RUNNING)

    def _advance(self, budget: int) -> None:
        fixed: Any = (self.dynamics, self.solver, self.events, self._times, np.asarray(budget))
        before = on_host(self.motion.saved)
        count = self.motion.halt.size
        if not self.ensemble:
            self.motion, self.kept = integrate.advance((*fixed, None), self.motion, self.kept)
        elif self._width == count:
            everyone: Any = np.arange(count)
            self.motion, self.kept = integrate.advance((*fixed, everyone), self.motion, self.kept)
        else:
            members: Any = np.full(self._width, count)
            running = np.flatnonzero(self._running())
            members[: running.size] = running
            some = integrate.pick(self.motion, members)
            some, self.kept = integrate.advance((*fixed, members), some, self.kept)
            self.motion = integrate.put((some, members), self.motion)
        if self._times is None:
            counts = on_host(self.motion.saved) - before
            copied = jax.tree.map(lambda x: np.array(on_host(x)), self.kept)
            self._flushed.append((counts, copied.clock, copied.y))

    def _end_where_true_at_start(self) -> None:
        true = on_host(self._true_at_start)
        if not np.any(true):
            return
        halt = np.array(on_host(self.motion.halt))
        for member in np.ndindex(halt.shape):
            if np.any(true[member]):
                self._outcomes[member] = self.events[int(np.argmax(true[member]))].outcome
                halt[member] = integrate.AT_END
        self._set(halt=halt)

    def _end_at_events(self) -> None:
        """Give members that halted before an event a last step that ends on it."""
        halt = np.array(on_host(self.motion.halt))
        waiting = halt == integrate.AT_EVENT
        if not np.any(waiting):
            return
        clock, which = self._each(integrate.locate, (self.dynamics, self.solver, self.events), self.motion)
        for member in np.ndindex(halt.shape):
            if waiting[member]:
                self._outcomes[member] = self.events[int(on_host(which)[member])].outcome
        halt[waiting] = integrate.RUNNING
        self._set(
            halt=halt,
            end=np.where(waiting, on_host(clock), on_host(self.motion.end)),
            watching=on_host(self.motion.watching) & ~waiting,
        )

    def _set(self, **changes: Any) -> None:
        self.motion = dataclasses.replace(self.motion, **jax.device_put(changes))

    def _close(self) -> None:
        """Name how each member that no event ended came to its end."""
        halt = on_host(self.motion.halt)
        stopped = np.isin(halt, (integrate.STALLED, integrate.DIVERGED))
        blown = np.zeros_like(stopped)
        if np.any(stopped):
            blown = on_host(self._each(integrate.explodes, (self.dynamics,), self.motion))
        for member in np.ndindex(halt.shape):
            if halt[member] == integrate.RUNNING:
                self._outcomes[member] = Outcome.max_steps
            elif stopped[member]:
                diverged = halt[member] == integrate.DIVERGED or blown[member]
                self._outcomes[member] = Outcome.diverged if diverged else Outcome.stalled

    # The choice of solver.

    def _marks(self) -> dict[str, np.ndarray]:
        m = self.motion
        return {
            "clock": np.array(on_host(m.clock)),
            "work": on_host(m.gradients) + 2 * on_host(m.products),
            "steps": np.array(on_host(m.accepted)),
            "tried": self._attempts(),
        }

    def _typical(self, values: Any) -> float:
        """The median over the members that run, or over all where none does."""
        running = self._running()
        return float(np.median(np.asarray(values)[running] if np.any(running) else values))

    def _look(self, attempts: int, marks: dict[str, np.ndarray]) -> None:
        """Let the chooser see the typical running member."""
        assert self._chooser is not None
        now = self._marks()
        moved = {name: value - marks[name] for name, value in now.items()}
        # At its stability limit an explicit method's steps grow and are cut in turn: the last one alone may be any.
        step = np.maximum(on_host(self.motion.last_step), moved["clock"] / np.maximum(moved["steps"], 1))
        if isinstance(self.solver, RKC):
            rate = self.motion.solver_state.radius
        else:
            first = self._direction is None
            if first:
                self._direction = self._each(generic_direction, (), self.motion.y.state)
            rate, self._direction, count = self._each(
                choice.stiffness, (self.dynamics, np.asarray(30 if first else 5)), self.motion, self._direction
            )
            self._looking_products += int(np.sum(on_host(count)))
        changed = self._chooser.look(
            attempts,
            tried=int(self._typical(moved["tried"])),
            span=self._typical(moved["clock"]),
            step=self._typical(step),
            work=int(self._typical(moved["work"])),
            decay=self._typical(on_host(rate)),
            remaining=self._typical(on_host(self.motion.end) - now["clock"]),
        )
        if changed:
            self._change_to(self._chooser.solver)

    @property
    def start(self) -> Any:
        """The flow's state at clock 0."""
        return self._start.state

    def outcomes(self) -> tuple[Outcome, ...]:
        """How each member ended."""
        return tuple(self._outcomes.values())

    def account(self) -> dict[str, Any]:
        """Solver and reason; accepted and rejected steps, gradients and Hessian products, summed over members."""
        total = lambda x: int(np.sum(on_host(x)))  # noqa: E731
        m = self.motion
        known = integrate.work_is_known(self.solver)
        return {
            "solver": " → ".join(name for _, name in self.used),
            "reason": self._chooser.reason if self._chooser else "asked for",
            "steps": total(m.accepted),
            "rejected": total(m.rejected),
            "gradients": total(m.gradients) if known else None,
            "hessian_products": total(m.products) + self._looking_products if known else None,
        }

    def rows(self) -> list[tuple[np.ndarray, Any, np.ndarray]]:
        """Clock, states and dissipated energy of every kept row, one entry per member."""
        end, kept = jax.tree.map(on_host, ((self.motion.clock, self.motion.y, self.motion.saved), self.kept))
        return [self._member_rows(member, kept, *end) for member in np.ndindex(self.motion.clock.shape)]

    def _member_rows(
        self, member: tuple[int, ...], kept: Any, end: np.ndarray, at_end: Any, saved: np.ndarray
    ) -> tuple[np.ndarray, Any, np.ndarray]:
        def own(tree: Any, rows: slice | None = None) -> Any:
            where = member if rows is None else (*member, rows)
            return jax.tree.map(lambda x: x[where], tree)

        pieces: list[tuple[np.ndarray, Carried]] = []
        if not isinstance(self._save, SaveAt):
            pieces.append((np.zeros(1), jax.tree.map(lambda x: x[None], own(self._start))))
        if isinstance(self._save, EveryStep):
            for counts, clock, y in self._flushed:
                rows = slice(int(counts[member]))
                pieces.append((own(clock, rows), own(y, rows)))
        else:
            rows = slice(int(saved[member]))
            pieces.append((own(kept.clock, rows), own(kept.y, rows)))
        clock = np.concatenate([c for c, _ in pieces])
        last = own(end)
        if clock.size == 0 or clock[-1] != last:
            pieces.append((last[None], jax.tree.map(lambda x: x[None], own(at_end))))
            clock = np.concatenate([clock, last[None]])
        y = jax.tree.map(lambda *leaves: np.concatenate(leaves), *[y for _, y in pieces])
        return clock, y.state, y.dissipated
