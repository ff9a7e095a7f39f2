"""Curves that follow a field, and families of them that are evenly spaced."""

from collections.abc import Sequence

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree
from scipy.spatial import KDTree

from gfsim.portraits.surfaces import AbstractSurface, Point, Points
from gfsim.simulation.step_control import next_step

# Rows of a line are so far apart; a line ends after so many, or after so many attempted steps.
STEP, _ROWS, _TRIALS = 0.01, 400, 1500
# A line that is to lead somewhere is taken up again so often.
_LEGS = 40
# Both halves of so many lines are followed in one call.
BATCH = 32
# Of the typical speed: below this a line has come to rest. Much nearer to an attracting curve, where z'/|z'| jumps, an
# explicit method would step to and fro at the size of its tolerance.
REST = 1e-4


def typical_speed(surface: AbstractSurface) -> float:
    """The median of |z'| over the drawn part, places at rest apart; 0 where all are, NaN where it is nowhere finite."""
    speeds = np.asarray(_speeds(surface, jnp.asarray(surface.lattice(0.1))))
    finite = speeds[np.isfinite(speeds)]
    moving = finite[finite > 0]
    return float(np.median(moving)) if moving.size else 0.0 if finite.size else np.nan


@eqx.filter_jit
def _speeds(surface: AbstractSurface, points: Float[Array, "rows m"]) -> Float[Array, "rows"]:
    return jax.lax.map(lambda z: jnp.linalg.norm(surface.velocity(z)), points, batch_size=64)


def follow(
    surface: AbstractSurface, starts: Points, signs: Float[np.ndarray, "rows"], slow: float, rtol: float
) -> list[Points]:
    """The curves dz/ds = ±z'/|z'| from `starts`, rows `STEP` apart in arc length, beginning with the start itself.

    A curve ends where it leaves the drawn part, where |z'| < `slow` and below a third of what it was at the start, or
    at length 4. `rtol` is the local error, in units of the drawing's side. Arc length as the clock keeps stiffness of
    the field's own clock out.
    """
    return _followed(surface, starts, signs, slow, rtol)[0]


def lead(
    surface: AbstractSurface,
    starts: Points,
    signs: Float[np.ndarray, "rows"],
    slow: float,
    rtol: float,
    targets: Sequence[Points],
) -> list[Points]:
    """`follow` to one of `targets`: a curve that ends in the drawn part, 3 `STEP` or more from all of them, is taken up
    again where it ended, up to forty times in all and as long as it gets on. One that starts at a target leaves it
    first."""
    tree = KDTree(np.concatenate(targets))
    leaving = tree.query(starts)[0] < 0.2 * STEP
    lines = [start[None] for start in starts]
    open_ones, ends = np.arange(len(starts)), starts
    for _ in range(_LEGS):
        legs, after, left = _followed(surface, ends, signs[open_ones], slow, rtol)
        for k, leg in zip(open_ones, legs, strict=True):
            lines[k] = np.concatenate([lines[k], leg[1:]])
        gets_on = np.linalg.norm(after - ends, axis=1) > rtol
        leaving[open_ones] &= [np.ptp(lines[k], axis=0).max() < 3 * STEP for k in open_ones]
        there = (tree.query([lines[k][-1] for k in open_ones])[0] < 3 * STEP) & ~leaving[open_ones]
        open_ones, ends = (x[gets_on & ~left & ~there] for x in (open_ones, after))
        if not open_ones.size:
            break
        # Between two rows, where a step was too small for the next.
        for k, end in zip(open_ones, ends, strict=True):
            lines[k] = np.concatenate([lines[k], end[None]])
    return lines


