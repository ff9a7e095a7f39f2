"""Portraits against systems in closed form, and against solved trajectories."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial import KDTree

import gfsim as gf
from gfsim.portraits import (
    PlanarField,
    Portrait,
    Slice,
    planar,
    plane_of_hessian,
    plane_of_trajectory,
    plane_through,
    spherical,
)
from tests.systems.planar import KNOWN, Known

pytestmark = pytest.mark.slow


def portrait_of(system: Known, **options) -> Portrait:
    field = PlanarField(system.field, system.field.potential)
    window = (-system.side, system.side)
    return planar(field, window, window, **{"resolution": 7, "parts": ("points",), **options})


def split(points: np.ndarray) -> list[np.ndarray]:
    """The curves of a family."""
    breaks = np.flatnonzero(np.isnan(points[:, 0]))
    return [part[np.isfinite(part[:, 0])] for part in np.split(points, breaks)][:-1]


@pytest.mark.parametrize("name", KNOWN)
def test_critical_sets_are_found_whole(name):
    system = KNOWN[name]
    found = portrait_of(system)
    assert len(found.points) == len(system.points)
    for point, kind in system.points.items():
        distance = np.linalg.norm(found.points - np.array(point), axis=1)
        assert distance.min() < (1e-8 if kind != "degenerate" else 1e-3)
        assert found.kind[int(np.argmin(distance))] == kind
    assert np.all(found.gradient_norm < 1e-10)
    curves = split(found.curves)
    assert len(curves) == system.branches
    if system.curve is None:
        return
    rows = np.concatenate(curves)
    assert np.abs(system.curve(rows)).max() < 1e-10
    assert np.nanmin(found.attracting) == 1
    # No part of the curve within the window is missing: points of it from a fine grid, by one Newton step along x or y.
    steps = np.linspace(-0.98, 0.98, 400) * system.side
    for axis in (0, 1):
        for level in steps:
            line = np.stack([steps, np.full(400, level)][:: 1 if axis == 0 else -1], axis=1)
            values = system.curve(line)
            for place in line[:-1][values[:-1] * values[1:] < 0]:
                assert np.linalg.norm(rows - place, axis=1).min() < 0.05 * system.side


def test_streamlines_keep_what_the_flow_keeps():
    # a² − w² is conserved by ½(aw − 1)², and separatrices of its saddle are the diagonals.
    found = portrait_of(KNOWN["two-layer net"], parts=("streamlines", "points"))
    for line in split(found.streamlines):
        conserved = line[:, 0] ** 2 - line[:, 1] ** 2
        assert np.ptp(conserved) < 1e-4
    assert len(split(found.streamlines)) > 30
    stable, unstable = found.stable[np.isfinite(found.stable[:, 0])], found.unstable[np.isfinite(found.unstable[:, 0])]
    assert np.abs(stable.sum(axis=1)).max() < 1e-4
    assert np.abs(unstable[:, 0] - unstable[:, 1]).max() < 1e-4
    assert np.abs(stable).max() > 1.95
    assert np.abs(np.abs(unstable).max() - 1) < 0.05


def test_streamlines_are_evenly_spaced():
    spacing = 0.08
    found = portrait_of(KNOWN["four wells"], parts=("streamlines",), spacing=spacing)
    lines = [(line / 1.7 + 1) / 2 for line in split(found.streamlines)]
    for k, line in enumerate(lines):
        others = np.concatenate(lines[:k] + lines[k + 1 :])
        assert KDTree(others).query(line)[0].min() >= 0.5 * spacing - 1e-9
    x, y = np.meshgrid(*2 * [np.linspace(0.02, 0.98, 50)])
    holes = KDTree(np.concatenate(lines)).query(np.stack([x.ravel(), y.ravel()], axis=1))[0]
    assert holes.max() < 2 * spacing


def test_streamlines_are_solved_trajectories():
    network = gf.networks.DiagonalLinear(1)
    problem = gf.Problem(network, gf.Dataset(jnp.array([[1.0]]), jnp.array([0.5])), gf.losses.Square())
    found = planar(problem, (-1.5, 1.5), (-1.5, 1.5), resolution=20, spacing=0.2)
    lines = [line for line in split(found.streamlines) if len(line) > 40][:3]
    starts = jnp.asarray(np.stack([line[0] for line in lines]))
    run = gf.simulate(gf.GradientFlow(problem), starts, 5.0, save=gf.linear_spaced(0.0, 5.0, 60), rtol=1e-9)
    for line, path in zip(lines, np.asarray(run.theta), strict=True):
        fine = np.concatenate([np.linspace(a, b, 50) for a, b in itertools.pairwise(line)])
        along = path[np.linalg.norm(path - path[0], axis=1) < np.linalg.norm(line[-1] - line[0])]
        assert len(along) > 5
        assert KDTree(fine).query(along)[0].max() < 1e-3
    np.testing.assert_allclose(found.conserved, found.grid[..., 0] ** 2 - found.grid[..., 1] ** 2, atol=1e-12)
    np.testing.assert_allclose(found.level, 0.5 * (found.grid[..., 0] * found.grid[..., 1] - 0.5) ** 2, atol=1e-12)
    assert found.outside.max() < 1e-15


def test_basins():
    found = portrait_of(KNOWN["double well"], parts=("basins",), resolution=8)
    wells = found.points[found.basin]
    np.testing.assert_allclose(wells[..., 0], np.sign(found.grid[..., 0]), atol=1e-8)
    # Beyond the isolated points come the curves.
    ring = portrait_of(KNOWN["circle"], parts=("basins",), resolution=8)
    assert np.all(ring.basin == len(ring.points))


def rotated(x):
    """A source that spirals to the unit circle, which is no critical point."""
    r = jnp.sum(x**2)
    return jnp.stack([x[0] * (1 - r) - 2 * x[1], x[1] * (1 - r) + 2 * x[0]])


def test_fields_that_descend_nothing():
    found = planar(rotated, (-2.0, 2.0), (-2.0, 2.0), parts=("points",), resolution=5)
    assert found.kind == ["source"]
    assert np.isnan(found.level).all()
    assert len(found.stable) == 0


@pytest.mark.parametrize(
    ("matrix", "kind"),
    [
        ([[0, 2], [-1, 0]], "centre"),
        ([[-1, 2], [-2, -1]], "sink"),
        ([[1, 2], [0, 1]], "source"),
        ([[1, 2], [0, -1]], "saddle"),
    ],
)
def test_linear_fields_by_their_eigenvalues(matrix, kind):
    found = planar(partial(jnp.matmul, jnp.array(matrix, float)), (-1.0, 1.0), (-1.0, 1.0), parts=("points",))
    assert found.kind == [kind]


def bent(x, height):
    """½(x² − y²) + h max(x − y, 0)²: at 0 each side has a saddle's Hessian."""
    return 0.5 * (x[0] ** 2 - x[1] ** 2) + height * jnp.maximum(x[0] - x[1], 0) ** 2


