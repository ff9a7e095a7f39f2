"""Portraits of fields that are stiff, spiral, rest, are crowded with points, or have curves of them on the sphere."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

import gfsim as gf
from gfsim.plotting.series import unfold
from gfsim.portraits import destinations, planar, spherical

pytestmark = pytest.mark.slow
WINDOW = (-1.0, 1.0)


def split(points: np.ndarray) -> list[np.ndarray]:
    """The curves of a family."""
    return [part[np.isfinite(part[:, 0])] for part in np.split(points, np.flatnonzero(np.isnan(points[:, 0])))][:-1]


def descent_of(loss, **options):
    problem = gf.Problem.from_loss(loss, jnp.ones(2))
    return planar(problem, **{"x": WINDOW, "y": WINDOW, "parts": ("points",), "resolution": 5, **options})


def matrix_field(x, matrix):
    """As a `Partial` with its matrix it is compiled once for all."""
    return matrix @ x


def valley(x, stiffness):
    return 0.25 * (x[0] ** 2 - 1) ** 2 + 0.5 * stiffness * x[1] ** 2


def test_every_start_in_rosenbrocks_valley_reaches_its_minimum():
    banana = lambda x: (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2  # noqa: E731
    found = descent_of(banana, x=(-2.0, 2.0), y=(-1.0, 3.0), parts=("basins",), resolution=8)
    assert found.kind == ["minimum"]
    assert np.all(found.basin == 0)


def test_a_stiff_valley_leads_from_its_saddle_to_its_minima():
    found = descent_of(Partial(valley, stiffness=3e3), x=(-1.5, 1.5), y=(-1.0, 1.2))
    ends = np.array([line[-1] for line in split(found.unstable)])
    np.testing.assert_allclose(np.sort(ends[:, 0]), [-1, 1], atol=0.1)
    np.testing.assert_allclose(ends[:, 1], 0, atol=1e-3)


def test_spirals_are_followed_to_their_sink():
    turning = Partial(matrix_field, matrix=jnp.array([[0.0, 1.0], [-1.0, -0.05]]))
    found = planar(turning, WINDOW, WINDOW, parts=("basins",), resolution=9)
    assert found.kind == ["sink"]
    inside = np.linalg.norm(found.grid, axis=-1) < 0.95
    assert np.all(found.basin[inside] == 0)


def test_the_type_hangs_on_no_unit():
    for scale in (1e-12, 1.0, 1e12):
        turning = Partial(matrix_field, matrix=scale * jnp.array([[0.0, 2.0], [-1.0, 0.0]]))
        assert planar(turning, WINDOW, WINDOW, parts=("points",), resolution=5).kind == ["centre"]


def waves(x, count):
    return jnp.sum(jnp.cos(count * jnp.pi * x))


def test_a_crowd_of_points_is_found_whole_to_the_windows_corners():
    found = descent_of(Partial(waves, count=14), x=(0.0, 1.0), y=(0.0, 1.0))
    places = 14 * found.points
    np.testing.assert_allclose(places, places.round(), atol=1e-6)
    assert len({tuple(place) for place in places.round()}) == len(found.kind) == 15**2


def half_dead(x):
    """Rests where x₁ ≤ ½, which is most of the window; its minimum is (0.7, 0)."""
    live = jax.nn.relu(x[0] - 0.5) ** 2
    return 0.5 * (live - 0.04) ** 2 + live * x[1] ** 2


def test_what_rests_has_no_streamlines_and_hides_no_point():
    found = descent_of(half_dead, x=(-2.0, 1.0), parts=("points", "streamlines"))
    assert found.kind == ["minimum"]
    np.testing.assert_allclose(found.points, [[0.7, 0]], atol=1e-6)
    assert len(found.streamlines)
    assert np.nanmin(found.streamlines[:, 0]) > 0.45
    still = planar(Partial(matrix_field, matrix=jnp.zeros((2, 2))), WINDOW, WINDOW, resolution=5)
    assert len(still.streamlines) == len(still.points) == 0


def test_a_small_ring_is_traced_once():
    found = descent_of(lambda x: 0.5 * (x @ x - 0.01) ** 2, x=(-1.0, 1.1))
    (ring,) = split(found.curves)
    assert 0.9 < np.sum(np.linalg.norm(np.diff(ring, axis=0), axis=1)) / (0.2 * np.pi) < 1.1


def two_sided(x):
    return 0.5 * ((x[1] * jax.nn.relu(x[0]) - 1) ** 2 + (x[1] * jax.nn.relu(-x[0]) - 0.5) ** 2)


def test_a_saddle_on_a_kink_has_the_manifolds_of_its_sides():
    found = descent_of(two_sided, x=(-2.0, 2.0), y=(-2.0, 2.0))
    assert found.kind == ["saddle"]
    # x' = y, y' = x to the right; half of minus that to the left. Unstable halves go up, to where their side fits.
    for family, slope in ((found.unstable, 1.0), (found.stable, -1.0)):
        lines = split(family)
        assert sorted(np.sign(line[-1, 0]) for line in lines) == [-1, 1]
        for line in lines:
            np.testing.assert_allclose(line[:, 1], slope * np.abs(line[:, 0]), atol=1e-4)
    ends = sorted(tuple(line[-1]) for line in split(found.unstable))
    np.testing.assert_allclose(ends, [(-(0.5**0.5), 0.5**0.5), (1, 1)], atol=0.05)


def test_a_great_circle_of_sinks_is_one_closed_curve():
    found = spherical(
        Partial(matrix_field, matrix=jnp.diag(jnp.array([2.0, 2.0, 1.0]))), parts=("points",), resolution=4
    )
    assert found.kind == ["source", "source"]
    (circle,) = split(found.curves)
    np.testing.assert_allclose(circle[:, 2], 0, atol=1e-9)
    assert 0.99 < np.sum(np.linalg.norm(np.diff(circle, axis=0), axis=1)) / (2 * np.pi) < 1.01
    assert np.nanmin(found.attracting) == 1


def test_nothing_rests_inside_the_sphere():
    skew = jnp.array([[1.0, 5.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 3.0]])
    found = spherical(Partial(matrix_field, matrix=skew), parts=("points",), resolution=4)
    assert sorted(found.kind) == ["saddle"] * 2 + ["sink"] * 2 + ["source"] * 2


def test_directions_of_any_length_have_a_destination():
    field = Partial(matrix_field, matrix=jnp.diag(jnp.array([3.0, 2.0, 1.0])))
    portrait = spherical(field, parts=("points",), resolution=4)
    directions = np.random.default_rng(0).standard_normal((10, 3))
    reached = portrait.points[destinations(field, portrait, 7 * directions)]
    np.testing.assert_allclose(reached[:, 0], np.sign(directions[:, 0]), atol=1e-9)
    assert destinations(field, portrait, directions[:0]).shape == (0,)


def test_a_portraits_curves_run_along_no_clock():
    found = planar(Partial(matrix_field, matrix=jnp.diag(jnp.array([1.0, -1.0]))), WINDOW, WINDOW, resolution=5)
    assert len(found.streamlines)
    assert len(found.stable)
    assert unfold(found.to_xarray("plane")) == ([], [])


def test_float32_is_refused():
    with jax.enable_x64(False):
        for call in (lambda: planar(lambda x: x, WINDOW, WINDOW), lambda: spherical(lambda u: u)):
            with pytest.raises(ValueError, match=r"^gfsim needs float64"):
                call()


def test_a_field_of_whole_numbers_is_one_of_floats():
    found = planar(lambda x: jnp.array([1, 0]), WINDOW, WINDOW, resolution=5, parts=("streamlines",), spacing=0.2)
    assert found.velocity.dtype == np.float64
    for line in split(found.streamlines):
        assert np.ptp(line[:, 1]) < 1e-12


@pytest.mark.parametrize("aspect", [1.0, 20.0, 1000.0])
def test_no_saddle_is_lost_in_a_window_of_unequal_sides(aspect):
    found = descent_of(Partial(stretched_waves, aspect=aspect), x=(-0.5, 7.0), y=(-0.5 * aspect, 7.0 * aspect))
    assert sorted(found.kind) == ["maximum"] * 2 + ["minimum"] * 2 + ["saddle"] * 9
    for place, kind in zip(np.asarray(found.points), found.kind, strict=True):
        # Zeros of sin·sin, and of cos·cos.
        lattice = place / [1.0, aspect] / (np.pi / 2)
        np.testing.assert_allclose(lattice, lattice.round(), atol=1e-6)
        assert set(lattice.round() % 2) == ({0.0} if kind == "saddle" else {1.0})


def stretched_waves(x, aspect):
    return jnp.sin(x[0]) * jnp.sin(x[1] / aspect)
