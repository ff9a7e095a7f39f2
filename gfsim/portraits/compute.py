"""The numbers of a phase portrait, computed."""

from collections.abc import Callable, Collection, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from gfsim.checks import finite_array, positive_integer, real_number
from gfsim.portraits.equilibria import ATTRACTING, Equilibria, equilibria, separatrices
from gfsim.portraits.lines import REST, STEP, evenly_spaced, lead, typical_speed
from gfsim.portraits.portrait import Portrait
from gfsim.portraits.surfaces import (
    AbstractField,
    AbstractSurface,
    Balance,
    CorrelationAscent,
    NegativeCorrelation,
    PlanarField,
    Points,
    Range,
    Slice,
    Sphere,
    Window,
)
from gfsim.problems import Problem
from gfsim.problems.checks import require_x64, traced

# Points of a grid that are evaluated at once.
_CHUNK = 64
# Of no basin.
NOWHERE = -1
PARTS = ("streamlines", "points")


def planar(
    field: "Problem | AbstractField | Callable[[Array], Array]",
    x: Range,
    y: Range,
    *,
    parts: Sequence[str] = PARTS,
    spacing: float = 0.05,
    resolution: int = 100,
    conserved: Callable[[Array], Array] | None = None,
    rtol: float = 1e-6,
) -> Portrait:
    """The phase portrait of x' = field(x) in the window x × y.

    **Arguments:**

    - `field`: a problem of two parameters (its gradient flow), a plane through a larger one (`plane_through`,
      `plane_of_hessian`, `plane_of_trajectory`), or any function R² → R² that JAX can trace.
    - `parts`: "streamlines"; "points", critical points with the manifolds of saddles; "basins" of the minima.
    - `spacing` of the streamlines, in units of the window's side; `resolution`: grid points along a side.
    - `conserved`: a function R² → R whose level sets are drawn; of a problem of two parameters its own.
    - `rtol`: local error of the curves, of the window's side.

    Points up to 2 % of a side beyond the window are kept. A manifold or the way to a basin is followed through at most
    60,000 steps: where the field is stiffer than about 1e4 it may end before its point, and the basin is −1.

    Raises TypeError or ValueError for a problem of more than two parameters, and arguments of the wrong kind or range.
    """
    plane = _as_field(field)
    if conserved is not None:
        _check_value("conserved", conserved, 2, ())
    elif isinstance(field, Problem) and field.balancedness(field.theta) is not None:
        conserved = Balance(field)
    window = Window(plane, x, y)
    steps = np.linspace(0, 1, _at_least_two(resolution))
    z = np.stack(np.meshgrid(steps, steps), axis=-1)
    return _portrait(window, z, parts, spacing, conserved, rtol)


def spherical(
    field: "Problem | Callable[[Array], Array]",
    *,
    parts: Sequence[str] = PARTS,
    spacing: float = 0.1,
    resolution: int = 80,
    rtol: float = 1e-6,
) -> Portrait:
    """The phase portrait on the unit sphere S² of u' = (I − uuᵀ)field(u).

    `field` is a problem of three parameters with a homogeneous network, for the ascent of its neural correlation
    function, or a function R³ → R³. The other arguments are those of `planar`, lengths being those on the sphere.

    Raises ValueError for a problem that is not homogeneous or has another number of parameters.
    """
    sphere = _as_sphere(field)
    return _portrait(sphere, hemispheres(_at_least_two(resolution)), parts, spacing, None, rtol)


def hemispheres(resolution: int) -> Float[np.ndarray, "2 n n 3"]:
    """Grids of the two hemispheres u₃ > 0 and u₃ < 0 in Lambert's azimuthal projection: equal areas stay equal."""
    side = np.linspace(-1, 1, resolution)
    p, q = np.meshgrid(side, side)
    squared = p**2 + q**2
    # A little beyond the rim, where a drawing is clipped, the rim's own points.
    shrink = 1 / np.sqrt(np.maximum(squared, 1))
    inner = np.minimum(squared, 1)
    across = np.sqrt(2 - inner) * shrink
    upper = np.stack([across * p, across * q, 1 - inner], axis=-1)
    upper[squared > (1 + 3 / resolution) ** 2] = np.nan
    return np.stack([upper, upper * np.array([1, 1, -1])])


