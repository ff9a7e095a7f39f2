"""The stiffness that the choice of a solver sees."""

import itertools

import diffrax as dfx
import jax.numpy as jnp
import numpy as np
import pytest

import gfsim as gf
from gfsim.simulation import choice
from gfsim.simulation import run as run_module
from gfsim.simulation.run import SUSPECT, Run
from gfsim.simulation.step_control import Tolerance
from gfsim.solvers import real_stability_limit
from gfsim.solvers.choose import FIRST_LOOK

FLAT = 10_000


@pytest.mark.parametrize(
    ("curvatures", "decay"), [([6e3], 6e3), ([-5.0, 3.0], 3.0), ([-5.0], 0.0), ([2.0, 1.9, -1.9], 2.0)]
)
def test_the_fastest_decay_is_seen_among_thousands_of_flat_directions(curvatures, decay):
    curvatures = jnp.array(curvatures)
    problem = gf.Problem.from_loss(
        lambda p: 0.5 * jnp.sum(curvatures * p[: curvatures.size] ** 2), np.ones(curvatures.size + FLAT)
    )
    flow = gf.GradientFlow(problem)
    tolerance = Tolerance(jnp.array(1e-6), jnp.array(1e-9))
    run = Run(flow, problem.theta, np.array(1.0), None, (), tolerance, None)
    found, _, products = choice.stiffness(run._fixed, run.motion, run.motion.state, np.array(False))
    assert found == pytest.approx(decay, rel=0.02, abs=0.02)
    assert products <= 60


@pytest.mark.parametrize("solver", [dfx.Tsit5(), dfx.Dopri8()])
def test_an_explicit_step_at_its_stability_limit_feels_the_fastest_rate(solver):
    problem = gf.Problem.from_loss(lambda x: 0.5 * (x[0] ** 2 + 1000.0 * x[1] ** 2), [1.0, 1.0])
    tolerance = Tolerance(jnp.array(1e-6), jnp.array(1e-9))
    run = Run(gf.GradientFlow(problem), problem.theta, np.array(5.0), None, (), tolerance, solver)
    felt, steps = [], []
    for _ in range(20):
        run._advance(20)
        felt.append(run._felt())
        steps.append(float(run.motion.number("last_step")))
    assert np.median(np.array(felt[5:]) / (1000.0 * np.array(steps[5:]))) == pytest.approx(1.0, abs=0.01)
    # Enough for a look to measure it, wherever it falls.
    assert min(felt[5:]) > SUSPECT * real_stability_limit(type(solver))


def test_stiffness_is_measured_only_where_a_step_feels_it_and_enough_is_left():
    def products(curvature: float, t1: float) -> int:
        problem = gf.Problem.from_loss(lambda x: 0.25 * (x[0] ** 2 - 1) ** 2 + 0.5 * curvature * x[1] ** 2, [0.1, 1.0])
        return gf.simulate(gf.GradientFlow(problem), problem.theta, t1, rtol=1e-8).stats["hessian_products"]

    assert products(1.0, 20.0) == 0
    assert products(1000.0, 20.0) > 0
    # A run that ends within the steps that a change would need to be repaid is not looked at.
    assert products(1000.0, 0.1) == 0


@pytest.mark.parametrize("members", [(), (40,)])
def test_who_is_near_the_end_is_not_looked_at(members, monkeypatch):
    looks = []
    monkeypatch.setattr(Run, "_look", lambda self, attempts, marks: looks.append(attempts))
    problem = gf.Problem.from_loss(lambda x: 0.25 * jnp.sum((x**2 - 1) ** 2), jnp.array([0.1, 0.2]))
    starts = np.broadcast_to(problem.theta, (*members, 2)) * (1 + 0.01 * np.arange(2))
    run = gf.simulate(gf.GradientFlow(problem), jnp.asarray(starts), 8.0, rtol=1e-6)
    attempts = (run.stats["steps"] + run.stats["rejected"]) / max(1, len(starts) if members else 1)
    assert attempts > FIRST_LOOK
    assert looks == []


@pytest.mark.parametrize("row", [600, 640, 1062])
def test_every_step_is_looked_at_alike_at_any_pace(row, monkeypatch):
    """Whatever the calls' lengths, and however few attempts are left after a look."""
    problem = gf.Problem.from_loss(lambda x: jnp.abs(x[0]) ** 3 / 3 + 5e5 * (x[1] - x[0]) ** 2, jnp.zeros(2))
    flow, start = gf.GradientFlow(problem), jnp.ones(2)
    options = {"rtol": 1e-12, "save": gf.every_step()}
    end = float(gf.simulate(flow, start, 1e6, **options).t[row])
    fast = gf.simulate(flow, start, end, **options)
    seconds = itertools.count()
    monkeypatch.setattr(run_module.time, "perf_counter", lambda: float(next(seconds)))
    slow = gf.simulate(flow, start, end, **options)
    np.testing.assert_array_equal(slow.theta, fast.theta)
    assert {**slow.stats, "seconds": 0} == {**fast.stats, "seconds": 0}
