"""What is far away, long past, or of another kind than Python's: the same runs as of ordinary numbers."""

import jax.numpy as jnp
import numpy as np
import pytest

import gfsim as gf
from gfsim.simulation.save import SaveAt

BOWL = gf.Problem.from_loss(lambda x: 0.5 * jnp.sum(x**2), jnp.ones(2))
HILL = gf.Problem.from_loss(lambda x: -0.5 * jnp.sum(x**2), jnp.ones(1))


def test_what_is_finite_has_not_diverged():
    """θ = e^t, whose gradient's square is beyond the largest number's root from t = 177 on."""
    run = gf.simulate(gf.GradientFlow(HILL), [1.0], 300.0)
    assert run.outcome == "reached_end"
    np.testing.assert_allclose(np.log(np.asarray(run.theta)[-1]), 300.0, rtol=1e-6)
    far = gf.simulate(gf.GradientFlow(BOWL), [1e80, -1e80], 1.0)
    np.testing.assert_allclose(np.asarray(far.theta)[-1], [1e80 / np.e, -1e80 / np.e], rtol=1e-5)
    assert gf.simulate(gf.GradientFlow(HILL), [1.0], 800.0).outcome == "diverged"


def test_times_past_the_end_of_a_descent_are_dropped():
    save = gf.log_spaced(1e-2, 1e17, 20)
    run = gf.simulate(gf.GradientDescent(BOWL, 1e-3), [1.0, 1.0], 1.0, save=save)
    assert run.t[-1] == 1.0
    assert np.all(np.diff(run.t) > 0)
    only_end = gf.simulate(gf.GradientDescent(BOWL, 1e-3), [1.0, 1.0], 1.0, save=SaveAt([50.0]))
    np.testing.assert_array_equal(only_end.t, [1.0])


def test_a_descent_keeps_no_more_than_it_may_step():
    run = gf.simulate(gf.GradientDescent(BOWL, 1e-3), [1.0, 1.0], 1e18, save=gf.every_step(), max_steps=10)
    assert (run.outcome, len(run.t)) == ("max_steps", 11)
    to_event = gf.simulate(gf.GradientDescent(BOWL, 1e-3), [1.0, 1.0], 1e20, until=gf.events.loss_below(0.1))
    assert to_event.outcome == "event:loss_below"
    np.testing.assert_allclose(np.asarray(to_event.theta)[-1], (1 - 1e-3) ** round(to_event.t[-1] / 1e-3), rtol=1e-10)


@pytest.mark.parametrize("dynamics", [gf.GradientFlow(BOWL), gf.GradientDescent(BOWL, 1e-2)])
def test_a_start_may_be_all_that_is_saved(dynamics):
    run = gf.simulate(dynamics, [1.0, 1.0], 1.0, save=SaveAt([0.0]))
    np.testing.assert_array_equal(run.t, [0.0, 1.0])


def test_the_estimate_of_a_run_that_an_event_ended_at_once():
    at_once = gf.events.norm_reaches(1.0)
    run = gf.simulate(gf.GradientFlow(BOWL), [1.0, 1.0], 1.0, save=gf.every_step(), until=at_once)
    np.testing.assert_array_equal(run.error_estimate, [0.0])


def test_numbers_of_numpy_are_those_of_python(tmp_path):
    for number, dynamics in enumerate((gf.GradientFlow(BOWL), gf.GradientDescent(BOWL, 1e-2))):
        path = tmp_path / str(number)
        run = gf.simulate(
            dynamics, [1.0, 1.0], np.float64(1), rtol=np.float64(1e-5), max_steps=np.int64(7), checkpoint=path
        )
        again = gf.simulate(dynamics, [1.0, 1.0], 1, rtol=1e-5, max_steps=7, checkpoint=path)
        np.testing.assert_array_equal(run.theta, again.theta)
