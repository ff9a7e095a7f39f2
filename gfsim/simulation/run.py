"""A run in progress: which solver steps, what is kept, how it ends."""

import functools
import sys
import time
from collections.abc import Sequence
from typing import Any

import diffrax as dfx
import jax
import numpy as np
from jaxtyping import Array, Float

from gfsim.dynamics.base import AbstractFlow
from gfsim.placement import on_host, placement
from gfsim.simulation import choice, integrate, starting
from gfsim.simulation.checkpoint import Checkpoint
from gfsim.simulation.compiled import Fixed
from gfsim.simulation.events import AbstractEvent
from gfsim.simulation.lanes import Shares
from gfsim.simulation.measure import Ends, few, measure_ends
from gfsim.simulation.motion import COLUMNS, Kept, Paused, empty, unpacked
from gfsim.simulation.outcome import Outcome
from gfsim.simulation.progress import LogTimeMeter
from gfsim.simulation.rows import Row, Rows, by_member, ends, one_after_another, table
from gfsim.simulation.save import EveryStep, SaveAt
from gfsim.simulation.step_control import Tolerance
from gfsim.solvers.base import AbstractFlowSolver
from gfsim.solvers.chebyshev import RKC
from gfsim.solvers.choose import OFFERED, WORTHWHILE, Chooser
from gfsim.solvers.explicit import Explicit

EVERY_STEP_SLOTS = 256
LONGEST_CHUNK = 4096
# Parameters times samples that one call passes through in an ensemble, some two seconds of work; no step takes less
# than the least. A count, since what members are stepped together may not depend on the machine's pace.
WORK_OF_CALL, LEAST_WORK = 2**28, 2**11
# Share of its stability limit at which a step of an explicit method must have felt the stiffest mode for a look to
# measure it: a measurement costs some products, and a program of its own.
SUSPECT = 0.2
# Attempts between two looks at whether a planned change of solver is due.
OFTEN = 16
# Running members of an ensemble whose stiffness is measured; those between are as the median of these.
SAMPLE = 15
# Attempts between two looks at how many members of an ensemble still run.
NARROW_EVERY = 2048
_NEVER = np.zeros(0)
_ONE = np.zeros((), int)


