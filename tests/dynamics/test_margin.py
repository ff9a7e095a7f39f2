"""The margin flow is gradient flow on another path of the clock, and never under- or overflows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad

import gfsim as gf
from gfsim.dynamics.margin import _log_integral
from gfsim.simulation.save import SaveAt

pytestmark = pytest.mark.slow

DATA = gf.data.gaussians(jnp.array([[1.0, 0.5, 0.2], [-1.0, 0.5, 0.0]]), 0.4, 20, jax.random.key(0))
NETWORKS = {
    "L=1": lambda: gf.networks.DeepLinear((3, 1), key=jax.random.key(1)),
    "L=3": lambda: gf.networks.TwoLayer(3, 6, gf.networks.ReLUPower(2), key=jax.random.key(1)),
    "none": lambda: gf.networks.FeedForward((3, 4, 1), gf.networks.Softplus(), bias=True, key=jax.random.key(1)),
}


def problem(name: str, loss: gf.losses.AbstractLoss | None = None) -> gf.Problem:
    return gf.Problem(NETWORKS[name](), DATA, loss or gf.losses.Logistic())


def unit(v) -> np.ndarray:
    return np.asarray(v) / np.linalg.norm(v)


@pytest.mark.parametrize("name", NETWORKS)
def test_velocity_is_that_of_gradient_flow(name):
    p = problem(name)
    flow = gf.MarginFlow(p)
    state = flow.initial_state(1.7 * p.theta)
    velocity = flow.vector_field(jnp.asarray(0.0), state)
    _, moved = jax.jvp(flow.parameters, (state,), (velocity,))
    np.testing.assert_allclose(moved, -p.grad(1.7 * p.theta) * jnp.exp(state.elapsed.log_rate), rtol=1e-11, atol=1e-14)
    _, rate = jax.jvp(flow.potential, (state,), (velocity,))
    assert float(rate) == pytest.approx(-float(flow.dissipation(state, velocity)), rel=1e-12)


def test_clock_of_a_homogeneous_network():
    p = problem("L=3", gf.losses.Exponential("sum"))
    state = gf.MarginFlow(p).initial_state(3.0 * p.theta)
    rho = jnp.linalg.norm(3.0 * p.theta)
    # dσ = ρ^{L−2} 𝓛 dt
    assert float(state.elapsed.log_rate) == pytest.approx(-float(jnp.log(rho) + p.log_loss(3.0 * p.theta)), rel=1e-12)
    velocity = gf.MarginFlow(p).vector_field(jnp.asarray(0.0), state)
    weights = jax.nn.softmax(-p.margins(3.0 * p.theta))
    # d log ρ/dσ = L Σ p_i q_i(u), the same as dρ²/dt = 2L Σ e^{−q} q
    assert float(velocity.log_norm) == pytest.approx(3 * float(weights @ p.margins(state.direction)), rel=1e-12)


@pytest.mark.parametrize("name", ["L=3", "none"])
def test_same_path_and_time_as_gradient_flow(name):
    p = problem(name)
    stop = gf.events.log_loss_below(-5.0)
    plain = gf.simulate(gf.GradientFlow(p), p.theta, 1e12, until=stop, rtol=1e-9)
    other = gf.simulate(gf.MarginFlow(p), p.theta, 1e12, until=stop, save=gf.log_spaced(1e-2, 10.0, 8), rtol=1e-9)
    assert other.outcome == plain.outcome == "event:log_loss_below"
    assert np.linalg.norm(unit(plain.theta[-1]) - unit(other.theta[-1])) < 1e-7
    assert float(other.log_t[-1]) == pytest.approx(float(plain.log_t[-1]), abs=1e-6)
    assert other.stats["energy_residual"] < 1e-6
    # Rows inside a step have their own time.
    times = np.exp(np.asarray(other.log_t))
    rows = gf.simulate(gf.GradientFlow(p), p.theta, float(times[-1]), save=SaveAt(times), rtol=1e-9)
    np.testing.assert_allclose(rows.theta, other.theta, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("rtol", "within"), [(1e-6, 6e-6), (1e-8, 6e-8), (1e-10, 1e-5)])
def test_time_of_steps_that_nothing_else_limits(rtol, within):
    """q = aw with a = w: log ρ is linear in σ, and t = ∫ e^q/2q dq from q = 1/4."""
    network = gf.networks.TwoLayer(1, 1, gf.networks.Identity(), key=jax.random.key(0))
    p = gf.Problem(network, gf.Dataset(np.ones((1, 1)), np.ones(1)), gf.losses.Exponential())
    run = gf.simulate(gf.MarginFlow(p), np.array([0.5, 0.5]), 2.5, save=gf.linear_spaced(0.5, 2.5, 9), rtol=rtol)
    q = np.prod(np.asarray(run.theta), axis=1)
    np.testing.assert_allclose(q, 0.25 * np.exp(2 * run.t), rtol=1e-11)
    exact = [quad(lambda z: np.exp(z) / (2 * z), 0.25, end, epsrel=1e-12, limit=500, points=[end - 1])[0] for end in q]
    np.testing.assert_allclose(run.log_t, np.log(exact), rtol=0, atol=within)


@pytest.mark.parametrize(
    ("span", "h0", "slope0", "h1", "slope1"),
    [
        (0.3, -1.0, 0.4, -0.8, 0.9),
        (2.0, 0.5, -0.7, 0.1, -0.2),
        (1.0, 3.0, 5.0, 9.0, 8.0),
        (0.5, 10.0, 30.0, 40.0, 90.0),
        (1e-9, 0.0, 1.0, 1e-9, 1.0),
    ],
)
def test_quadrature_of_time(span, h0, slope0, h1, slope1):
    def h(x: float) -> float:
        s = x / span
        return (
            h0 * (1 - s) ** 2 * (1 + 2 * s)
            + h1 * s**2 * (3 - 2 * s)
            + span * (slope0 * s * (1 - s) ** 2 - slope1 * s**2 * (1 - s))
        )

    exact = np.log(quad(lambda x: np.exp(h(x) - h1), 0.0, span, epsabs=0, epsrel=1e-12)[0]) + h1
    measured = float(_log_integral(*(jnp.asarray(x) for x in (span, h0, slope0, h1, slope1))))
    assert measured == pytest.approx(exact, abs=2e-7)


def test_quadrature_over_thousands_of_e_folds():
    # h = h1 + b(s − 1) exactly: the integral is e^{h1} span/b.
    measured = _log_integral(*(jnp.asarray(x) for x in (2.0, 0.0, 3000.0, 6000.0, 3000.0)))
    assert float(measured) == pytest.approx(6000.0 - np.log(3000.0), rel=1e-14)


def test_ensemble_and_checkpoint(tmp_path):
    p = problem("L=1")
    starts = jnp.stack([p.theta, 0.5 * p.theta])
    arguments = {"until": gf.events.log_loss_below(-50.0), "rtol": 1e-6}
    both = gf.simulate(gf.MarginFlow(p), starts, 1e9, checkpoint=tmp_path / "run", **arguments)
    again = gf.simulate(gf.MarginFlow(p), starts, 1e9, checkpoint=tmp_path / "run", **arguments)
    np.testing.assert_array_equal(both.theta, again.theta)
    np.testing.assert_array_equal(both.log_t, again.log_t)
    one = gf.simulate(gf.MarginFlow(p), starts[1], 1e9, **arguments)
    np.testing.assert_allclose(both.theta[1, -1], one.theta[-1], rtol=1e-3)
    np.testing.assert_allclose(both.log_t[1, -1], one.log_t[-1], rtol=1e-5)


def test_a_start_of_a_loss_that_overflows():
    """f = w·x for every label of one sign: the loss falls from e^720 and log t is finite at the end."""
    data = gf.Dataset([[1.0, 0.2], [0.9, -0.3], [-1.0, 0.1]], [1.0, 1.0, -1.0])
    p = gf.Problem(gf.networks.DeepLinear((2, 1), key=jax.random.key(0)), data, gf.losses.Exponential())
    until = gf.events.log_loss_below(-100.0)
    run = gf.simulate(gf.MarginFlow(p), jnp.array([-720.0, 0.0]), 1e30, until=until)
    assert run.outcome == "event:log_loss_below"
    plain = gf.simulate(gf.MarginFlow(p), jnp.array([-600.0, 0.0]), 1e30, until=until)
    # Where the loss is large no time passes.
    assert float(run.log_t[-1]) == pytest.approx(float(plain.log_t[-1]), abs=1e-2)


def test_what_it_is_not_for():
    network = NETWORKS["L=1"]()
    with pytest.raises(
        ValueError, match=r"problem must have the loss Exponential, Logistic or CrossEntropy, was Square"
    ):
        gf.MarginFlow(gf.Problem(network, DATA, gf.losses.Square()))
    with pytest.raises(ValueError, match=r"criterion needs Problem\(network, data, loss\)"):
        gf.MarginFlow(gf.Problem.from_loss(lambda x: jnp.sum(x**2), jnp.ones(2)))
