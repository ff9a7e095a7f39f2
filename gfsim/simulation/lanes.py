"""How the members of an ensemble share a machine: which of them are stepped together, and where."""

import functools
import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, PyTree

from gfsim.parallel import in_parallel
from gfsim.placement import on_host
from gfsim.simulation.motion import AT_END, COLUMNS, Kept, Paused

# As many members as keep what their steps hold in a processor's own memory, and operations longer than their calls.
LANES, NUMBERS_IN_LANES = 16, 2**12
# An accelerator works on all of its lanes at once.
LANES_OF_ACCELERATOR = 4096
# A slice has work for its lanes, and an ensemble slices for many cores: a few where their lanes can be filled at all.
LANES_OF_SLICE, FEW_SLICES, SLICES = 8, 8, 64
# Lanes whose members have ended idle until one in so many does: to bring others in takes about as long as a stage.
REFILL_AT = 8
# When no slice has more than this share of its lanes in use, there are as few lanes as members: each new number
# compiles once, which only long runs repay.
NARROW_BELOW = 0.25


def usual_lanes(members: int, size: int) -> int:
    """How many members of `size` parameters are stepped together."""
    if jax.default_backend() != "cpu":
        return min(members, LANES_OF_ACCELERATOR)
    return min(members, LANES, max(8, 1 << max(0, (NUMBERS_IN_LANES // size).bit_length() - 1)))


class Shares:
    """An ensemble in slices, on which threads work at the same time. Of a slice as many members are stepped together as
    it has lanes; a lane whose member has ended takes the slice's next one.

    Members do not touch each other. With whom one is stepped may change its last bits, though, so that all here is
    decided by counts, never by time or by the cores there are: a run repeats and resumes bit for bit.

    On the CPU members whose steps factorise matrices are stepped `alone`, each in a single lane. Together all would
    renew their matrices whenever one of them has to, and their threads might wait for each other without end (see
    `lapack`).
    """

    def __init__(self, members: int, size: int, alone: bool = False):
        self._members = members
        on_cpu = jax.default_backend() == "cpu"
        lanes, count = usual_lanes(members, size), 1
        if on_cpu:
            lanes = 1 if alone else lanes
            few = min(FEW_SLICES, -(-members // lanes))
            count = min(SLICES, max(few, -(-members // (LANES_OF_SLICE * lanes))))
        self._each = -(-members // count)
        self.lanes = min(lanes, self._each)
        self.slices = [(start, min(start + self._each, members)) for start in range(0, members, self._each)]

    def parts(self, whole: PyTree) -> list[PyTree]:
        """What belongs to each slice; the last is filled up, so that all share one program."""
        if len(self.slices) == 1:
            return [whole]

        def part(x: Any, start: int, end: int) -> np.ndarray:
            own = on_host(x)[start:end]
            return np.concatenate([own, np.repeat(own[-1:], self._each - (end - start), axis=0)])

        return [jax.tree.map(lambda x: part(x, *bounds), whole) for bounds in self.slices]  # noqa: B023

    def whole(self, parts: list[PyTree]) -> PyTree:
        """The slices put together again."""
        if len(parts) == 1:
            return parts[0]
        return jax.tree.map(lambda *x: np.concatenate([on_host(own) for own in x])[: self._members], *parts)

    def queues(self, running: Bool[np.ndarray, " members"]) -> list[Int[np.ndarray, "waves lanes"]]:
        """For each slice which of its members are to be stepped, in rows as long as there are lanes, filled up with a
        number that stands for none."""
        queues = []
        for start, end in self.slices:
            queue = np.full(-(-self._each // self.lanes) * self.lanes, self._each)
            own = np.flatnonzero(running[start:end])
            queue[: own.size] = own
            queues.append(queue.reshape(-1, self.lanes))
        return queues

    def narrow(self, running: Bool[np.ndarray, " members"]) -> None:
        """Give up lanes that would idle."""
        most = max(int(np.sum(running[start:end])) for start, end in self.slices)
        if most <= NARROW_BELOW * self.lanes:
            self.lanes = max(1, most)

    def in_threads(self, call: Callable[[int, np.ndarray], PyTree], queues: Sequence[np.ndarray]) -> list[PyTree]:
        """call(slice, queue) of every slice, one on each core at a time."""
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        # Calls whose results are not waited for run one after the other.
        jobs = [functools.partial(lambda *a: jax.block_until_ready(call(*a)), *it) for it in enumerate(queues)]
        return in_parallel(jobs, cores) if len(jobs) > 1 else [job() for job in jobs]


class Lanes(NamedTuple):
    """Motions that are stepped together: the rows of `kept` that are theirs, their attempts in this call, and how many
    states they had kept before it."""

    paused: Paused
    rows: Int[Array, "*members"]
    attempts: Int[Array, "*members"]
    saved: Int[Array, "*members"]


def in_turn(
    step: Callable[[tuple[Lanes, Kept | None]], tuple[Lanes, Kept | None]],
    active: Callable[[Lanes], Bool[Array, " lanes"]],
    everyone: Paused,
    kept: Kept | None,
    queue: Int[Array, "waves lanes"],
    budget: Any,
) -> tuple[Paused, Kept | None]:
    """The members that the queue names, stepped in its lanes while they are `active`."""
    absent, width, waiting = everyone.numbers.shape[0], queue.shape[1], queue.reshape(-1)
    count = jnp.sum(waiting < absent)

    def put(everyone: Paused, lanes: Lanes) -> Paused:
        return jax.tree.map(lambda x, own: x.at[lanes.rows].set(own, mode="drop"), everyone, lanes.paused)

    def refilled(lanes: Lanes, everyone: Paused, following: Array) -> Lanes:
        spent = ~active(lanes)
        incoming = waiting.at[following + jnp.cumsum(spent) - 1].get(mode="fill", fill_value=absent)
        rows = jnp.where(spent, incoming, lanes.rows)
        own = jax.tree.map(lambda x: x.at[rows].get(mode="clip"), everyone)
        halt = jnp.where(rows < absent, own.number("halt"), AT_END)
        own = own._replace(numbers=own.numbers.at[:, COLUMNS.index("halt")].set(halt))
        saved = jnp.where(spent, own.number("saved").astype(int), lanes.saved)
        return Lanes(own, rows, jnp.where(spent, 0, lanes.attempts), saved)

    def wave(carry: Any) -> Any:
        everyone, lanes, kept, following = carry
        everyone = put(everyone, lanes)
        taken = jnp.sum(~active(lanes))
        lanes, following = refilled(lanes, everyone, following), following + taken

        def worthwhile(carry: tuple[Lanes, Kept | None]) -> Array:
            going = jnp.sum(active(carry[0]))
            return (going > 0) & ((following >= count) | (width - going < max(1, width // REFILL_AT)))

        lanes, kept = jax.lax.while_loop(worthwhile, step, (lanes, kept))
        return everyone, lanes, kept, following

    # At first all lanes are spent.
    nobody = jnp.full(width, absent)
    blank = jax.tree.map(lambda x: jnp.zeros((width, *x.shape[1:]), x.dtype), everyone)
    start = everyone, Lanes(blank, nobody, jnp.full(width, budget), jnp.zeros(width, int)), kept, jnp.zeros((), int)
    unfinished = lambda carry: (carry[3] < count) | jnp.any(active(carry[1]))  # noqa: E731
    everyone, lanes, kept, _ = jax.lax.while_loop(unfinished, wave, start)
    return put(everyone, lanes), kept
