"""The size of the next step."""

import jax.numpy as jnp
import numpy as np
import pytest

import gfsim as gf
from gfsim.simulation.step_control import next_step
from gfsim.solvers import Dopri5S


def after(error: float, *, accepted: bool = True, last_step: float = 1.0, last_error: float = 1.0) -> float:
    """What follows a step of length one of an error estimate of order five."""
    numbers = map(jnp.asarray, (1.0, error, last_step, last_error))
    step, error, last_step, last_error = numbers
    return float(next_step(step, error, 5, jnp.asarray(accepted), last_step, last_error))


def test_the_plain_rule_aims_at_an_error_of_nine_tenths_to_the_fifth():
    for first in ({"last_step": 0.0}, {"accepted": False}):
        assert after(32.0, **first) == pytest.approx(0.45)
    assert after(0.9**5, last_step=0.0) == pytest.approx(1.0)


def test_a_step_after_one_that_erred_less_grows_less():
    assert after(0.5, last_error=0.1) == pytest.approx(0.9 * 2**0.14 * 0.1**0.08)
    # Steps whose errors are all the same are left as they are at one error alone, which is below the tolerance.
    assert after(0.9 ** (5 / 0.3), last_error=0.9 ** (5 / 0.3)) == pytest.approx(1.0)


def test_changes_are_bounded():
    assert after(1e-9, last_step=0.0) == 5.0
    assert after(1e9, accepted=False) == 0.1
    assert after(np.inf, accepted=False) == 0.1
    assert after(1.0001, accepted=False) == pytest.approx(0.9, rel=1e-4)
    # Rest says nothing about the step that may follow it.
    assert after(0.9, last_error=0.0) == after(0.9, last_error=1e-4)
    assert after(0.0, last_error=0.0) > 1


def test_fewer_steps_are_refused_at_the_stability_limit():
    """A fifth; by the plain rule 28 % are."""
    curvatures = jnp.array([1.0, 30.0, 100.0])
    problem = gf.Problem.from_loss(lambda x: 0.5 * jnp.sum(curvatures * x**2), jnp.ones(3))
    stats = gf.simulate(gf.GradientFlow(problem), problem.theta, 40.0, solver=Dopri5S(), rtol=1e-4).stats
    # λt1/β(Dopri5S) = 701 steps are the fewest that are stable.
    assert stats["steps"] > 701
    assert stats["steps"] + stats["rejected"] < 980
    assert stats["rejected"] < 0.23 * (stats["steps"] + stats["rejected"])
