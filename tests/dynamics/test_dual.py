"""The dual variable against gradient flow in (u, v), the closed form on orthonormal inputs, and what is refused."""

import jax.numpy as jnp
import numpy as np
import pytest

import gfsim as gf
from gfsim.verification.jumps import half_times, jump_process


def diagonal(x, y):
    return gf.Problem(gf.networks.DiagonalLinear(x.shape[1]), gf.Dataset(x, y), gf.losses.Square())


def test_the_same_path_as_in_the_weights():
    random = np.random.default_rng(0)
    problem = diagonal(random.standard_normal((4, 3)), random.standard_normal(4))
    alpha = 1e-2
    start, kappa = alpha * problem.theta, np.log(1 / alpha)
    times = gf.linear_spaced(0.5, 3.0, 6)
    dual = gf.simulate(gf.DualFlow(problem, alpha), start, 3.0, save=times, rtol=1e-10, atol=1e-12)
    save = gf.linear_spaced(0.5 * kappa, 3.0 * kappa, 6)
    flow = gf.simulate(gf.GradientFlow(problem), start, 3.0 * kappa, save=save, rtol=1e-11)
    np.testing.assert_allclose(dual.theta, flow.theta, atol=1e-7)
    np.testing.assert_allclose(dual.log_t, flow.log_t, rtol=1e-12)
    assert dual.stats["energy_residual"] < 1e-8


def test_one_coordinate_in_closed_form():
    """s' = y − β, β = α² sinh(2κs): β' = 2κ√(α⁴ + β²)(y − β). With α⁴ dropped β is logistic, from α²/2 in effect.

    So β reaches y/2 at 2κyt̃ = ln(2y/α²) and t̃ = (1/y)(1 + ln(2y)/(2κ)), up to terms of order α².
    """
    problem = diagonal(np.ones((1, 1)), np.array([0.7]))
    for alpha in (1e-10, 1e-100):
        flow, save = gf.DualFlow(problem, alpha), gf.linear_spaced(0, 3.0, 3001)
        run = gf.simulate(flow, alpha * problem.theta, 3.0, save=save, rtol=1e-11, atol=1e-13)
        beta = np.prod(np.asarray(run.theta), axis=1)[:, None]
        ((jump, half),) = half_times(np.asarray(run.t), beta, jump_process(np.ones((1, 1)), np.array([0.7])))
        np.testing.assert_allclose(jump, 1 / 0.7, rtol=1e-15)
        exact = (1 + np.log(2 * 0.7) / (2 * np.log(1 / alpha))) / 0.7
        # Half a row's square is what linear interpolation costs.
        np.testing.assert_allclose(half, exact, rtol=1e-4)
        np.testing.assert_allclose(beta[-1], 0.7, rtol=1e-9)


def test_jumps_on_orthonormal_inputs():
    """Coordinates do not see each other: β_i jumps to y_i at n/|y_i|."""
    y = np.array([2.0, -1.0, 0.5])
    jumps = jump_process(np.eye(3), y)
    np.testing.assert_allclose([jump.time for jump in jumps], 3 / np.abs(y), rtol=1e-14)
    np.testing.assert_allclose([jump.beta for jump in jumps], np.tril(np.ones((3, 3))) * y, atol=1e-14)


def test_the_last_jump_interpolates():
    random = np.random.default_rng(3)
    x, y = random.standard_normal((4, 9)), random.standard_normal(4)
    jumps = jump_process(x, y)
    np.testing.assert_allclose(x @ jumps[-1].beta, y, atol=1e-9)
    losses = [np.sum((x @ jump.beta - y) ** 2) for jump in jumps]
    assert np.all(np.diff(losses) < 0)
    with pytest.raises(ValueError, match=r"^most: the process did not come to rest in 1 jumps$"):
        jump_process(x, y, most=1)


def test_refusals():
    problem = diagonal(np.eye(2), np.ones(2))
    with pytest.raises(ValueError, match=r"^alpha must lie between 0 and 1, was 1.0$"):
        gf.DualFlow(problem, 1.0)
    other = gf.Problem.from_loss(lambda x: jnp.sum(x**2), jnp.ones(2))
    with pytest.raises(ValueError, match=r"^problem must have a gf.networks.DiagonalLinear, had another network$"):
        gf.DualFlow(other, 0.1)
