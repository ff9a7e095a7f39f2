"""The states that a run kept, as rows of one table."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, Int, PyTree

from gfsim.placement import on_host


class Row(NamedTuple):
    """What is known of a state, or of many by leading axes; a descent dissipates nothing."""

    clock: Float[np.ndarray, "*rows"]
    state: PyTree
    dissipated: Float[np.ndarray, "*rows"] | None


class Rows(NamedTuple):
    """The start of every member, the states it kept after it, and its end: `counts` of them, then the end repeated."""

    start_is_kept: bool
    counts: Int[np.ndarray, " members"]
    table: Row


def by_member(clock: Any, state: PyTree, dissipated: Any, *, ensemble: bool) -> Row:
    """Their row on the host, with an axis of members that those of a single run have not."""
    own = on_host if ensemble else lambda x: on_host(x)[None]
    return Row(own(clock), jax.tree.map(own, state), own(dissipated))


def ends(start: Row, end: Row) -> Rows:
    """Rows of members that kept nothing in between: their start and, where it is another, their end. Without an axis of
    members they are those of a single run."""
    moved = start.clock != end.clock
    used = (start, end) if np.any(moved) else (start,)

    def joined(*x: Any) -> np.ndarray:
        rows = np.array([on_host(own) for own in x])
        return rows.swapaxes(0, 1) if moved.ndim else rows[None]

    return Rows(True, np.atleast_1d(1 + moved), jax.tree.map(joined, *used))


def table(start: Row, kept: Row, counts: Int[np.ndarray, " members"], end: Row, start_is_kept: bool) -> Rows:
    """Rows of the members, of which each kept the first `counts` states of `kept`; its end goes last, where it is not
    kept already."""
    filled = 1 + counts
    clock = np.concatenate([start.clock[:, None], kept.clock], axis=1)
    before = clock[np.arange(counts.size), counts]
    sizes = filled + ((before != end.clock) | ((counts == 0) & (not start_is_kept)))
    longest = int(np.max(sizes))
    after = np.arange(longest) >= filled[:, None]

    def joined(start: np.ndarray, kept: np.ndarray, end: np.ndarray) -> np.ndarray:
        rows = np.empty((counts.size, longest, *start.shape[1:]), start.dtype)
        width = min(longest - 1, kept.shape[1])
        rows[:, 0], rows[:, 1 : 1 + width] = start, kept[:, :width]
        rows[after] = np.repeat(end, np.sum(after, axis=1), axis=0)
        return rows

    return Rows(start_is_kept, sizes, jax.tree.map(joined, start, kept, end))


def one_after_another(
    pieces: Sequence[tuple[Int[np.ndarray, " members"], Row]],
) -> tuple[Int[np.ndarray, " members"], Row]:
    """Pieces of which each member filled the first so many rows, without what is left empty between them."""
    if len(pieces) == 1:
        return pieces[0]
    longest = [int(np.max(counts)) for counts, _ in pieces]
    used: Bool[np.ndarray, "members rows"] = np.concatenate(
        [np.arange(size) < counts[:, None] for size, (counts, _) in zip(longest, pieces, strict=True)], axis=1
    )
    order = np.argsort(~used, axis=1, kind="stable")

    def joined(*x: np.ndarray) -> np.ndarray:
        rows = np.concatenate([own[:, :size] for size, own in zip(longest, x, strict=True)], axis=1)
        return np.take_along_axis(rows, order.reshape(order.shape + (1,) * (rows.ndim - 2)), axis=1)

    return np.sum(used, axis=1), jax.tree.map(joined, *(row for _, row in pieces))
