"""Vector fields on two-dimensional surfaces: planes, planes through θ-space, and the sphere."""

import abc
from collections.abc import Callable, Sequence
from numbers import Integral

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float
from numpy.typing import ArrayLike

from gfsim.checks import finite_array, real_number
from gfsim.landscape.spectrum import spectrum
from gfsim.problems import Problem
from gfsim.problems.problem import checked_problem
from gfsim.types import Scalar, Theta

Point = Float[Array, "m"]
# Curves of one family have different lengths.
Points = Float[np.ndarray, "_ m"]
Range = tuple[float | int, float | int]

# How far beyond the frame lines are followed, of its side.
_MARGIN = 0.02
_GOLDEN = (5**0.5 - 1) / 2


class AbstractField(eqx.Module):
    """x' = field(x) in the plane, and what else is known there."""

    @property
    @abc.abstractmethod
    def descends(self) -> bool:
        """Whether the full velocity is known to be minus a gradient."""

    @abc.abstractmethod
    def __call__(self, x: Float[Array, "2"]) -> Float[Array, "2"]:
        """The velocity at x."""

    @abc.abstractmethod
    def measures(self, x: Float[Array, "2"]) -> tuple[Float[Array, "2"], Scalar, Scalar]:
        """The velocity; the function that the field descends, NaN where none is known; and the share of the full
        velocity that leaves the plane, between 0 and 1."""

    @abc.abstractmethod
    def whole(self, x: Float[Array, "2"]) -> Array:
        """The full velocity, which vanishes at critical points."""

    @abc.abstractmethod
    def jacobian(self, x: Float[Array, "2"]) -> Float[Array, "P P"]:
        """The derivative of the full velocity, whose eigenvalues tell what a critical point is."""


class PlanarField(AbstractField):
    """x' = function(x) for any function R² → R², which descends `potential` where one is given."""

    function: Callable[[Array], Array]
    potential: Callable[[Array], Array] | None = None

    @property
    def descends(self) -> bool:
        return self.potential is not None

    def __call__(self, x: Float[Array, "2"]) -> Float[Array, "2"]:
        return jnp.asarray(self.function(x), float)

    def measures(self, x: Float[Array, "2"]) -> tuple[Float[Array, "2"], Scalar, Scalar]:
        level = jnp.asarray(jnp.nan) if self.potential is None else jnp.asarray(self.potential(x))
        return self(x), level, jnp.zeros(())

    def whole(self, x: Float[Array, "2"]) -> Array:
        return self(x)

    def jacobian(self, x: Float[Array, "2"]) -> Float[Array, "2 2"]:
        return jax.jacfwd(self.__call__)(x)


class Slice(AbstractField):
    """θ = origin + x₁e₁ + x₂e₂ with orthonormal `axes` e, and the part x' = −(e·∇L(θ)) of gradient flow in that plane.

    With `log` the flow is that of log L: the same paths, where L itself underflows.
    """

    problem: Problem
    origin: Theta
    axes: Float[Array, "2 P"]
    log: bool = eqx.field(static=True, default=False)

    @property
    def descends(self) -> bool:
        return True

    def theta(self, x: Float[Array, "2"]) -> Theta:
        """θ of a point of the plane."""
        return self.origin + x @ self.axes

    def coordinates(self, theta: ArrayLike) -> Float[np.ndarray, "*rows 2"]:
        """The point of the plane next to each θ."""
        return (np.asarray(theta) - np.asarray(self.origin)) @ np.asarray(self.axes).T

    def whole(self, x: Float[Array, "2"]) -> Theta:
        theta = self.theta(x)
        return -jax.grad(self.problem.log_loss)(theta) if self.log else -self.problem.grad(theta)

    def __call__(self, x: Float[Array, "2"]) -> Float[Array, "2"]:
        return self.axes @ self.whole(x)

    def measures(self, x: Float[Array, "2"]) -> tuple[Float[Array, "2"], Scalar, Scalar]:
        # One pass forward and one back for all three.
        level, gradient = jax.value_and_grad(self.problem.log_loss if self.log else self.problem.loss)(self.theta(x))
        inside = self.axes @ gradient
        size, rest = jnp.linalg.norm(gradient), jnp.linalg.norm(gradient - inside @ self.axes)
        return -inside, level, jnp.where(size > 0, rest / jnp.where(size > 0, size, 1.0), 0.0)

    def jacobian(self, x: Float[Array, "2"]) -> Float[Array, "P P"]:
        if self.log:
            return -jax.hessian(self.problem.log_loss)(self.theta(x))
        return -self.problem.hessian(self.theta(x))