def _followed(
    surface: AbstractSurface, starts: Points, signs: Float[np.ndarray, "rows"], slow: float, rtol: float
) -> tuple[list[Points], Points, Bool[np.ndarray, "rows"]]:
    """The curves of `follow`, where they ended, which may be between rows, and whether outside of the drawn part."""
    lines: list[Points] = []
    ends: list[tuple[np.ndarray, np.ndarray]] = []
    for at in range(0, len(starts), 2 * BATCH):
        own, way = starts[at : at + 2 * BATCH], signs[at : at + 2 * BATCH]
        # Always the same number of curves: one compilation.
        missing = 2 * BATCH - len(own)
        padded = np.concatenate([own, np.repeat(own[-1:], missing, axis=0)])
        way = np.concatenate([way, np.repeat(way[-1:], missing)])
        live = np.arange(2 * BATCH) < len(own)
        rows, *end = (np.asarray(x) for x in _follow(surface, *map(jnp.asarray, (padded, way, live, slow, rtol))))
        lines += [line[np.all(np.isfinite(line), axis=1)] for line in rows[: len(own)]]
        ends.append((end[0][: len(own)], end[1][: len(own)]))
    after, left = zip(*ends, strict=True)
    return lines, np.concatenate(after), np.concatenate(left)


class _Walk(eqx.Module):
    """One curve on its way: the last row's number, the arc length s and point since, and the step to try next."""

    row: Int[Array, ""]
    s: Float[Array, ""]
    z: Point
    memory: PyTree
    step: Float[Array, ""]
    trials: Int[Array, ""]
    going: Bool[Array, ""]
    left: Bool[Array, ""]
    rows: Float[Array, "rows m"]


# diffrax's own loop carries callbacks, which keep a compiled program out of JAX's cache; and here rows are step ends.
@eqx.filter_jit
def _follow(
    surface: AbstractSurface, starts: Array, signs: Array, live: Array, slow: Array, rtol: Array
) -> tuple[Float[Array, "lines rows m"], Float[Array, "lines m"], Bool[Array, "lines"]]:
    solver = dfx.Tsit5()

    def one(start: Point, sign: Array, live: Array) -> tuple[Float[Array, "rows m"], Point, Bool[Array, ""]]:
        def field(s, z: Point, args) -> Point:
            v = surface.velocity(z)
            speed = jnp.linalg.norm(v)
            return sign * v / jnp.where(speed > 0, speed, 1.0)

        term = dfx.ODETerm(field)
        initial = jnp.linalg.norm(surface.velocity(start))
        rest = jnp.minimum(slow, initial / 3)

        def advance(walk: _Walk) -> _Walk:
            due = (walk.row + 1).astype(float) * STEP
            step = jnp.minimum(walk.step, due - walk.s)
            hits = walk.s + step >= due
            s = jnp.where(hits, due, walk.s + step)
            z, error, _, memory, _ = solver.step(term, walk.s, s, walk.z, None, walk.memory, made_jump=False)
            ratio = jnp.linalg.norm(error) / rtol
            ratio = jnp.where(jnp.isfinite(ratio), ratio, 1e3)
            good = ratio <= 1
            pick = lambda new, old: jax.tree.map(lambda a, b: jnp.where(good, a, b), new, old)  # noqa: E731
            row = jnp.where(good & hits, walk.row + 1, walk.row)
            left = good & ~surface.inside(z)
            ended = left | (good & (jnp.linalg.norm(surface.velocity(z)) < rest))
            trials = walk.trials + 1
            return _Walk(
                row,
                pick(s, walk.s),
                pick(z, walk.z),
                pick(memory, walk.memory),
                next_step(step, ratio, 5, good, jnp.zeros(()), jnp.ones(())),
                trials,
                ~ended & (row < _ROWS - 1) & (trials < _TRIALS),
                left,
                jnp.where(good & hits, walk.rows.at[row].set(z), walk.rows),
            )

        rows = jnp.full((_ROWS, start.size), jnp.nan).at[0].set(start)
        memory = solver.init(term, 0.0, STEP, start, None)
        nought = jnp.zeros((), int)
        walk = _Walk(
            nought, jnp.zeros(()), start, memory, jnp.asarray(STEP / 4), nought, live & (initial > 0), ~live, rows
        )
        end = jax.lax.while_loop(lambda walk: walk.going, advance, walk)
        return end.rows, end.z, end.left

    return jax.vmap(one)(starts, signs, live)