def folded(x, height):
    """½(x² + y²) − h max(x, 0)²: for h > ½ a minimum on one side alone."""
    return 0.5 * jnp.sum(x**2) - height * jnp.maximum(x[0], 0) ** 2


@pytest.mark.parametrize(
    ("function", "height", "kind"),
    [(bent, 0.3, "saddle"), (folded, 0.3, "minimum"), (folded, -2.0, "minimum"), (folded, 0.8, "degenerate")],
)
def test_a_kink_is_what_its_sides_agree_on(function, height, kind):
    problem = gf.Problem.from_loss(partial(function, height=height), jnp.ones(2))
    found = planar(problem, (-1.0, 1.0), (-1.0, 1.0), parts=("points",))
    assert found.kind == [kind]


def rectified(x, targets):
    """One ReLU neuron a·max(±w, 0) on the inputs ±1: on w = 0 automatic differentiation says that nothing moves."""
    return 0.5 * ((x[1] * jax.nn.relu(x[0]) - targets[0]) ** 2 + (x[1] * jax.nn.relu(-x[0]) - targets[1]) ** 2)


def dead_on_one_side(x, power):
    return 0.5 * (x[1] * jax.nn.relu(x[0]) ** power - 1) ** 2


def plateau(x):
    return jax.nn.relu(x @ x - 1) ** 2


@pytest.mark.parametrize(
    ("function", "kinds"),
    [
        # The flow crosses w = 0, or slides on it, except at the origin, a saddle from both sides.
        (partial(rectified, targets=(1.0, 0.5)), ["saddle"]),
        (partial(rectified, targets=(1.0, -0.5)), ["saddle"]),
        (partial(rectified, targets=(-0.3, 0.9)), ["saddle"]),
        # The dead half-plane is no point, and of its rim the origin alone is isolated from outside.
        (partial(dead_on_one_side, power=1), ["degenerate"]),
        (partial(dead_on_one_side, power=2), ["degenerate"]),
        (plateau, []),
        # At 0 the gradient jumps.
        (lambda x: jnp.abs(x[0]) + x[1] ** 2, []),
    ],
)
def test_jumps_and_regions_at_rest_are_no_points(function, kinds):
    problem = gf.Problem.from_loss(function, jnp.ones(2))
    found = planar(problem, (-2.0, 2.0), (-2.0, 2.0), parts=("points",), resolution=5)
    assert found.kind == kinds
    np.testing.assert_allclose(found.points, np.zeros((len(kinds), 2)), atol=1e-9)


