"""The estimate of the global error, on random flows of networks against tight references."""

import diffrax as dfx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gfsim as gf
from gfsim.solvers import BDF, RKC


def random_flow(seed: int) -> tuple[gf.Problem, float]:
    """A problem and a time: two or three layers, regression or classification, 8 to 100 parameters."""
    random = np.random.default_rng(seed)
    keys = jax.random.split(jax.random.key(seed), 3)
    inputs, width = int(random.integers(1, 5)), int(random.integers(2, 9))
    network = (
        gf.networks.TwoLayer(inputs, width, gf.networks.Tanh(), key=keys[0]),
        gf.networks.TwoLayer(inputs, width, gf.networks.ReLUPower(2), key=keys[0]),
        gf.networks.FeedForward((inputs, width, 3, 1), gf.networks.Tanh(), key=keys[0], bias=True),
        gf.networks.DeepLinear((inputs, width, 1), key=keys[0]),
    )[seed % 4]
    samples = int(random.integers(5, 30))
    x = jax.random.normal(keys[1], (samples, inputs))
    if random.random() < 0.5:
        problem = gf.Problem(network, gf.Dataset(x, jax.random.normal(keys[2], (samples,))), gf.losses.Square())
    else:
        signs = jax.random.rademacher(keys[2], (samples,), float)
        problem = gf.Problem(network, gf.Dataset(x, signs), gf.losses.Logistic())
    return problem, float(10 ** random.uniform(0, 2))


@pytest.mark.slow
@pytest.mark.parametrize("count", [3, pytest.param(60, marks=pytest.mark.verify)])
def test_estimate_is_within_ten_times_and_never_a_third_of_the_error_of_random_flows(count):
    ratios = []
    for seed in range(count):
        problem, t1 = random_flow(seed)
        random = np.random.default_rng(1000 + seed)
        solver = (None, dfx.Tsit5(), RKC(), BDF(), dfx.Dopri8())[seed % 5]
        flow = gf.GradientFlow(problem)
        run = gf.simulate(flow, problem.theta, t1, solver=solver, rtol=10 ** random.uniform(-7, -3))
        reference = gf.simulate(flow, problem.theta, t1, solver=dfx.Dopri8(), rtol=1e-12, atol=1e-14)
        true = np.linalg.norm(np.asarray(run.theta[-1]) - np.asarray(reference.theta[-1]))
        assert run.error_estimate is not None
        ratios.append(run.error_estimate[-1] / true)
    ratios = np.array(ratios)
    assert np.mean((ratios > 0.1) & (ratios < 10)) >= 0.95
    assert np.all(ratios > 1 / 3)


def stiff_quadratic() -> gf.GradientFlow:
    return gf.GradientFlow(gf.Problem.from_loss(lambda p: 0.5 * (p[0] ** 2 + 1e5 * p[1] ** 2), np.ones(2)))


def test_the_companion_changes_solver_where_the_run_did():
    flow = stiff_quadratic()
    # At a tenth of this rtol the choice would start with another solver.
    run = gf.simulate(flow, np.ones(2), 10.0, rtol=1e-9)
    assert gf.simulate(flow, np.ones(2), 10.0, rtol=1e-10).stats["solver"] == "Dopri8 → BDF"
    assert run.stats["solver"] == "Dopri5S → BDF"
    assert run.companion().stats["solver"] == "Dopri5S → BDF"


def test_the_estimate_allows_for_the_error_of_its_companion():
    # The companion's own error, 10^{-2/3} of the run's, makes their difference 22 % too small.
    run = gf.simulate(stiff_quadratic(), np.ones(2), 3.0, rtol=1e-5, solver=RKC())
    true = np.linalg.norm(np.asarray(run.theta[-1]) - np.exp(-3.0 * np.array([1.0, 1e3])))
    assert run.error_estimate is not None
    assert run.error_estimate[-1] == pytest.approx(true, rel=0.05)


@pytest.mark.parametrize("save", [None, gf.linear_spaced(0, 10, 101)])
def test_the_companion_takes_the_steps_that_it_needs(save):
    """A run out of steps is compared with its companion at the same times."""
    rates = jnp.array([1.0, 3.0])
    flow = gf.GradientFlow(gf.Problem.from_loss(lambda x: 0.5 * jnp.sum(rates * x**2), jnp.ones(2)))
    run = gf.simulate(flow, np.ones(2), 10.0, save=save, max_steps=10)
    assert run.outcome == "max_steps"
    true = np.linalg.norm(np.asarray(run.theta) - np.exp(-run.t[:, None] * np.array([1.0, 3.0])), axis=1)
    assert run.error_estimate is not None
    assert run.error_estimate[-1] == pytest.approx(true[-1], rel=0.5)


def test_past_the_companions_blow_up_there_is_no_estimate():
    """θ' = θ³ from 1 blows up at t = ½; from 0.1 it does not by then."""
    flow = gf.GradientFlow(gf.Problem.from_loss(lambda x: -jnp.sum(x**4) / 4, jnp.ones(1)))
    run = gf.simulate(flow, np.array([[1.0], [0.1]]), 1.0, save=gf.linear_spaced(0, 1, 11))
    assert [str(outcome) for outcome in run.outcome] == ["diverged", "reached_end"]
    estimate, far = run.error_estimate, run.t[0] > 0.499
    assert estimate is not None
    assert not np.any(np.isnan(estimate[0][~far]))
    # The last states before the blow-up are of different times.
    assert np.isnan(estimate[0][-1])
    assert not np.any(np.isnan(estimate[1]))
