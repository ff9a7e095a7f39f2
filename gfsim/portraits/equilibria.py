"""The equilibria of a field on a surface: found from many starts, typed by eigenvalues, and followed as curves."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gfsim.landscape.critical import count_signs
from gfsim.landscape.roots import zero_near
from gfsim.portraits.lines import STEP, lead
from gfsim.portraits.surfaces import AbstractSurface, Point, Points

MINIMUM, SADDLE, MAXIMUM, DEGENERATE = "minimum", "saddle", "maximum", "degenerate"
# Of a field that is not known to descend anything.
SINK, SOURCE, CENTRE = "sink", "source", "centre"
ATTRACTING = (MINIMUM, SINK)
# ‖∇L‖ of a point that is drawn; where its median over the drawing is above 1000, rounding may be this share of it.
CRITICAL, _ROUNDING = 1e-10, 1e-13
# Of the typical speed per side: an eigenvalue below this has no sign that a drawing could show.
_FLAT = 1e-6
# Of its largest entry: a derivative whose halves differ by less is symmetric.
_SYMMETRIC = 1e-10
# Distances, of the drawing's side: points nearer than this are one; starts of a separatrix lie so far from the saddle.
_SAME, _OFF = 1e-5, 1e-3
_STARTS, _CURVE_ROWS, _NEWTON_STEPS = 1 / 16, 400, 40
# Where more than this share of the starts has found a point of its own, the search is repeated twice as finely, up to
# so often.
_CROWDED, _REFINEMENTS = 1 / 5, 2
# At a kink the derivative changes by more than this share over so short a way; sides on no axis see more of it. The
# velocity jumps where it is more than this factor larger there than the derivative allows.
_BESIDE, _JUMP, _GENERIC, _ALLOWED = 1e-6, 1e-3, 0.3, 10.0
_AROUND = np.stack([f(np.arange(8) * np.pi / 4 + _GENERIC) for f in (np.cos, np.sin)], axis=1)


class Equilibria(NamedTuple):
    """Isolated equilibria, and curves of them.

    - `points` (k, m) with their `kind` (k,) and `gradient_norm` (k,).
    - `curves`: polylines of degenerate equilibria; `attracting`: for each, whether its rows draw the flow to them.
    """

    points: Points
    kind: list[str]
    gradient_norm: Float[np.ndarray, "k"]
    curves: list[Points]
    attracting: list[np.ndarray]


def equilibria(surface: AbstractSurface, speed: float) -> Equilibria:
    """Equilibria on the drawn part, by `zero_near` from an even lattice of 256 or more starts and from its edge; where
    one start in five finds another point, from four and from sixteen times as many.

    Kept are zeros of the full velocity, ‖∇L‖ < 1e-10, or 1e-13 of its median where that is above 1000: of a plane
    through θ-space those of the plane's own field that are no critical points of L are left out. A point is a minimum
    where all eigenvalues of the velocity's derivative have negative real parts, a maximum where all have positive ones,
    a saddle where both occur, and degenerate otherwise. At a kink, where the derivative jumps, it is what those on
    eight sides agree on, and else degenerate; where the velocity itself jumps, which automatic differentiation may call
    zero there, nothing is at rest; nor is a point told where the derivative is infinite. Regions without motion, such
    as those of a dead ReLU, have no points, and their rims only those that are isolated from outside. Of a field that
    is not known to descend a function the first two are called sink and source, and a point with imaginary eigenvalues
    a centre. Degenerate points are continued along the null direction of the surface's own field; where that leads on,
    they are drawn as the curve.

    An eigenvalue is zero below 1e-6 of `speed` per side of the drawing.
    """
    # The sphere is larger than the unit square, and is searched as finely for its size.
    spacing = _STARTS if surface.lattice(1.0).shape[1] == 2 else 3 * _STARTS
    return _found_from(surface, spacing, speed, _REFINEMENTS)


def _found_from(surface: AbstractSurface, spacing: float, speed: float, refinements: int) -> Equilibria:
    starts = np.concatenate([surface.lattice(spacing), surface.rim(spacing)])
    found, sizes, norms, before, still = (np.asarray(x) for x in _zeros(surface, jnp.asarray(starts)))
    moving = before[np.isfinite(before) & (before > 0)]
    critical = max(CRITICAL, _ROUNDING * float(np.median(moving)) if moving.size else 0.0)
    # A start that is at rest already lies in a region without motion, such as that of a dead ReLU.
    kept = (sizes <= 1e-10 * speed) & (norms < critical) & ~still & np.asarray(surface.inside(jnp.asarray(found)))
    points, kinds, residuals = [], [], []
    curves: list[Points] = []
    sides: list[np.ndarray] = []
    for z, norm in zip(found[kept], norms[kept], strict=True):
        if any(np.linalg.norm(z - other) < _SAME for other in points):
            continue
        if _on(z, curves):
            continue
        kind = _kind(surface, z, speed)
        if kind is None:
            continue
        if kind == DEGENERATE:
            curve, side = _continued(surface, z, speed, critical)
            if len(curve) > 3:
                curves.append(curve)
                sides.append(side)
                continue
            # Convergence to a degenerate point is slow, and stops at different distances from it.
            if any(k == kind and np.linalg.norm(z - p) < STEP for p, k in zip(points, kinds, strict=True)):
                continue
        points.append(z)
        kinds.append(kind)
        residuals.append(norm)
    # Where there are many, some may have been missed.
    if refinements and len(points) > _CROWDED * len(starts):
        return _found_from(surface, spacing / 2, speed, refinements - 1)
    # A curve may have been found after an end of it that could not be continued.
    own = [k for k, z in enumerate(points) if kinds[k] != DEGENERATE or not _on(z, curves)]
    return Equilibria(
        np.array([points[k] for k in own]).reshape(-1, starts.shape[1]),
        [kinds[k] for k in own],
        np.array([residuals[k] for k in own]),
        curves,
        sides,
    )


def separatrices(
    surface: AbstractSurface, found: Equilibria, speed: float, slow: float, rtol: float
) -> tuple[list[Points], list[Points]]:
    """The stable and the unstable manifolds of the surface's saddles, each as its two halves.

    A saddle is one whose derivative within the surface has real eigenvalues of both signs. Each half begins 1e-3 of the
    side from the saddle along the eigenvector, so that it is off the manifold by about the square of that; at a kink
    it is an eigenvector of the side that it points to.
    """
    starts, signs = [], []
    for z in found.points[[kind == SADDLE for kind in found.kind]]:
        basis = np.asarray(surface.tangents(jnp.asarray(z)))
        growth, vectors = _eigenvectors(surface, z, speed)
        if not growth.size or not growth.min() < -_FLAT * speed < _FLAT * speed < growth.max():
            continue
        for value, vector in zip(growth, vectors, strict=True):
            starts.append(z + _OFF * (vector @ basis))
            signs.append(np.sign(value))
    if not starts:
        return [], []
    lines = lead(surface, np.array(starts), np.array(signs), slow, rtol, [*found.points[:, None], *found.curves])
    halves = list(zip(lines, signs, strict=True))
    return [line for line, sign in halves if sign < 0], [line for line, sign in halves if sign > 0]


def _on(z: np.ndarray, curves: list[Points]) -> bool:
    return any(np.min(np.linalg.norm(curve - z, axis=1)) < 2 * STEP for curve in curves)


def _kind(surface: AbstractSurface, z: np.ndarray, speed: float) -> str | None:
    """The type of a zero of the field; None where it is not at rest from all sides, or where a whole region is."""
    velocities, (here, *beside), slopes = (np.asarray(x) for x in _sides(surface, jnp.asarray(z)))
    # What no rotation changes: on the sphere each is written in a basis of its own.
    sizes = np.array([(np.trace(jacobian), np.linalg.norm(jacobian)) for jacobian in (here, *beside)])
    if not np.all(np.isfinite(sizes)):
        # Where the derivative is infinite, nothing tells what the point is.
        return None
    fastest = np.max(np.linalg.norm(velocities, axis=1))
    # Both in the drawing's lengths: where its sides differ, a derivative is another there.
    if fastest == 0 or fastest > _ALLOWED * _BESIDE * max(speed, slopes.max()):
        return None
    jumps = np.ptp(sizes, axis=0).max() > _JUMP * max(speed, np.abs(sizes).max())
    still = [
        not velocity.any() and not jacobian.any() for velocity, jacobian in zip(velocities[1:], beside, strict=True)
    ]
    if any(still):
        # At the rim of a region: so near to it, what vanishes along the rim has not quite vanished.
        moving = [jacobian for jacobian, rests in zip(beside, still, strict=True) if not rests]
        types = {_type(own, max(_FLAT * speed, _JUMP * float(np.linalg.norm(own))), surface.descends) for own in moving}
        return None if DEGENERATE in types else DEGENERATE
    kinds = {_type(jacobian, _FLAT * speed, surface.descends) for jacobian in (beside if jumps else [here])}
    return kinds.pop() if len(kinds) == 1 else DEGENERATE


def _type(jacobian: np.ndarray, flat: float, descends: bool) -> str:
    """What the eigenvalues say, those below `flat` counting as zero."""
    symmetric = np.abs(jacobian - jacobian.T).max() <= _SYMMETRIC * np.abs(jacobian).max()
    values = np.linalg.eigvalsh(jacobian) if symmetric else np.linalg.eigvals(jacobian)
    plus, minus, zero = count_signs(np.where(np.abs(values.real) > flat, values.real, 0.0))
    if plus and minus:
        return SADDLE
    if zero:
        return CENTRE if not descends and np.abs(values).min() > flat else DEGENERATE
    if descends:
        return MAXIMUM if plus else MINIMUM
    return SOURCE if plus else SINK


@eqx.filter_jit
def _zeros(surface: AbstractSurface, starts: Array) -> tuple[Array, Array, Array, Array, Array]:
    def one(start: Point) -> tuple[Array, Array, Array, Array, Array]:
        found, size = zero_near(surface.balance, start, _NEWTON_STEPS)
        still = jnp.all(surface.velocity(start) == 0)
        return found, size, surface.gradient_norm(found), surface.gradient_norm(start), still

    return jax.lax.map(one, starts, batch_size=64)


@eqx.filter_jit
def _sides(
    surface: AbstractSurface, z: Point
) -> tuple[Float[Array, "sides m"], Float[Array, "sides P P"], Float[Array, " sides"]]:
    """At the point and on eight sides of it: the velocity, the derivative of the full one, and how large the velocity's
    own derivative within the surface is."""
    basis = surface.tangents(z)
    beside = _BESIDE * jnp.concatenate([jnp.zeros((1, z.size)), _AROUND @ basis])

    def at(z: Point) -> tuple[Point, Array, Array]:
        slope = jnp.linalg.norm(basis @ jax.jacfwd(surface.velocity)(z) @ basis.T)
        return surface.velocity(z), surface.jacobian(z), slope

    return jax.lax.map(lambda offset: at(z + offset), beside)


def _eigenvectors(surface: AbstractSurface, z: np.ndarray, speed: float) -> tuple[np.ndarray, np.ndarray]:
    """Real eigenvalues (k,) and unit eigenvectors (k, 2) within the surface, in both directions; at a kink those that
    are eigenvectors of the derivative on the side that they point to."""
    here, *beside = np.asarray(_tangential(surface, jnp.asarray(z), jnp.asarray(_AROUND)))
    sizes = np.abs(np.array([here, *beside]))
    kink = np.ptp([here, *beside], axis=0).max() > _JUMP * max(speed, sizes.max())
    pairs: list[tuple[float, np.ndarray]] = []
    for jacobian in beside if kink else [here]:
        values, vectors = np.linalg.eig(jacobian)
        if np.all(np.imag(values) == 0):
            both = zip(np.real(values), np.real(vectors).T, strict=True)
            pairs += [(value, side * vector) for value, vector in both for side in (1, -1)]
    if kink and pairs:
        there = np.asarray(_tangential(surface, jnp.asarray(z), jnp.array([vector for _, vector in pairs])))[1:]
        own = [
            np.linalg.norm(jacobian @ vector - value * vector) < 10 * _JUMP * sizes.max()
            for jacobian, (value, vector) in zip(there, pairs, strict=True)
        ]
        pairs = [pair for pair, keeps in zip(pairs, own, strict=True) if keeps]
        # Several sides have the same.
        pairs = [
            pair
            for k, pair in enumerate(pairs)
            if not any(np.linalg.norm(pair[1] - other) < 10 * _JUMP for _, other in pairs[:k])
        ]
    return np.array([value for value, _ in pairs]), np.array([vector for _, vector in pairs]).reshape(-1, 2)


@eqx.filter_jit
def _tangential(surface: AbstractSurface, z: Point, ways: Float[Array, "ways 2"]) -> Float[Array, "places 2 2"]:
    """The derivative within the surface, in its basis of tangents, at the point and a little beside it in each way."""
    basis = surface.tangents(z)
    beside = _BESIDE * jnp.concatenate([jnp.zeros((1, 2)), ways]) @ basis
    return jax.lax.map(lambda offset: basis @ jax.jacfwd(surface.balance)(z + offset) @ basis.T, beside)


def _continued(surface: AbstractSurface, z: np.ndarray, speed: float, critical: float) -> tuple[Points, np.ndarray]:
    """The curve of equilibria through a degenerate one, both ways, and which of its rows attract."""
    rows, good, slopes = (np.asarray(x) for x in _trace(surface, *map(jnp.asarray, (z, speed, critical))))
    halves = []
    for way in range(2):
        count = int(np.argmin(good[way])) if not good[way].all() else len(good[way])
        halves.append((rows[way, :count], slopes[way, :count]))
    (forward, ahead), (backward, behind) = halves
    # A closed curve comes back to its start: one half is then the whole of it. Or the halves meet.
    if end := _first_near(forward, z):
        return np.concatenate([z[None], forward[:end]]), np.concatenate([ahead[:1], ahead[:end]]) < 0
    if len(forward) and (end := _first_near(backward, forward[-1])):
        backward, behind = backward[:end], behind[:end]
    curve = np.concatenate([backward[::-1], z[None], forward])
    slope = np.concatenate([behind[::-1], (ahead if len(ahead) else behind)[:1], ahead])
    return curve, slope < 0


def _first_near(rows: Points, z: np.ndarray) -> int:
    """How many rows of a curve there are to where it first passes `z`, which its first ten may be near; 0 for never."""
    near = np.flatnonzero(np.linalg.norm(rows[10:] - z, axis=1) < STEP)
    return 11 + int(near[0]) if near.size else 0


@eqx.filter_jit
def _trace(surface: AbstractSurface, z: Point, speed: Array, critical: Array) -> tuple[Array, Array, Array]:
    """Steps of length `STEP` along the null direction, each taken back to the curve; (way, row, …)."""

    def tangential(z: Point) -> tuple[Array, Array]:
        basis = surface.tangents(z)
        return basis, basis @ jax.jacfwd(surface.balance)(z) @ basis.T

    def null(z: Point) -> Point:
        basis, jacobian = tangential(z)
        return jnp.linalg.svd(jacobian)[2][1] @ basis

    def back(z: Point, _: None) -> tuple[Point, None]:
        basis, jacobian = tangential(z)
        left, values, right = jnp.linalg.svd(jacobian)
        # Of rank one, as along the curve: the step has no part along it.
        size = jnp.where(values[0] > 0, values[0], 1.0)
        return surface.onto(z - ((left[:, 0] @ (basis @ surface.balance(z))) / size * right[0]) @ basis), None

    def step(state: tuple[Point, Point], _: None) -> tuple[tuple[Point, Point], tuple[Array, Array, Array]]:
        z, heading = state
        moved = jax.lax.scan(back, surface.onto(z + STEP * heading), None, length=5)[0]
        direction = null(moved)
        direction = direction * jnp.where(jnp.vdot(direction, heading) < 0, -1.0, 1.0)
        jacobian = tangential(moved)[1]
        values = jnp.linalg.svd(jacobian)[1]
        length = jnp.linalg.norm(moved - z)
        good = (
            (jnp.linalg.norm(surface.balance(moved)) < 1e-10 * speed)
            & (surface.gradient_norm(moved) < critical)
            & (values[1] < _FLAT * speed)
            & (values[0] > _FLAT * speed)
            & (length > 0.5 * STEP)
            & (length < 2 * STEP)
            & surface.inside(moved)
        )
        return (moved, direction), (moved, good, jnp.trace(jacobian))

    start = null(z)
    both = [jax.lax.scan(step, (z, sign * start), None, length=_CURVE_ROWS)[1] for sign in (1.0, -1.0)]
    rows, good, slopes = (jnp.stack(parts) for parts in zip(*both, strict=True))
    return rows, good, slopes