@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8])
def test_points_of_losses_of_any_size(scale):
    problem = gf.Problem.from_loss(lambda p: scale * ((p[0] ** 2 - 1) ** 2 + p[1] ** 2) / 3, jnp.ones(2))
    found = planar(problem, (-1.5, 1.5), (-1.0, 1.3), parts=("points",), resolution=5)
    assert sorted(found.kind) == ["minimum", "minimum", "saddle"]


def double_well_of_three(theta):
    """Critical only where z = 0: the plane z = ½ through θ-space has equilibria of its own that are none of L's."""
    return 0.25 * theta[0] ** 4 - 0.5 * theta[0] ** 2 + 0.5 * theta[1] ** 2 + 0.5 * theta[2] ** 2


def test_planes_through_more_parameters():
    problem = gf.Problem.from_loss(double_well_of_three, jnp.zeros(3))
    options = {"parts": ("points",), "resolution": 9}
    through = planar(
        plane_through(problem, np.eye(3, 3, -3) + np.eye(3, k=-1)[[0, 1, 2]]), (-1.5, 1.5), (-1.5, 1.5), **options
    )
    assert sorted(through.kind) == ["minimum", "minimum", "saddle"]
    assert through.outside.max() < 1e-12
    x, y = through.grid[..., 0], through.grid[..., 1]
    np.testing.assert_allclose(through.velocity, np.stack([x - x**3, -y], axis=-1), atol=1e-12)
    np.testing.assert_allclose(through.level, 0.25 * x**4 - 0.5 * x**2 + 0.5 * y**2, atol=1e-12)
    plane = Slice(problem, jnp.array([0.0, 0.0, 0.5]), jnp.eye(2, 3))
    above = planar(plane, (-1.5, 1.5), (-1.5, 1.5), **options)
    assert len(above.points) == 0
    inside = np.linalg.norm(above.velocity, axis=-1)
    np.testing.assert_allclose(above.outside, 0.5 / np.hypot(0.5, inside), rtol=1e-12)
    np.testing.assert_allclose(plane.coordinates(np.array([[0.3, 0.4, 9.0]])), [[0.3, 0.4]])
    flat = plane_of_hessian(problem, jnp.zeros(3))
    np.testing.assert_allclose(np.abs(np.asarray(flat.axes[0])), [1, 0, 0], atol=1e-12)
    rows = np.outer(np.linspace(0, 1, 9), [1.0, 2.0, 0.0]) + np.outer(np.linspace(0, 1, 9) ** 2, [0.0, 0.0, 1.0])
    main = plane_of_trajectory(problem, rows)
    again = np.asarray(main.origin) + main.coordinates(rows) @ np.asarray(main.axes)
    np.testing.assert_allclose(again, rows, atol=1e-12)


def test_the_flow_of_the_logarithm():
    """Of L = x⁴y²: log L = 4 ln x + 2 ln y, whatever L underflows to."""
    problem = gf.Problem.from_loss(lambda theta: theta[0] ** 4 * theta[1] ** 2, jnp.ones(2))
    plane = Slice(problem, jnp.zeros(2), jnp.eye(2), log=True)
    found = planar(plane, (1.0, 2.0), (1.0, 2.0), parts=(), resolution=5)
    x, y = found.grid[..., 0], found.grid[..., 1]
    np.testing.assert_allclose(found.level, 4 * np.log(x) + 2 * np.log(y), atol=1e-12)
    np.testing.assert_allclose(found.velocity, np.stack([-4 / x, -2 / y], axis=-1), rtol=1e-12)
    jacobian = plane.jacobian(jnp.array([1.0, 2.0]))
    np.testing.assert_allclose(jacobian, np.diag([4.0, 0.5]), atol=1e-12)


def stretched(u):
    """u ↦ diag(3, 2, 1)u: on the sphere ±e₁ attract, ±e₂ are saddles, ±e₃ repel."""
    return jnp.array([3.0, 2.0, 1.0]) * u


