"""Critical points with known signs, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gfsim.landscape import Kind, classify, critical_points, inertia, polish
from gfsim.landscape.critical import count_signs
from gfsim.problems import Dataset, Problem, losses
from gfsim.problems.data import teacher
from gfsim.problems.networks import Tanh, TwoLayer


def problem(function, *start):
    return Problem.from_loss(function, jnp.array(start))


# name: (loss, a start beside the point, the point, its inertia, its kind)
POINTS = {
    "saddle": (lambda x: x[0] ** 2 - x[1] ** 2 + x[0] ** 3, (0.02, 0.01), (0.0, 0.0), (1, 1, 0), Kind.strict_saddle),
    "minimum": (lambda x: jnp.cosh(x[0]) + x[1] ** 2, (0.05, 0.02), (0.0, 0.0), (2, 0, 0), Kind.minimum),
    "parabola of minima": (
        lambda x: 1 + (x[1] - x[0] ** 2) ** 2,
        (0.3, 0.09),
        (0.3, 0.09),
        (1, 0, 1),
        Kind.degenerate_minimum,
    ),
    # Positive on every line through 0, negative between the parabolas y = x² and y = 2x² [Peano].
    "descent between parabolas": (
        lambda x: 1 + (x[1] - x[0] ** 2) * (x[1] - 2 * x[0] ** 2),
        (0.0, 0.0),
        (0.0, 0.0),
        (1, 0, 1),
        Kind.non_strict_saddle,
    ),
    "cubic": (lambda x: x[0] * x[1] ** 2 + x[2] ** 2, (0.0, 0.0, 0.0), (0.0,) * 3, (1, 0, 2), Kind.non_strict_saddle),
}


@pytest.mark.parametrize("name", POINTS)
def test_points_with_known_signs(name):
    function, start, point, signs, kind = POINTS[name]
    own = problem(function, *start)
    found = polish(own, own.theta)
    np.testing.assert_allclose(found.theta, point, atol=1e-12)
    assert found.gradient_norm < 1e-12
    assert found.inertia == signs == inertia(own, found.theta)
    assert classify(own, found) == kind


@pytest.mark.parametrize(
    ("function", "signs", "kind"),
    [
        (lambda x, y: 0.5 * x**2 + y**3, (1, 0, 1), Kind.non_strict_saddle),
        (lambda x, y: 0.5 * x**2 + y**4, (1, 0, 1), Kind.degenerate_minimum),
        (lambda x, y: 0.5 * x**2 - y**4, (1, 0, 1), Kind.non_strict_saddle),
        (lambda x, y: 0.5 * (x + 0.3 * y) ** 2 + (y - 0.2 * x) ** 3, (1, 0, 1), Kind.non_strict_saddle),
        # Small eigenvalues that are the point's own.
        (lambda x, y: 0.5 * x**2 - 0.5e-5 * y**2 + y**3, (1, 1, 0), Kind.strict_saddle),
        (lambda x, y: 0.5 * x**2 + 0.5e-6 * y**2, (2, 0, 0), Kind.minimum),
    ],
)
def test_degenerate_points_that_a_search_only_comes_near(function, signs, kind):
    """It ends at y ~ 1e-9 to 1e-5, where the Hessian's last eigenvalue is not zero."""
    loss = problem(lambda p: function(*p), 1.0, 1.0)
    point = polish(loss, jnp.array([0.003, -0.003 if signs != (1, 1, 0) else -1e-6]))
    assert point.inertia == signs
    assert classify(loss, point) == kind


def test_null_directions_are_those_counted_as_zero_and_not_the_smallest():
    """y⁴ leaves an eigenvalue of 3e-12 where the search ends, more than that of z, 5e-13, which is its own."""
    loss = problem(lambda p: 0.5 * p[0] ** 2 - p[1] ** 4 + 2.5e-13 * p[2] ** 2, 1.0, 1.0, 1.0)
    point = polish(loss, jnp.array([0.0, 3e-5, 0.0]))
    assert np.min(point.eigenvalues) < -1e-12
    assert point.inertia == (2, 0, 1)
    assert classify(loss, point) == Kind.non_strict_saddle


def test_a_fit_with_parameters_to_spare_is_a_minimum():
    """Its loss is 1e-32, all of it rounding of the outputs, and zero beside it."""
    network = TwoLayer(2, 4, Tanh(), key=jax.random.key(1))
    near = teacher(network, 3, jax.random.key(5))
    fit = Problem(network, Dataset(near.inputs, near.targets + jnp.array([0.01, 0.02, -0.01])), losses.Square())
    point = polish(fit, fit.theta)
    assert point.loss < 1e-30
    assert point.inertia == (3, 0, 9)
    assert classify(fit, point) == Kind.degenerate_minimum


def test_polish_returns_to_a_branch_and_not_to_a_point_of_it():
    own = problem(lambda x: 1 + (x[1] - x[0] ** 2) ** 2, 0.3, 0.1)
    found = polish(own, own.theta)
    assert found.gradient_norm < 1e-14
    # The foot of the perpendicular, up to the square of the distance.
    assert abs(found.moved - 0.01 / np.hypot(1, 0.6)) < 3e-4


@pytest.mark.parametrize(
    ("levels", "signs"),
    [
        ([1.0, -1e-12, 1e-16], (1, 1, 1)),
        ([1.0, 3e-14, 4e-15, -2e-16], (2, 0, 2)),
        ([2.0, -2e-12, -1e-9], (1, 2, 0)),
        ([0.0, 0.0], (0, 0, 2)),
    ],
)
def test_signs_are_cut_in_the_gap(levels, signs):
    assert count_signs(np.array(levels)) == signs


def test_many_starts_leave_out_those_that_lead_nowhere():
    own = problem(lambda x: jnp.exp(-x[0]) + jnp.cos(x[1]) * jnp.exp(-(x[0] ** 2)), 0.0, 0.0)
    assert critical_points(own, jnp.array([[30.0, 0.5], [25.0, 1.0]]), tolerance=1e-30) == []


def test_refusals():
    own = problem(lambda x: jnp.exp(-x[0]) + x[1] ** 2, 1.0, 0.0)
    with pytest.raises(ValueError, match=r"^theta must lie near a critical point, had ‖∇L‖ = 0.368, .*$"):
        polish(own, own.theta)
    with pytest.raises(ValueError, match=r"^theta must be a critical point \(gf.landscape.polish finds one\), had"):
        inertia(own, own.theta)
    with pytest.raises(ValueError, match=r"^reach must be positive, was 0"):
        polish(own, own.theta, reach=0.0)
