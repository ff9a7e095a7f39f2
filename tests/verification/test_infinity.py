"""What a run to infinity says where the theory of late training does not apply: a clear line, and no claim."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gfsim as gf
from gfsim import landscape
from gfsim.verification import infinity

pytestmark = pytest.mark.slow

APART = gf.data.gaussians(jnp.array([[1.0, 0.5], [-1.0, 0.5]]), 0.2, 10, jax.random.key(0))


def linear(inputs, targets) -> gf.Problem:
    network = gf.networks.DeepLinear((2, 1), key=jax.random.key(1))
    return gf.Problem(network, gf.Dataset(inputs, targets), gf.losses.Exponential("sum"))


def test_data_that_nothing_separates_are_not_separated():
    x, y = np.asarray(APART.inputs), np.asarray(APART.targets)
    problem = linear(np.concatenate([x, x[:1]]), np.concatenate([y, -y[:1]]))
    run = gf.simulate(gf.MarginFlow(problem), problem.theta, 20.0, until=gf.events.log_loss_below(-10.0), rtol=1e-6)
    assert run.outcome == "reached_end"
    assert float(problem.log_loss(run.theta[-1])) > 0
    with pytest.raises(ValueError, match="theta must separate the data, the smallest margin was -"):
        landscape.kkt_residual(problem, run.theta[-1])
    with pytest.raises(ValueError, match="theta must separate the data, the smallest margin was -"):
        landscape.max_margin_polish(problem, run.theta[-1])


def test_labels_of_one_class_have_a_hard_margin_only_on_one_side_of_the_origin():
    one_side = linear(np.abs(np.asarray(APART.inputs)), np.ones(10))
    run = infinity.run_to(one_side, 1e3, 1e-6, {})
    assert run.outcome == "event:log_loss_below"
    reference, _ = landscape.hard_margin(one_side.data.inputs)
    point = landscape.max_margin_polish(one_side, run.theta[-1])
    np.testing.assert_allclose(point.theta, reference, rtol=1e-8)
    around = linear(np.array([[1.0, 0.0], [-1.0, 0.0]]), np.ones(2))
    stuck = gf.simulate(gf.MarginFlow(around), around.theta, 20.0, rtol=1e-6)
    assert float(gf.observables.margin(around, stuck.theta[-1])) <= 0
    with pytest.raises(ValueError, match="must separate the data"):
        landscape.kkt_residual(around, stuck.theta[-1])


def test_biases_need_not_be_conditionally_separable():
    network = gf.networks.FeedForward((2, 4, 1), gf.networks.ReLUPower(1), bias=True, key=jax.random.key(0))
    problem = gf.Problem(network, APART, gf.losses.Exponential())
    exponents = gf.networks.exponents(network)
    # The last bias alone has the largest exponent, and the weights separate without it.
    assert np.flatnonzero(exponents == exponents.max()).tolist() == [problem.size - 1]
    found = landscape.conditional_separability(problem, exponents)
    assert found.holds is False
    assert found.text == "fails: the data are separated without the Λmax parameters"
    assert float(jnp.min(problem.margins(found.witness))) > 0
    assert float(found.witness[-1]) == 0.0


def test_sliding_along_a_kink_is_not_taken_for_a_direction():
    # On the active side of the second sample's kink its three copies push the neuron off, beyond it the first sample
    # pulls it back: the flow slides, and no step across the kink meets its tolerance for long.
    inputs, targets = np.array([[1.0, 0.2]] + 3 * [[1.0, -0.2]]), np.array([1.0, -1.0, -1.0, -1.0])
    network = gf.networks.TwoLayer(2, 1, gf.networks.ReLUPower(1), key=jax.random.key(0))
    problem = gf.Problem(network, gf.Dataset(inputs, targets), gf.losses.Exponential("sum"))
    start = jnp.array([0.3, 1.0, 1.0])
    run = gf.simulate(
        gf.MarginFlow(problem), start, 1e6, until=gf.events.log_loss_below(-10.0), rtol=1e-6, max_steps=3000
    )
    assert run.outcome in ("stalled", "max_steps")
    assert np.isfinite(run.theta).all()
    w = run.theta[-1, :2]
    assert abs(w @ inputs[1]) < 1e-3 * np.linalg.norm(w)
    with pytest.raises(ValueError, match="theta must separate the data"):
        landscape.kkt_residual(problem, run.theta[-1])