def measured(
    field: "Problem | AbstractField | Callable[[Array], Array]", points: Float[np.ndarray, "rows 2"]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """At many points of the plane: the velocity (rows, 2), the function descended (rows,), and the share outside."""
    return _measured(Window(_as_field(field), (0, 1), (0, 1)), finite_array("points", points, "rows", 2))


def basins(
    surface: AbstractSurface, points: Points, found: Equilibria, slow: float, rtol: float
) -> Int[np.ndarray, "rows"]:
    """Where each of many points flows to: the place in `found` of a minimum or sink, or their number plus a curve's."""
    targets = [(k, z[None]) for k, z in enumerate(found.points) if found.kind[k] in ATTRACTING]
    more = enumerate(zip(found.curves, found.attracting, strict=True), len(found.points))
    targets += [(k, curve[attracting]) for k, (curve, attracting) in more if attracting.any()]
    labels = np.full(len(points), NOWHERE)
    if not targets or not len(points):
        return labels
    lines = lead(surface, points, np.ones(len(points)), slow, rtol, [z for _, z in targets])
    ends = np.array([line[-1] for line in lines])
    distances = np.stack([np.min(np.linalg.norm(ends[:, None] - z, axis=2), axis=1) for _, z in targets])
    nearest = np.argmin(distances, axis=0)
    # The last row kept is up to a step before the end.
    close = distances.min(axis=0) < 3 * STEP
    labels[close] = np.array([k for k, _ in targets])[nearest[close]]
    return labels


def destinations(
    field: "Problem | Callable[[Array], Array]", portrait: Portrait, directions: Float[np.ndarray, "rows 3"]
) -> Int[np.ndarray, "rows"]:
    """Where each of many directions, of any length, flows to on the sphere of which `portrait` was computed: the place
    in its points.

    −1 where it reaches none of the minima or sinks.

    Raises ValueError for a portrait of the plane, and for directions of another shape, not finite, or without length.
    """
    sphere = _as_sphere(field)
    if not portrait.spherical:
        raise ValueError("portrait must be of the sphere, was of the plane")
    directions = finite_array("directions", directions, "rows", 3)
    lengths = np.linalg.norm(directions, axis=1, keepdims=True)
    if not np.all(lengths > 0):
        raise ValueError("directions must have a length, held a row of zeros")
    directions = directions / lengths
    found = Equilibria(portrait.points, portrait.kind, portrait.gradient_norm, [], [])
    return basins(sphere, directions, found, REST * typical_speed(sphere), 1e-6)


def _as_sphere(field: "Problem | Callable[[Array], Array]") -> Sphere:
    require_x64()
    if not isinstance(field, Problem):
        _check_value("field", field, 3, (3,))
        return Sphere(field)
    if field.size != 3 or field.degree is None:
        raise ValueError(
            "field must be a homogeneous problem of three parameters, "
            f"had {field.size} parameters and degree {field.degree}"
        )
    return Sphere(CorrelationAscent(field), NegativeCorrelation(field))


def _as_field(field: "Problem | AbstractField | Callable[[Array], Array]") -> AbstractField:
    require_x64()
    if isinstance(field, AbstractField):
        if isinstance(field, PlanarField):
            _check_value("field", field, 2, (2,))
            if field.potential is not None:
                _check_value("potential", field.potential, 2, ())
        if isinstance(field, Slice):
            _check_slice(field)
        return field
    if isinstance(field, Problem):
        if field.size != 2:
            raise ValueError(
                f"field must be a problem of two parameters, or a plane through its {field.size}-dimensional space "
                "(gfsim.portraits.plane_through and its like)"
            )
        return Slice(field, jnp.zeros(2), jnp.eye(2))
    if not callable(field):
        raise TypeError(f"field must be a problem, a plane or a function of R², was {type(field).__name__}")
    _check_value("field", field, 2, (2,))
    return PlanarField(field)


def _check_slice(plane: Slice) -> None:
    finite_array("origin", plane.origin, plane.problem.size)
    axes = finite_array("axes", plane.axes, 2, plane.problem.size)
    if not np.allclose(axes @ axes.T, np.eye(2), rtol=0, atol=1e-8):
        raise ValueError(f"axes must be orthonormal, had products {(axes @ axes.T).ravel().tolist()}")


def _check_value(name: str, function: Callable[[Array], Array], size: int, shape: tuple[int, ...]) -> None:
    found = traced(name, function, f"a function of an array of shape ({size},)", jnp.zeros(size))
    if found.shape != shape:
        raise ValueError(f"{name} must return an array of shape {shape}, returned one of {found.shape}")
    if found.dtype.kind not in "fiu":
        raise TypeError(f"{name} must return real numbers, returned {found.dtype}")


def _at_least_two(resolution: int) -> int:
    if positive_integer("resolution", resolution) < 2:
        raise ValueError(f"resolution must be at least 2, was {resolution}")
    return resolution


def _portrait(
    surface: AbstractSurface,
    grid: np.ndarray,
    parts: Sequence[str],
    spacing: float,
    conserved: Callable[[Array], Array] | None,
    rtol: float,
) -> Portrait:
    if isinstance(parts, str) or not isinstance(parts, Collection):
        raise TypeError(f"parts must be a sequence of streamlines, points and basins, was {parts!r}")
    if unknown := [part for part in parts if part not in ("streamlines", "points", "basins")]:
        raise ValueError(f"parts must be of streamlines, points and basins, was {unknown}")
    if not 0.01 <= real_number("spacing", spacing) <= 1:
        raise ValueError(f"spacing must lie between 0.01 and 1, was {spacing}")
    if not 1e-12 <= real_number("rtol", rtol) <= 1e-3:
        raise ValueError(f"rtol must lie between 1e-12 and 1e-3, was {rtol}")
    m = grid.shape[-1]
    flat = grid.reshape(-1, m)
    shown = np.all(np.isfinite(flat), axis=1)
    drawn = surface.drawn(flat)

    def whole(values: np.ndarray, fill: float | int = np.nan) -> np.ndarray:
        """Values at the shown points, on the whole grid."""
        full = np.full((len(flat), *values.shape[1:]), fill, values.dtype)
        full[shown] = values
        return full.reshape(*grid.shape[:-1], *values.shape[1:])

    def joined(family: list[np.ndarray]) -> np.ndarray:
        return surface.drawn(_joined(family, m))

    velocity, level, outside = _measured(surface, drawn[shown])
    kept = np.full(len(velocity), np.nan) if conserved is None else _values(conserved, drawn[shown])
    speed = typical_speed(surface)
    if not np.isfinite(speed):
        raise ValueError("field must be finite somewhere in the window, was NaN or infinity")
    slow = REST * speed
    found = Equilibria(np.zeros((0, m)), [], np.zeros(0), [], [])
    if {"points", "basins"} & set(parts):
        found = equilibria(surface, speed)
    stable, unstable = separatrices(surface, found, speed, slow, rtol)
    basin = np.full(len(velocity), NOWHERE)
    if "basins" in parts:
        basin = basins(surface, flat[shown], found, slow, rtol)
    return Portrait(
        streamlines=joined(evenly_spaced(surface, spacing, rtol) if "streamlines" in parts else []),
        points=surface.drawn(found.points),
        kind=found.kind,
        gradient_norm=found.gradient_norm,
        curves=joined(found.curves),
        attracting=_joined([side[:, None].astype(float) for side in found.attracting], 1)[:, 0],
        stable=joined(stable),
        unstable=joined(unstable),
        grid=drawn.reshape(grid.shape),
        velocity=whole(velocity),
        level=whole(level),
        outside=whole(outside),
        conserved=whole(kept),
        basin=whole(basin, NOWHERE),
    )


def _joined(family: list[np.ndarray], m: int) -> np.ndarray:
    """Curves one after the other, with a row of NaN behind each."""
    gap = np.full((1, m), np.nan)
    return np.concatenate([np.zeros((0, m)), *(part for line in family for part in (line, gap))])


def _measured(surface: AbstractSurface, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    velocity, level, outside = (np.asarray(x) for x in _measure(surface, jnp.asarray(points)))
    return velocity, level, outside


@eqx.filter_jit
def _measure(surface: AbstractSurface, points: Float[Array, "rows m"]) -> tuple[Array, Array, Array]:
    return jax.lax.map(surface.measures, points, batch_size=_CHUNK)


def _values(function: Callable[[Array], Array], points: np.ndarray) -> np.ndarray:
    return np.asarray(_evaluate(function, jnp.asarray(points)))


@eqx.filter_jit
def _evaluate(function: Callable[[Array], Array], points: Float[Array, "rows m"]) -> Array:
    return jax.lax.map(function, points, batch_size=_CHUNK)