def plane_through(problem: Problem, points: ArrayLike, *, log: bool = False) -> Slice:
    """The plane through three points of θ-space, shape (3, P): the first is the origin, the second on the first axis.

    Raises TypeError or ValueError for another shape, for points that are not finite and for three on a line.
    """
    checked_problem(problem)
    points = finite_array("points", points, 3, problem.size)
    return _spanned(problem, points[0], points[1:] - points[0], "points", log)


def plane_of_hessian(problem: Problem, theta: Theta, which: tuple[int, int] = (0, -1)) -> Slice:
    """The plane through θ along two eigenvectors of ∇²L(θ), by their places in the ascending order of eigenvalues.

    Each has its largest entry positive. Without `which` those of the lowest and of the highest eigenvalue.

    Raises TypeError or ValueError for a θ of another shape or that is not finite, and unless `which` holds two places
    that differ.
    """
    checked_problem(problem)
    theta = jnp.asarray(finite_array("theta", theta, problem.size))
    if not (isinstance(which, Sequence) and len(which) == 2 and all(isinstance(place, Integral) for place in which)):
        raise TypeError(f"which must be two places, was {which!r}")
    if len({place % problem.size for place in which}) < 2 or any(not -problem.size <= k < problem.size for k in which):
        raise ValueError(f"which must be two different places among {problem.size} eigenvalues, was {which}")
    vectors = spectrum(problem, theta, None if problem.size <= 3000 else max(map(abs, which)) + 1).vectors
    pair = np.stack([vectors[place] for place in which])
    largest = np.take_along_axis(pair, np.argmax(np.abs(pair), axis=1)[:, None], axis=1)
    return _spanned(problem, np.asarray(theta), pair * np.sign(largest), "which", False)


def plane_of_trajectory(problem: Problem, thetas: ArrayLike) -> Slice:
    """The plane through the mean of a trajectory's rows along their two leading principal directions.

    `thetas` has shape (T, P). Raises TypeError or ValueError for another shape, fewer than three rows, rows that are
    not finite, or rows on a line.
    """
    checked_problem(problem)
    thetas = finite_array("thetas", thetas, "T", problem.size)
    if len(thetas) < 3:
        raise ValueError(f"thetas must have three rows or more, had {len(thetas)}")
    middle = thetas.mean(axis=0)
    _, sizes, vectors = np.linalg.svd(thetas - middle, full_matrices=False)
    if len(sizes) < 2 or not sizes[1] > 1e-8 * sizes[0]:
        raise ValueError("thetas must span a plane, lay on a line")
    vectors = vectors[:2]
    signs = np.sign((thetas[-1] - thetas[0]) @ vectors.T)
    return _spanned(problem, middle, vectors * np.where(signs == 0, 1, signs)[:, None], "thetas", False)


def _spanned(problem: Problem, origin: np.ndarray, spans: np.ndarray, name: str, log: bool) -> Slice:
    first = spans[0] / max(np.linalg.norm(spans[0]), np.finfo(float).tiny)
    second = spans[1] - (spans[1] @ first) * first
    if not (np.linalg.norm(spans[0]) > 0 and np.linalg.norm(second) > 1e-8 * np.linalg.norm(spans[1])):
        raise ValueError(f"{name} must span a plane, lay on a line")
    axes = np.stack([first, second / np.linalg.norm(second)])
    return Slice(problem, jnp.asarray(origin), jnp.asarray(axes), log)