def test_the_sphere_of_a_matrix():
    found = spherical(stretched, parts=("streamlines", "points", "basins"), spacing=0.3, resolution=12)
    kinds = {tuple(np.round(point).astype(int)): kind for point, kind in zip(found.points, found.kind, strict=True)}
    expected = {(1, 0, 0): "sink", (0, 1, 0): "saddle", (0, 0, 1): "source"}
    assert kinds == {tuple(sign * k for k in key): kind for key, kind in expected.items() for sign in (1, -1)}
    assert np.all(found.gradient_norm < 1e-10)
    rows = found.streamlines[np.isfinite(found.streamlines[:, 0])]
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-12)
    # u₁u₃/u₂² is conserved: 3 + 1 − 2·2 = 0.
    for line in split(found.streamlines):
        if np.abs(line[:, 1]).min() > 0.1:
            assert np.ptp(line[:, 0] * line[:, 2] / line[:, 1] ** 2) < 1e-3
    # Both attract one half; the great circle u₁ = 0 between them holds the stable manifolds.
    shown = np.isfinite(found.grid[..., 0]) & (np.abs(found.grid[..., 0]) > 0.05)
    reached = found.points[found.basin[shown], 0]
    assert np.all(reached * found.grid[shown][:, 0] > 0.05)
    stable = found.stable[np.isfinite(found.stable[:, 0])]
    assert np.abs(stable[:, 0]).max() < 1e-4


def test_the_poles_of_a_neuron_have_no_type():
    # N = a Σ z_i max(w·x_i, 0)²: at w = 0 the second derivatives depend on the direction.
    x = np.random.default_rng(0).standard_normal((40, 2))
    y = np.maximum(x[:, 0], 0) ** 2 - 0.8 * np.maximum(x @ np.array([-0.5, 0.8]), 0) ** 2
    network = gf.networks.TwoLayer(2, 1, gf.networks.ReLUPower(2), key=jax.random.key(0))
    problem = gf.Problem(network, gf.Dataset(x, y), gf.losses.Square())
    found = spherical(problem, parts=("points",), resolution=4)
    poles = np.abs(found.points[:, 2]) > 1 - 1e-6
    assert [kind for kind, pole in zip(found.kind, poles, strict=True) if pole] == ["degenerate"] * 2
    minima = [k for k, kind in enumerate(found.kind) if kind == "minimum"]
    assert len(minima) == 2
    for k in minima:
        kkt = gf.landscape.correlation_kkt(problem, jnp.asarray(found.points[k]))
        assert kkt.moved < 1e-14
        assert kkt.eigenvalues[-1] < 0
        # Of the neuron's norm two thirds lie on w.
        np.testing.assert_allclose(found.points[k, 2] ** 2, 1 / 3, atol=1e-9)


def test_a_portrait_survives_its_record(tmp_path):
    found = portrait_of(KNOWN["double well"], parts=("points",))
    other = portrait_of(KNOWN["circle"], parts=("points",))
    both = found.to_xarray("well").merge(other.to_xarray("ring"))
    both.to_netcdf(tmp_path / "record.nc")
    import xarray

    record = xarray.load_dataset(tmp_path / "record.nc")
    for name, portrait in (("well", found), ("ring", other)):
        again = Portrait.from_xarray(record, name)
        assert again.kind == portrait.kind
        np.testing.assert_array_equal(again.points, portrait.points)
        np.testing.assert_array_equal(again.curves, portrait.curves)
        np.testing.assert_array_equal(again.grid, portrait.grid)
        assert not again.spherical


def test_bad_input_is_one_line():
    problem = gf.Problem.from_loss(double_well_of_three, jnp.zeros(3))
    window = (0.0, 1.0)
    for call, message in (
        (lambda: planar(problem, window, window), "field must be a problem of two parameters"),
        (
            lambda: planar(rotated, (1.0, 0.0), window),
            r"x must be a range \(from, to\) with from < to, was \(1.0, 0.0\)",
        ),
        (lambda: planar(rotated, window, window, spacing=0.0), "spacing must lie between 0.01 and 1, was 0.0"),
        (lambda: planar(rotated, window, window, rtol=1.0), "rtol must lie between 1e-12 and 1e-3, was 1.0"),
        (lambda: planar(rotated, window, window, parts=("lines",)), r"parts must be of streamlines, points and basins"),
        (lambda: spherical(problem), "field must be a homogeneous problem of three parameters"),
        (lambda: plane_through(problem, np.zeros((3, 3))), "points must span a plane, lay on a line"),
        (lambda: plane_through(problem, np.zeros((2, 3))), r"points must have shape \(3, 3\), was \(2, 3\)"),
        (
            lambda: plane_of_trajectory(problem, np.zeros((2, 3))),
            "thetas must have three rows or more, had 2",
        ),
    ):
        with pytest.raises(ValueError, match=f"^{message}") as raised:
            call()
        assert "\n" not in str(raised.value)
