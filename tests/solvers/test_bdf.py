"""Each order's formula, the change of step size, and stiff runs whose Hessian is seldom renewed."""

import dataclasses

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gfsim as gf
from gfsim.solvers import BDF
from gfsim.solvers.bdf import _rescaling
from tests.systems import SYSTEMS

ORDERS = range(1, 6)


def backward_differences(values: np.ndarray) -> np.ndarray:
    """∇^j y, j = 0 … 7, from y at the last points, newest first."""
    table = [values]
    for _ in range(7):
        table.append(table[-1][:-1] - table[-1][1:])
    return np.array([row[0] for row in table])


def exact(t):
    return jnp.exp(2 * t)


TERM = dfx.ODETerm(lambda t, y, args: exact(t)[None] - y + jax.grad(exact)(t)[None])


@eqx.filter_jit
def one_step(order, h, differences):
    """(error, its estimate) of one step of y' = 3e^{2t} − y from exact differences at t = 1."""
    solver = BDF(rtol=1e-14, atol=1e-14)
    t0, t1 = jnp.ones(()), 1.0 + h
    state = solver.init(TERM, t0, t1, exact(t0)[None], None)
    state = dataclasses.replace(state, differences=differences[:, None], order=order)
    y1, error, *_ = solver.step(TERM, t0, t1, exact(t0)[None], None, state, False)
    return jnp.abs(y1[0] - exact(t1)), jnp.abs(error[0])


@pytest.mark.parametrize("order", ORDERS)
def test_local_error_has_the_order_of_the_formula_and_is_estimated(order):
    steps = 0.016 * order * 0.7 ** np.arange(4)
    pairs = []
    for h in steps:
        differences = backward_differences(np.exp(2 * (1.0 - h * np.arange(8))))
        differences[order + 1 :] = 0.0
        pairs.append(one_step(jnp.array(order), jnp.array(h), jnp.asarray(differences)))
    errors, estimates = np.array(pairs).T
    slope = np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert slope == pytest.approx(order + 1, abs=0.2)
    # With C = κγ_k + 1/(k+1) and α = (1 − κ)γ_k, an exact past leaves the error C·h^{k+1}y^{(k+1)}/α, and the estimate
    # C·d has d = h^{k+1}y^{(k+1)} plus that error.
    kappa = (-0.1850, -1 / 9, -0.0823, -0.0415, 0.0)[order - 1]
    gamma = np.sum(1 / np.arange(1, order + 1))
    ratio = (1 - kappa) * gamma + (kappa * gamma + 1 / (order + 1))
    assert estimates[-1] == pytest.approx(ratio * errors[-1], rel=0.1)


@pytest.mark.parametrize("order", ORDERS)
def test_a_change_of_step_size_carries_polynomials_over_exactly(order):
    coefficients = np.arange(1.0, order + 2)
    at = lambda h: backward_differences(np.polyval(coefficients, 1.0 - h * np.arange(8)))  # noqa: E731
    before, after = at(0.1), at(0.17)
    changed = np.asarray(_rescaling(jnp.array(order), jnp.array(1.7))) @ before
    np.testing.assert_allclose(changed[: order + 1], after[: order + 1], rtol=1e-11)


def test_hessians_and_gradients_are_few_over_six_decades_of_time():
    """Many time scales, the slowest still moving: a dozen decades of stiffness in a few hundred steps."""
    system = SYSTEMS["stiff quadratic"]()
    flow = gf.GradientFlow(system.problem)
    run = gf.simulate(flow, system.start, 200.0, solver=BDF(), save=gf.log_spaced(1e-3, 200.0, 30))
    exact = np.stack([system.exact(float(t)) for t in run.t])
    assert np.max(np.linalg.norm(np.asarray(run.theta) - exact, axis=1)) <= 2e-5
    # λ_max·t1 = 6e4.
    assert run.stats["steps"] < 250
    assert run.stats["gradients"] < 4 * (run.stats["steps"] + run.stats["rejected"])
    # The Hessian of a quadratic is constant: it is computed once.
    assert run.stats["hessian_products"] == system.problem.size


def test_long_flows_of_few_parameters_are_handed_to_it_by_the_chooser():
    start = jnp.array([1.2, -0.5, 0.9])
    problem = gf.Problem.from_loss(lambda x: 0.25 * jnp.sum(x[:2] ** 2) ** 2 + 150.0 * x[2] ** 2, start)
    run = gf.simulate(gf.GradientFlow(problem), start, 1e6, save=gf.log_spaced(1e-2, 1e6, 20))
    assert run.stats["solver"] == "Dopri5S → BDF"
    # Two quartic coordinates, whose radius obeys r' = −r³, beside one that decays at rate 300.
    t = np.asarray(run.t)
    exact = np.stack(
        [start[0] / np.sqrt(1 + 2 * 1.69 * t), start[1] / np.sqrt(1 + 2 * 1.69 * t), 0.9 * np.exp(-300 * t)]
    )
    np.testing.assert_allclose(run.theta.T, exact, atol=2e-5)
    assert run.stats["energy_residual"] <= 3 * 1e-6 ** (2 / 3) * float(problem.loss(start))


def test_a_maximum_is_left_and_a_tolerance_of_nothing_refused():
    problem = gf.Problem.from_loss(lambda x: jnp.sum(0.25 * x**4 - 0.5 * x**2), jnp.array([1e-3, -1e-3]))
    run = gf.simulate(gf.GradientFlow(problem), problem.theta, 30.0, solver=BDF())
    np.testing.assert_allclose(run.theta[-1], [1.0, -1.0], atol=1e-5)
    with pytest.raises(ValueError, match="rtol or atol must be positive, both were 0"):
        BDF(rtol=0.0, atol=0.0)
    with pytest.raises(ValueError, match="rtol must not be negative, was -1"):
        BDF(rtol=-1.0)


@pytest.mark.parametrize("rtol", [1e-3, 1e-6])
def test_newton_fails_seldom_along_a_curved_valley(rtol):
    problem = gf.Problem.from_loss(lambda x: 1e-3 * (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2, [-1.5, 2.25])
    run = gf.simulate(gf.GradientFlow(problem), problem.theta, 1e6, solver=BDF(), rtol=rtol)
    np.testing.assert_allclose(run.theta[-1], [1.0, 1.0], atol=1e-6)
    # With the Jacobian of the step's start it is 0.6 to 1.4, and 1,300 to 1,500 steps.
    assert run.stats["rejected"] < 0.15 * run.stats["steps"]
    assert run.stats["steps"] < 300


@pytest.mark.parametrize("rtol", [1e-3, 1e-6])
def test_a_step_that_was_predicted_outside_the_domain_is_mended_by_a_shorter_one(rtol):
    # −√(1 + x) up to its end at x = 1: (1 + x)^{3/2} = 1 + 3t/4, beside a fast coordinate.
    def loss(x):
        return 5e3 * x[0] ** 2 - jnp.sqrt(1 + x[1]) * jnp.where(x[1] <= 1, 1.0, jnp.nan)

    problem = gf.Problem.from_loss(loss, [1.0, 0.0])
    run = gf.simulate(gf.GradientFlow(problem), problem.theta, 1e4, solver=BDF(), rtol=rtol)
    assert run.outcome == "diverged"
    assert run.t[-1] == pytest.approx(4 / 3 * (2**1.5 - 1), rel=2 * rtol)
    assert run.theta[-1, 1] == pytest.approx(1.0, abs=1e-6)