class AbstractSurface(eqx.Module):
    """Where a portrait is computed: points z ∈ R^m, in which lengths are those of the drawing."""

    @property
    @abc.abstractmethod
    def descends(self) -> bool:
        """Whether the velocity is known to be that of a gradient flow."""

    @abc.abstractmethod
    def velocity(self, z: Point) -> Point:
        """z', tangent to the surface."""

    @abc.abstractmethod
    def balance(self, z: Point) -> Point:
        """A function R^m → R^m that vanishes at the surface's equilibria alone."""

    @abc.abstractmethod
    def tangents(self, z: Point) -> Float[Array, "2 m"]:
        """An orthonormal basis of the tangent plane."""

    @abc.abstractmethod
    def onto(self, z: Point) -> Point:
        """The point of the surface next to z."""

    @abc.abstractmethod
    def inside(self, z: Float[Array, "*rows m"]) -> Bool[Array, "*rows"]:
        """Whether z is on the drawn part, a little beyond its edge included."""

    @abc.abstractmethod
    def gradient_norm(self, z: Point) -> Scalar:
        """The norm of the full velocity, in the units of the problem."""

    @abc.abstractmethod
    def jacobian(self, z: Point) -> Array:
        """The derivative of the full velocity."""

    @abc.abstractmethod
    def measures(self, x: Point) -> tuple[Point, Scalar, Scalar]:
        """At a point in drawn coordinates: the velocity there, the function descended, and the share outside."""

    @abc.abstractmethod
    def lattice(self, spacing: float) -> Points:
        """Points of the drawn part, about `spacing` apart and on no line of symmetry."""

    @abc.abstractmethod
    def rim(self, spacing: float) -> Points:
        """Points of the drawn part's edge, about `spacing` apart, with its corners."""

    @abc.abstractmethod
    def drawn(self, z: np.ndarray) -> np.ndarray:
        """Coordinates in which the points (rows, m) are drawn; rows of NaN stay."""


class Window(AbstractSurface):
    """A rectangle of the plane as the unit square: z = (x − low)/side."""

    field: AbstractField
    low: Float[Array, "2"]
    side: Float[Array, "2"]

    def __init__(self, field: AbstractField, x: Range, y: Range):
        for name, ends in (("x", x), ("y", y)):
            if not isinstance(ends, Sequence | np.ndarray) or len(ends) != 2:
                raise ValueError(f"{name} must be a range (from, to) with from < to, was {ends!r}")
            low, high = (real_number(name, end) for end in ends)
            if not (low < high and high - low < np.inf):
                raise ValueError(f"{name} must be a range (from, to) with from < to, was {(low, high)}")
        self.field = field
        self.low = jnp.array([x[0], y[0]], float)
        self.side = jnp.array([x[1] - x[0], y[1] - y[0]], float)

    @property
    def descends(self) -> bool:
        return self.field.descends

    def place(self, z: Point) -> Point:
        """x of a point of the unit square."""
        return self.low + self.side * z

    def velocity(self, z: Point) -> Point:
        return self.field(self.place(z)) / self.side

    def balance(self, z: Point) -> Point:
        return self.velocity(z)

    def tangents(self, z: Point) -> Float[Array, "2 m"]:
        return jnp.eye(2)

    def onto(self, z: Point) -> Point:
        return z

    def inside(self, z: Float[Array, "*rows m"]) -> Bool[Array, "*rows"]:
        return jnp.all((z > -_MARGIN) & (z < 1 + _MARGIN), axis=-1)

    def gradient_norm(self, z: Point) -> Scalar:
        return jnp.linalg.norm(self.field.whole(self.place(z)))

    def jacobian(self, z: Point) -> Array:
        return self.field.jacobian(self.place(z))

    def measures(self, x: Point) -> tuple[Point, Scalar, Scalar]:
        return self.field.measures(x)

    def lattice(self, spacing: float) -> Points:
        count = max(2, round(1 / spacing))
        k = np.arange(count)
        x, y = np.meshgrid((k + _GOLDEN) / (count + 0.3), (k + _GOLDEN**2) / (count + 0.3))
        return np.stack([x.ravel(), y.ravel()], axis=1)

    def rim(self, spacing: float) -> Points:
        along = np.linspace(0, 1, max(2, round(1 / spacing)))[:-1]
        once = [np.stack(side, axis=1) for side in ((along, 0 * along), (1 + 0 * along, along))]
        return np.concatenate([*once, *(1 - side for side in once)])

    def drawn(self, z: np.ndarray) -> np.ndarray:
        return np.asarray(self.low) + np.asarray(self.side) * z