class Run:
    """Advances a motion to its end in chunks, between which the host looks at it."""

    def __init__(
        self,
        flow: AbstractFlow,
        theta0: Float[Array | np.ndarray, "*members P"],
        t1: float | Float[np.ndarray, "*members"],
        save: SaveAt | EveryStep | None,
        events: tuple[AbstractEvent, ...],
        tolerance: Tolerance,
        solver: dfx.AbstractSolver | None,
        repeating: Sequence[tuple[float, str]] = (),
        observed: bool = False,
    ):
        """`repeating` names the solvers of an earlier run and the clock from which it used each; `observed` is whether
        observables are to be computed of what it keeps."""
        self._max_steps = sys.maxsize
        self.dynamics = flow
        self.events = events
        self.ensemble = theta0.ndim == 2
        self._save = save
        self._tolerance = tolerance
        self._chooser: Chooser | None = None
        # What is still to be changed to, and when.
        self._planned = list(repeating)
        if self._planned:
            solver = OFFERED[self._planned.pop(0)[1]]()
        elif solver is None:
            self._chooser = choice.chooser(flow, theta0, tolerance)
            solver = choice.made(self._chooser.solver)
        self.used = [(0.0, self._chooser.solver.__name__ if self._chooser else type(solver).__name__)]
        self._mount(solver)
        self._seen: tuple[np.ndarray, Any] | None = None
        self._looking_products = 0
        # Two ends that are all a run keeps are measured behind each call, which the host waits for anyway.
        alone = not self.ensemble and placement(theta0) is None
        self._measures_ends = alone and save is None and not observed and few(theta0.size)
        self.measured: Ends | None = None
        # The first call takes over the memory of an array of JAX, though another may still need it.
        start = on_host(theta0) if alone else theta0
        self._start = Paused.start(start, end=t1, rtol=tolerance.rtol, atol=tolerance.atol)
        self._numbers = np.asarray(self._start.numbers)
        if alone:
            # It begins in its first call; until that has ended it counts as one that has done nothing.
            self.motion = starting.to_begin(flow, self._fixed, self._start)
        else:
            self.motion = starting.begin(self._fixed, self._start)
            self._fetch_numbers()
        # Members spread over devices are stepped all together.
        self._shares = self._cut() if self.ensemble and placement(theta0) is None else None
        self._begin_keeping(theta0.shape[:-1])

    def _cut(self) -> Shares:
        """How members share the machine in steps of this solver."""
        members, size = self._number("clock").size, self.dynamics.problem.size
        one = jax.tree.map(lambda x: on_host(x)[0], self.motion.state)
        return Shares(members, size, alone=choice.factorises_steps(self._fixed, self.solver, one))

    def _fetch_numbers(self) -> None:
        # A copy: a call may take over the memory of an array of JAX.
        self._numbers = np.array(on_host(self.motion.numbers))
        self.motion = self.motion._replace(numbers=self._numbers)
        if np.count_nonzero(undefined := self._number("halt") == starting.UNDEFINED):
            which = "" if not self.ensemble else f" for members {np.flatnonzero(undefined)[:5].tolist()}"
            raise ValueError(f"theta0 must have a finite loss and gradient, had infinity or NaN{which}")

    def _number(self, name: str) -> Any:
        """A number of the motion, as the host knows it; of a single run NumPy's scalar, quicker than its arrays."""
        return self._numbers.T[COLUMNS.index(name)]

    def _own_numbers(self) -> np.ndarray:
        """Those of the motion, without its solver's."""
        return self._numbers[..., : len(COLUMNS)]

    def _mount(self, solver: dfx.AbstractSolver) -> None:
        self.solver = choice.prepared(solver, self.dynamics, self._tolerance)
        self._fixed = Fixed(self.dynamics, self.solver, self.events)

    @property
    def _keeps_ends_alone(self) -> bool:
        return self._times is not None and not self._times.size

    def _begin_keeping(self, members: tuple[int, ...]) -> None:
        self._flushed: list[tuple[np.ndarray, Kept]] = []
        # The start is not among what is kept: it is known.
        self._times: np.ndarray | None = None
        if isinstance(self._save, SaveAt):
            self._times = self._save.times[self._save.times > 0]
        elif self._save is None:
            self._times = _NEVER
        if self._keeps_ends_alone:
            # Arrays without a slot would cost as much in a call as others.
            self._kept: list[Kept | None] = [None] * (len(self._shares.slices) if self._shares else 1)
            return
        slots = EVERY_STEP_SLOTS if self._times is None else self._times.size
        states = self._shares.parts(self.motion.state) if self._shares else [self.motion.state]
        self._kept = [empty(state, len(members), slots) for state in states]

    def go(self, max_steps: int, meter: LogTimeMeter, checkpoint: Checkpoint) -> None:
        """Advance until every member has ended, from the checkpoint where there is one."""
        # An ensemble's calls are as long as its work says: with whom a member is stepped is the same after a resume.
        self._taken, chunk = 0, LONGEST_CHUNK if self.ensemble else 64
        self._max_steps = max_steps
        self._mark = self._own_numbers()
        self._resume(checkpoint)
        running = self._running()
        # Counted rather than asked for `any`: of one number that is quicker.
        while np.count_nonzero(running):
            budget = chunk
            if self._times is None:
                # With what it may have to spare a call fills no more than its slots.
                budget = min(budget, EVERY_STEP_SLOTS - WORTHWHILE)
            if self._chooser:
                budget = min(budget, max(1, self._chooser.next_look - self._taken))
            if self._planned:
                budget = min(budget, OFTEN)
            if self.ensemble:
                budget = min(budget, self._attempts_of_call(running), NARROW_EVERY - self._taken % NARROW_EVERY)
            # Near its end a run is not looked at: no change would be repaid. Where a call ends for another reason than
            # a look, it ends after as many attempts as it is given, whatever the machine's pace made of them.
            look = self._chooser and self._chooser.settled and budget == self._chooser.next_look - self._taken
            began = time.perf_counter()
            before = self._attempts()
            self._advance(budget, WORTHWHILE if look else 0)
            # Those that are near their ends may have made more, which are not the others' own.
            self._taken += min(budget, max(1, int((self._attempts() - before).max())))
            # Chunks of about a fifth of a second keep the meter alive without costing throughput.
            if time.perf_counter() - began < 0.2:
                chunk = min(2 * chunk, LONGEST_CHUNK)
            running = self._running()
            if self._shares and self._taken % NARROW_EVERY == 0:
                self._shares.narrow(running)
            meter.show(self._number("clock"), self._taken)
            if self._chooser and self._taken >= self._chooser.next_look and np.count_nonzero(running):
                self._look(self._taken)
                self._mark = self._own_numbers()
            if self._planned and self._typical(self._number("clock")) >= self._planned[0][0]:
                self._change_to(OFFERED[self._planned.pop(0)[1]])
            if checkpoint.due():
                self._store(checkpoint)
        self._store(checkpoint)
        if self._measures_ends and self.measured is None:
            self._measure_ends()

    def _measure_ends(self) -> None:
        at = self.motion._replace(solver_state=None)
        self.measured = measure_ends(Fixed(self.dynamics, {}), self._start.state, at)

    # Checkpoints hold all that changes between two chunks; everything else follows from the arguments of the run.

    def _store(self, checkpoint: Checkpoint) -> None:
        if not checkpoint.kept:
            return
        notes = {
            "taken": self._taken,
            "used": self.used,
            "chooser": self._chooser.notes() if self._chooser else None,
            "products": self._looking_products,
            "flushed": [int(np.max(counts)) for counts, _ in self._flushed],
            "looked": self._seen is not None,
            "lanes": self._shares and self._shares.lanes,
        }
        checkpoint.save(notes, (self.motion, self._kept, self._mark, self._seen, self._flushed))

    def _resume(self, checkpoint: Checkpoint) -> None:
        if (stored := checkpoint.load()) is None:
            return
        notes, filled = stored
        changes = len(notes["used"]) - len(self.used)
        self._taken, self._looking_products = notes["taken"], notes["products"]
        # JSON knows no tuples.
        self.used = [(clock, name) for clock, name in notes["used"]]
        self._planned = self._planned[changes:]
        if self._chooser:
            self._chooser.recall(notes["chooser"])
        if changes:
            self._carry_on_with(OFFERED[self.used[-1][1]], filled=False)
        if self._shares:
            self._shares.lanes = notes["lanes"]
        seen, paused = self._looked_at(np.zeros(SAMPLE, int))
        looked = (seen, paused.state) if notes["looked"] else None
        counts = np.zeros(self._number("clock").shape, int)
        flushed = [(counts, self._filled(slots)) for slots in notes["flushed"]]
        like = (self.motion, self._kept, self._mark, looked, flushed)
        self.motion, self._kept, self._mark, self._seen, self._flushed = filled(like)
        self._numbers = np.array(on_host(self.motion.numbers))

    def _carry_on_with(self, solver: type[dfx.AbstractSolver], filled: bool = True) -> None:
        """`filled` is whether the motion holds a state yet, or is to be filled in from a checkpoint."""
        self._mount(choice.made(solver))
        if self.motion.unbegun is not None and not filled:
            self.motion = starting.to_begin(self.dynamics, self._fixed, self._start)._replace(unbegun=None)
        else:
            self.motion = starting.change(self._fixed, Paused(self._own_numbers(), self.motion.state, None))
            self._fetch_numbers()
        if self._shares:
            kept, self._shares = self._shares.whole(self._kept), self._cut()
            self._kept = self._shares.parts(kept)

    def _change_to(self, solver: type[dfx.AbstractSolver]) -> None:
        self._carry_on_with(solver)
        self.used.append((self._typical(self._number("clock")), solver.__name__))

    def _attempts(self) -> Any:
        return self._number("accepted") + self._number("rejected")

    def _running(self) -> Any:
        return (self._number("halt") == integrate.RUNNING) & (self._attempts() < self._max_steps)

    def _advance(self, budget: int, to_spare: int = 0) -> None:
        times = None if self._keeps_ends_alone else self._times
        how = times, np.array(integrate.Orders(budget, to_spare, self._max_steps))
        before = np.array(self._number("saved")) if self._times is None else None
        if self._shares is None:
            self.motion, self._kept[0] = integrate.advance(self._fixed, self.motion, self._kept[0], *how)
            if self._measures_ends:
                self._measure_ends()
        else:
            parts, queues = self._shares.parts(self.motion), self._shares.queues(self._running())
            done = self._shares.in_threads(
                lambda i, queue: integrate.advance(self._fixed, parts[i], self._kept[i], *how, queue), queues
            )
            motions, self._kept = map(list, zip(*done, strict=True))
            self.motion = self._shares.whole(motions)
        self._fetch_numbers()
        if before is not None:
            counts = (self._number("saved") - before).astype(int)
            self._flushed.append((counts, self._filled(int(np.max(counts)))))

    def _filled(self, slots: int) -> Kept:
        """A copy of the first slots of what is kept."""
        first = (slice(None), slice(slots)) if self.ensemble else slice(slots)
        parts = [jax.tree.map(lambda x: np.array(on_host(x)[first]), kept) for kept in self._kept]
        return self._shares.whole(parts) if self._shares else parts[0]

    def _attempts_of_call(self, running: np.ndarray) -> int:
        data = getattr(self.dynamics.problem.objective, "data", None)
        work = self.dynamics.problem.size * (1 if data is None else data.n)
        return max(1, WORK_OF_CALL // (max(work, LEAST_WORK) * int(np.sum(running))))

    # The choice of solver.

    def _typical(self, values: Any) -> float:
        """The median over the members that run, or over all where none does."""
        running = self._running()
        return float(np.median(np.asarray(values)[running] if np.any(running) else values))

    def _look(self, attempts: int) -> None:
        """Let the chooser see the typical running member."""
        assert self._chooser is not None
        moved = dict(zip(COLUMNS, np.moveaxis(self._own_numbers() - self._mark, -1, 0), strict=True))
        # At its stability limit an explicit method's steps grow and are cut in turn: the last one alone may be any.
        step = np.maximum(self._number("last_step"), moved["clock"] / np.maximum(moved["accepted"], 1))
        if isinstance(self.solver, RKC):
            decay = self._typical(on_host(unpacked(self.motion).solver_state.radius))
        elif isinstance(self.solver, Explicit) and (felt := self._felt()) < SUSPECT * self.solver.stability_limit:
            # Before its first step a run has felt nothing.
            decay = self._typical(felt / np.maximum(step, np.finfo(float).tiny))
        else:
            decay = self._measured_decay()
        changed = self._chooser.look(
            attempts,
            tried=int(self._typical(moved["accepted"] + moved["rejected"])),
            refused=int(self._typical(moved["rejected"])),
            span=self._typical(moved["clock"]),
            step=self._typical(step),
            work=int(self._typical(moved["gradients"] + 2 * moved["products"])),
            decay=decay,
            remaining=self._typical(self._number("end") - self._number("clock")),
        )
        if changed:
            self._change_to(self._chooser.solver)

    def _measured_decay(self) -> float:
        """The fastest decay of the run, or of the typical one of a few members that run."""
        running = np.flatnonzero(self._running())
        seen, paused = self._looked_at(running[np.linspace(0, running.size - 1, SAMPLE).round().astype(int)])
        # Which members were seen before, and the directions that their looks ended in.
        before, direction = (np.full_like(seen, -1), paused.state) if self._seen is None else self._seen
        rate, direction, count = choice.stiffness(self._fixed, paused, direction, seen == before)
        self._seen = (seen, direction)
        # Where few run, some are looked at more than once.
        once = np.unique(seen, return_index=True)[1]
        self._looking_products += int(np.sum(np.atleast_1d(on_host(count))[once]))
        return float(np.median(on_host(rate)))

    def _looked_at(self, members: np.ndarray) -> tuple[np.ndarray, Paused]:
        """Some members of an ensemble, in their numbers and states; a single run as it is."""
        paused = self.motion._replace(solver_state=None)
        return (members, jax.tree.map(lambda x: on_host(x)[members], paused)) if self.ensemble else (_ONE, paused)

    def _felt(self) -> float:
        """h|λ| as the explicit steps felt it."""
        return self._typical(on_host(unpacked(self.motion).solver_state.stretch))

    def outcomes(self) -> tuple[Outcome, ...]:
        """How each member ended."""
        halts, events = (self._number(name).ravel().tolist() for name in ("halt", "event"))
        blown = [False] * len(halts)
        if integrate.STALLED in halts:
            blown = on_host(integrate.explodes(self._fixed, self.motion)).ravel().tolist()

        def outcome(halt: float, event: float, blown: bool) -> Outcome:
            if halt == integrate.RUNNING:
                return Outcome.max_steps
            if halt == integrate.DIVERGED or blown:
                return Outcome.diverged
            if halt == integrate.STALLED:
                return Outcome.stalled
            return self.events[int(event)].outcome if event >= 0 else Outcome.reached_end

        return tuple(map(outcome, halts, events, blown))

    def account(self) -> dict[str, Any]:
        """Solver and reason; accepted and rejected steps, gradients and Hessian products, summed over members."""
        sums = self._own_numbers().sum(axis=0) if self.ensemble else self._own_numbers()
        total = dict(zip(COLUMNS, sums.tolist(), strict=True))
        # All of a chooser's are known; to ask diffrax's classes takes as long as half a step.
        known = self._chooser is not None or isinstance(self.solver, AbstractFlowSolver)
        return {
            "solver": " → ".join(name for _, name in self.used),
            "reason": self._chooser.reason if self._chooser else "asked for",
            "steps": int(total["accepted"]),
            "rejected": int(total["rejected"]),
            "gradients": int(total["gradients"]) if known else None,
            "hessian_products": int(total["products"]) + self._looking_products if known else None,
        }

    def end(self) -> tuple[float, float]:
        """The clock of a single run, and the energy that it has dissipated."""
        return float(self._number("clock")), float(self._number("dissipated"))

    def rows(self) -> Rows:
        """The states kept."""
        clock, energy = (self._number(name) for name in ("clock", "dissipated"))
        start = Row(np.zeros_like(clock), starting.first_state(self.dynamics, self._start), np.zeros_like(energy))
        end = Row(clock, self.motion.state, energy)
        if self._keeps_ends_alone:
            return ends(start, end)

        start_is_kept = not isinstance(self._save, SaveAt) or bool(self._save.times[0] == 0.0)
        saved = self._number("saved").astype(int)
        kept = self._shares.whole(self._kept) if self._shares else self._kept[0]
        assert kept is not None
        pieces = [(saved, kept)] if self._times is not None or not self._flushed else self._flushed
        own = functools.partial(by_member, ensemble=self.ensemble)
        counts, kept = one_after_another([(np.atleast_1d(n), own(kept.clock, *kept.y)) for n, kept in pieces])
        return table(own(*start), kept, counts, own(*end), start_is_kept)