def evenly_spaced(surface: AbstractSurface, spacing: float, rtol: float) -> list[Points]:
    """Streamlines about `spacing` apart, none nearer than half of it to another, that fill the drawn part.

    Every line is solved, not interpolated, and cut where it comes too near to those before it or to itself. New lines
    begin at the distance `spacing` beside old ones, and then in the holes that are left.

    Source: Jobard & Lefer, Creating evenly-spaced streamlines of arbitrary density, 1997.
    """
    slow = REST * typical_speed(surface)
    lines: list[Points] = []
    pool = surface.lattice(4 * spacing)
    holes = surface.lattice(0.5 * spacing)
    holes = holes[np.asarray(surface.inside(jnp.asarray(holes)))]
    filling = False
    while True:
        if len(seeds := _spread(pool, spacing if lines else 3 * spacing)) == 0:
            if filling and len(holes) == 0:
                return lines
            filling, pool = True, holes
            if len(seeds := _spread(pool, spacing)) == 0:
                return lines
        halves = follow(surface, np.repeat(seeds, 2, axis=0), np.tile([1.0, -1.0], len(seeds)), slow, rtol)
        fresh = []
        for k, seed in enumerate(seeds):
            if (line := _cut(seed, halves[2 * k], halves[2 * k + 1], lines, spacing)) is not None:
                lines.append(line)
                fresh.append(line)
        pool = np.concatenate([pool, *(_beside(surface, line, spacing) for line in fresh)])
        pool, holes = (_away(points, lines, spacing, seeds) for points in (pool, holes))


def _spread(pool: Points, spacing: float) -> Points:
    """The first points of the pool that are `spacing` apart, up to a batch."""
    chosen: list[np.ndarray] = []
    for point in pool:
        if all(np.sum((point - other) ** 2) >= spacing**2 for other in chosen):
            chosen.append(point)
            if len(chosen) == BATCH:
                break
    return np.array(chosen).reshape(-1, pool.shape[1])


def _away(points: Points, lines: list[Points], spacing: float, tried: Points) -> Points:
    """Those that are `spacing` from all lines, and not where a line was tried."""
    if lines:
        points = points[KDTree(np.concatenate(lines)).query(points)[0] >= 0.95 * spacing]
    return points[KDTree(tried).query(points)[0] >= 0.5 * spacing] if len(points) else points


def _beside(surface: AbstractSurface, line: Points, spacing: float) -> Points:
    """Points at the distance `spacing` on both sides of a line."""
    along = np.gradient(line, axis=0)
    along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-300)
    if line.shape[1] == 2:
        normal = np.stack([-along[:, 1], along[:, 0]], axis=1)
    else:
        normal = np.cross(line, along)
    points = np.concatenate([line + spacing * normal, line - spacing * normal])
    if line.shape[1] == 3:
        return points / np.linalg.norm(points, axis=1, keepdims=True)
    return points[np.all((points > 0) & (points < 1), axis=1)]


def _cut(seed: np.ndarray, forward: Points, backward: Points, lines: list[Points], spacing: float) -> Points | None:
    """The line through a seed up to where it comes within half the spacing of others or of itself; None if short."""
    tree = KDTree(np.concatenate(lines)) if lines else None
    if tree is not None and tree.query(seed)[0] < 0.95 * spacing:
        return None
    forward = _until_near(forward, tree, spacing)
    backward = _until_near(backward, tree, spacing)
    line = np.concatenate([backward[:0:-1], forward])
    # The forward half may also come back to the backward one.
    line = line[: _first_return(line, spacing)]
    return line if len(line) * STEP >= 2 * spacing else None


def _until_near(half: Points, tree: KDTree | None, spacing: float) -> Points:
    if tree is not None and len(half):
        near = tree.query(half)[0] < 0.5 * spacing
        if near.any():
            half = half[: int(np.argmax(near))]
    return half[: _first_return(half, spacing)]


def _first_return(line: Points, spacing: float) -> int:
    """The first row that is near an earlier one without following it."""
    # Squared distances; a line may turn within its own spacing, so neighbours along it do not count.
    apart = np.sum((line[:, None] - line[None]) ** 2, axis=2)
    later = np.arange(len(line))[:, None] - np.arange(len(line)) > 2 * spacing / STEP
    back = np.any((apart < (0.5 * spacing) ** 2) & later, axis=1)
    return int(np.argmax(back)) if back.any() else len(line)
