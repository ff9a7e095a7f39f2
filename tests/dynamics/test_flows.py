"""Every flow descends its potential at the rate that it states, and its state and clock lead back to θ and t."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gfsim as gf


@pytest.fixture(scope="module")
def problems() -> dict[int, gf.Problem]:
    data = gf.data.gaussians(jnp.array([[1.0, 0.5, 0.2], [-1.0, 0.5, 0.0]]), 0.4, 12, jax.random.key(0))
    networks = {
        2: gf.networks.TwoLayer(3, 4, gf.networks.ReLUPower(1, 0.5), key=jax.random.key(1)),
        3: gf.networks.TwoLayer(3, 4, gf.networks.ReLUPower(2), key=jax.random.key(1)),
        7: gf.networks.FeedForward((3, 4, 3, 1), gf.networks.ReLUPower(2), key=jax.random.key(2)),
    }
    return {degree: gf.Problem(network, data, gf.losses.Logistic()) for degree, network in networks.items()}


FLOWS = {
    "gradient": gf.GradientFlow,
    "scaled": lambda problem: gf.GradientFlow(problem, scale=0.3),
    "correlation": gf.CorrelationFlow,
    "polar": lambda problem: gf.CorrelationFlow(problem, polar=True),
}


@pytest.mark.parametrize("name", FLOWS)
@pytest.mark.parametrize("degree", [2, 3, 7])
def test_potential_falls_at_the_dissipation(problems, name, degree):
    flow = FLOWS[name](problems[degree])
    state = flow.initial_state(problems[degree].theta)
    velocity = flow.vector_field(jnp.asarray(0.7), state)
    _, rate = jax.jvp(flow.potential, (state,), (velocity,))
    dissipation = float(flow.dissipation(state, velocity))
    assert dissipation > 0
    assert float(rate) == pytest.approx(-dissipation, rel=1e-12)


@pytest.mark.parametrize("degree", [2, 3, 7])
def test_scaled_form_is_the_flow_in_other_units(problems, degree):
    problem, delta = problems[degree], 0.3
    flow = gf.GradientFlow(problem, scale=delta)
    s = problem.theta
    theta = flow.parameters(s)
    np.testing.assert_allclose(theta, delta * s, rtol=1e-15)
    # dθ/dt = δ ds/dτ · dτ/dt with τ = δ^{L−2} t
    rate = delta * flow.vector_field(jnp.asarray(1.0), s) * delta ** (degree - 2)
    np.testing.assert_allclose(rate, -problem.grad(theta), rtol=1e-12, atol=1e-18)
    assert float(flow.log_time(jnp.asarray(2.0), s)) == pytest.approx(np.log(2.0 / delta ** (degree - 2)))


@pytest.mark.parametrize("degree", [2, 3, 7])
def test_correlation_flow_is_the_limit_of_small_scale(problems, degree):
    problem = problems[degree]
    limit = gf.CorrelationFlow(problem).vector_field(jnp.asarray(0.0), problem.theta)
    gaps = [
        float(jnp.linalg.norm(gf.GradientFlow(problem, scale=d).vector_field(jnp.asarray(0.0), problem.theta) - limit))
        for d in (0.4, 0.2)
    ]
    assert np.log2(gaps[0] / gaps[1]) == pytest.approx(degree, abs=0.3)


@pytest.mark.parametrize("degree", [2, 3, 7])
def test_polar_form_is_the_same_field(problems, degree):
    problem = problems[degree]
    u = 1.7 * problem.theta
    plain = gf.CorrelationFlow(problem).vector_field(jnp.asarray(0.0), u)
    flow = gf.CorrelationFlow(problem, polar=True)
    state = flow.initial_state(u)
    np.testing.assert_allclose(flow.parameters(state), u, rtol=1e-14)
    velocity = flow.vector_field(jnp.asarray(0.0), state)
    _, moved = jax.jvp(flow.parameters, (state,), (velocity,))
    # du/dσ = du/dτ · dτ/dσ
    np.testing.assert_allclose(moved, plain * velocity.time, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("scale", [0.0, -0.1, np.inf, np.nan])
def test_scale_must_be_positive_and_finite(problems, scale):
    with pytest.raises(ValueError, match="scale must be a positive finite number, was"):
        gf.GradientFlow(problems[3], scale=scale)


def test_a_network_that_is_not_homogeneous_is_refused(problems):
    network = gf.networks.TwoLayer(3, 4, gf.networks.Tanh(), key=jax.random.key(1))
    problem = gf.Problem(network, problems[3].data, gf.losses.Logistic())
    with pytest.raises(ValueError, match=r"scale needs a network homogeneous of degree at least 2.*was None"):
        gf.GradientFlow(problem, scale=0.1)
    with pytest.raises(ValueError, match=r"problem must have a network homogeneous of degree at least 2.*was None"):
        gf.CorrelationFlow(problem)