class Sphere(AbstractSurface):
    """The unit sphere S² with the tangential part of a function R³ → R³ as its field, which descends `potential`."""

    function: Callable[[Array], Array]
    potential: Callable[[Array], Array] | None = None

    @property
    def descends(self) -> bool:
        return self.potential is not None

    def velocity(self, z: Point) -> Point:
        u = z / jnp.linalg.norm(z)
        v = self.function(u)
        return v - jnp.vdot(u, v) * u

    def balance(self, z: Point) -> Point:
        # The second term leaves no zero off the sphere but near its centre, and is orthogonal to the first.
        return self.velocity(z) + 0.5 * (1 - jnp.vdot(z, z)) * z

    def tangents(self, z: Point) -> Float[Array, "2 m"]:
        u = z / jnp.linalg.norm(z)
        # The coordinate axis most nearly orthogonal to u gives the first tangent.
        axis = jnp.eye(3)[jnp.argmin(jnp.abs(u))]
        first = axis - jnp.vdot(u, axis) * u
        first = first / jnp.linalg.norm(first)
        return jnp.stack([first, jnp.cross(u, first)])

    def onto(self, z: Point) -> Point:
        return z / jnp.linalg.norm(z)

    def inside(self, z: Float[Array, "*rows m"]) -> Bool[Array, "*rows"]:
        return jnp.linalg.norm(z, axis=-1) > 0.5

    def gradient_norm(self, z: Point) -> Scalar:
        return jnp.linalg.norm(self.velocity(z))

    def jacobian(self, z: Point) -> Array:
        basis = self.tangents(z)
        return basis @ jax.jacfwd(self.velocity)(z) @ basis.T

    def measures(self, x: Point) -> tuple[Point, Scalar, Scalar]:
        level = jnp.asarray(jnp.nan) if self.potential is None else jnp.asarray(self.potential(x))
        return self.velocity(x), level, jnp.zeros(())

    def lattice(self, spacing: float) -> Points:
        # Fibonacci's lattice: even in area.
        count = max(4, round(4 * np.pi / spacing**2))
        k = np.arange(count) + 0.5
        height, turn = 1 - 2 * k / count, 2 * np.pi * _GOLDEN * k
        across = np.sqrt(1 - height**2)
        return np.stack([across * np.cos(turn), across * np.sin(turn), height], axis=1)

    def rim(self, spacing: float) -> Points:
        return np.zeros((0, 3))

    def drawn(self, z: np.ndarray) -> np.ndarray:
        return z / np.linalg.norm(z, axis=-1, keepdims=True)


class CorrelationAscent(eqx.Module):
    """u ↦ ∇N(u) for the neural correlation function of a problem."""

    problem: Problem

    def __call__(self, u: Theta) -> Theta:
        return jax.grad(self.problem.correlation)(u)


class NegativeCorrelation(eqx.Module):
    """u ↦ −N(u)."""

    problem: Problem

    def __call__(self, u: Theta) -> Scalar:
        return -self.problem.correlation(u)


class Balance(eqx.Module):
    """θ ↦ the first of the problem's conserved quantities."""

    problem: Problem

    def __call__(self, theta: Theta) -> Scalar:
        conserved = self.problem.balancedness(theta)
        assert conserved is not None
        return conserved.ravel()[0]
