"""High-order flow and descent against closed forms; extinction times by two ways; batches, searches, refusals."""

import diffrax as dfx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.integrate import solve_ivp

import gfsim as gf
from gfsim.dynamics.high_order import high_order
from gfsim.verification import extinction_time

pytestmark = pytest.mark.slow


def _power(r, x):
    return jnp.sum(jnp.abs(x) ** r) / r


def _quadratic(rates, x):
    return 0.5 * jnp.sum(rates * x**2)


def problem_of(function, constant, start) -> gf.Problem:
    # As an argument, so that problems with other constants share their compilation.
    fn = jax.tree_util.Partial(function, jnp.asarray(constant, float))
    return gf.Problem.from_loss(fn, jnp.asarray(start, float))


def power_decay(x0, m, t):
    """The solution of x' = −x^m until it is extinct."""
    if m == 1:
        return x0 * np.exp(-t)
    return np.maximum(x0 ** (1 - m) - (1 - m) * t, 0.0) ** (1 / (1 - m))


@pytest.fixture(scope="module")
def network() -> gf.Problem:
    """Four samples, 40 parameters: the loss can be brought to zero."""
    x = np.random.default_rng(0).normal(size=(4, 4))
    shape = gf.networks.FeedForward((4, 8, 1), gf.networks.Tanh(), key=jax.random.key(0))
    return gf.Problem(shape, gf.Dataset(x, np.sin(x[:, 0])), gf.losses.Square())


@pytest.mark.parametrize(
    ("norm", "r", "p"),
    [
        ("euclidean", 4.0, 3.0),
        ("euclidean", 2.0, 3.0),
        ("euclidean", 2.0, 1.5),
        ("euclidean", 4.0, 4.0),
        ("euclidean", 4.0, 6.0),
        ("coordinate", 2.0, 3.0),
        ("coordinate", 4.0, 1.5),
    ],
)
def test_flow_on_a_power(norm, r, p):
    """x' = −S^{1−q}|x|^m with m = (r−1)/(p−1), also where it ends in finite time."""
    problem, smoothness = problem_of(_power, r, [1.5]), 2.0
    flow = gf.HighOrderFlow(problem, p, norm, smoothness)
    save = gf.linear_spaced(0, 20, 11)
    run = gf.simulate(flow, problem.theta, 20.0, save=save, rtol=1e-12, solver=dfx.Dopri8())
    t = np.exp(np.asarray(run.log_t)) * smoothness ** (-1 / (p - 1))
    np.testing.assert_allclose(run.theta[:, 0], power_decay(1.5, (r - 1) / (p - 1), t), rtol=0, atol=1e-10)
    assert run.stats["energy_residual"] < 1e-9
    if (norm, r, p) == ("euclidean", 2.0, 3.0):
        # m = ½: extinct at x0^{1−m}/(1−m).
        assert extinction_time(flow, run) * smoothness**-0.5 == pytest.approx(2 * 1.5**0.5, rel=1e-10)


def test_euclidean_orbit_is_that_of_gradient_flow():
    problem = problem_of(_quadratic, [1.0, 10.0], [1.0, 1.0])
    save = gf.linear_spaced(0, 1, 6)
    run = gf.simulate(gf.HighOrderFlow(problem, 3.0), problem.theta, 1.0, save=save, rtol=1e-12, solver=dfx.Dopri8())
    np.testing.assert_allclose(run.theta[:, 1], run.theta[:, 0] ** 10, rtol=0, atol=1e-10)
    np.testing.assert_allclose(run.theta[:, 0], np.exp(-np.asarray(run.t)), rtol=1e-10)


def test_coordinates_of_a_separable_loss_move_alone():
    """x_i' = −(a_i|x_i|)^{q−1}sign x_i; one of them is extinct before the other."""
    problem, p = problem_of(_quadratic, [1.0, 10.0], [1.0, -1.0]), 3.0
    flow, until = gf.HighOrderFlow(problem, p, "coordinate"), gf.events.gradient_below(1e-6)
    run = gf.simulate(flow, problem.theta, 40.0, save=gf.linear_spaced(0, 40, 41), until=until, solver=dfx.Tsit5())
    t = np.exp(np.asarray(run.log_t))
    exact = np.stack([power_decay(1.0, 0.5, t), -power_decay(1.0, 0.5, 10**0.5 * t)], axis=1)
    assert run.outcome == "event:gradient_below"
    np.testing.assert_allclose(run.theta, exact, rtol=0, atol=1e-5)
    assert t[-1] == pytest.approx(2.0, abs=3e-3)


@pytest.mark.parametrize("norm", ["euclidean", "coordinate"])
@pytest.mark.parametrize("p", [1.5, 3.0])
def test_loss_falls_at_the_dissipation(network, norm, p):
    flow = gf.HighOrderFlow(network, p, norm, smoothness=1.7)
    state = flow.initial_state(network.theta)
    velocity = flow.vector_field(jnp.asarray(0.0), state)
    _, rate = jax.jvp(flow.potential, (state,), (velocity,))
    assert float(rate) == pytest.approx(-float(flow.dissipation(state, velocity)), rel=1e-12)
    g, q = network.grad(network.theta), p / (p - 1)
    size = jnp.linalg.norm(g, ord=2 if norm == "euclidean" else q) ** q
    assert float(rate / velocity.time) == pytest.approx(-float(1.7 ** (1 - q) * size), rel=1e-12)


def test_degree_two_is_gradient_flow(network):
    for norm in ("euclidean", "coordinate"):
        flow = gf.HighOrderFlow(network, 2.0, norm)
        velocity = flow.vector_field(jnp.asarray(0.0), flow.initial_state(network.theta))
        np.testing.assert_allclose(velocity.theta, -network.grad(network.theta), rtol=1e-14)
        assert float(velocity.time) == 1.0


def test_extinction_by_clock_and_by_direct_integration(network):
    """θ' = −g/‖g‖^{1/2} in its own time, by scipy, to the same gradient."""
    flow, until = gf.HighOrderFlow(network, 3.0), gf.events.gradient_below(1e-9)
    run = gf.simulate(flow, network.theta, 1e5, until=until, rtol=1e-10, solver=dfx.Tsit5())
    assert run.outcome == "event:gradient_below"
    gradient = jax.jit(lambda theta: network.objective.grad(theta))

    def field(t, theta):
        g = np.asarray(gradient(theta))
        return -g / np.linalg.norm(g) ** 0.5

    def rests(t, theta):
        return np.linalg.norm(gradient(theta)) - 1e-9

    rests.terminal = True
    # Close to rest its rate grows without bound: an explicit method finds the end to no better than 1e-5.
    direct = solve_ivp(field, (0, 10), np.asarray(network.theta), "LSODA", rtol=1e-12, atol=1e-14, events=rests)
    time, extinct = float(jnp.exp(run.log_t[-1])), extinction_time(flow, run)
    assert direct.t[-1] == pytest.approx(time, rel=1e-7)
    # What is left depends on nothing but the smallest curvature there.
    curvature = np.linalg.svd(jax.jacobian(network.outputs)(run.theta[-1]), compute_uv=False)[-1] ** 2 / network.data.n
    assert extinct - time == pytest.approx(2 * 1e-9**0.5 / curvature, rel=1e-3)
    with pytest.raises(ValueError, match=r"^flow must have a degree above 2 in the Euclidean norm, was 2, euclidean$"):
        extinction_time(gf.HighOrderFlow(network, 2.0), run)


@pytest.mark.parametrize("norm", ["euclidean", "coordinate"])
def test_descent_on_its_own_power_is_geometric(norm):
    """On |x|^p/p with S = 2^{2−p} each step multiplies by 1 − S^{−1/(p−1)}, and by 0.9 for S = 1 and s = 0.1."""
    problem = problem_of(_power, 1.5, [7.0])
    descent = gf.HighOrderDescent(problem, 1.5, norm=norm, smoothness=2**0.5)
    run = gf.simulate(descent, problem.theta, 30.0, save=gf.linear_spaced(0, 30, 31))
    np.testing.assert_allclose(run.theta[:, 0], 7.0 * 0.5 ** np.arange(31), rtol=1e-12)
    problem = problem_of(_power, 4.0, [7.0])
    run = gf.simulate(gf.HighOrderDescent(problem, 4, 0.1, norm), problem.theta, 10.0, save=gf.linear_spaced(0, 10, 11))
    np.testing.assert_allclose(run.theta[:, 0], 7.0 * 0.9 ** (10 * np.arange(11)), rtol=1e-11)


def test_a_search_gives_the_promised_fall():
    """Also from a start where S = 1 would overshoot; the S found is no more than 2^{p−1} times that of the lemma."""
    problem, p = problem_of(_power, 1.5, [7.0]), 1.5
    run = gf.simulate(gf.HighOrderDescent(problem, p, smoothness=None), problem.theta, 40.0, save=gf.every_step())
    x = np.abs(np.asarray(run.theta[:, 0]))
    moving = x[:-1] > 1e-12
    assert x[-1] < 1e-6
    # S^{1−q} = (x − x⁺)/x for s = 1, and Φ*(g) = S^{1−q}‖g‖^q/q with ‖g‖^q = x^{1.5}.
    before, after = np.asarray(run.theta[:-1, 0])[moving], np.asarray(run.theta[1:, 0])[moving]
    step = 1 - after / before
    fall = (np.abs(before) ** p - np.abs(after) ** p) / p
    assert np.all(fall >= step * np.abs(before) ** p / 3 * (1 - 1e-12))
    assert np.all(step >= 0.5 / 2)


def test_the_transformation_in_plain_optax():
    """On a pytree whose leaves count as one vector, and its messages."""
    transformation = high_order(3.0, smoothness=2.0, step_size=0.5)
    params = {"a": jnp.array([3.0]), "b": jnp.array([4.0])}
    updates, _ = transformation.update(params, transformation.init(params))
    np.testing.assert_allclose(updates["a"], -0.5 * (2 * 5) ** -0.5 * params["a"], rtol=1e-14)
    chained = optax.chain(high_order(2.0), optax.scale(0.1))
    np.testing.assert_allclose(chained.update(params, chained.init(params))[0]["b"], -0.4, rtol=1e-14)
    assert high_order(3.0) is high_order(3.0)
    searching = high_order(2.0, smoothness=None)
    with pytest.raises(ValueError, match="smoothness=None needs params, value and value_fn in update"):
        searching.update(params, searching.init(params))


@pytest.mark.parametrize(("p", "zero"), [(1.5, 1 / (1 + 2**0.5)), (3.0, 0.2)])
def test_batches_are_biased(p, zero):
    """One sample a step, targets 0, 0, 1: the steps' mean vanishes where 2x^{q−1} = (1−x)^{q−1}, not at the mean ⅓."""
    network = gf.networks.DeepLinear((1, 1), key=jax.random.key(0))
    problem = gf.Problem(network, gf.Dataset(np.ones((3, 1)), np.array([0.0, 0.0, 1.0])), gf.losses.Square())
    descent = gf.HighOrderDescent(problem, p, 1e-2, batch_size=1, key=jax.random.key(1))
    run = gf.simulate(descent, jnp.array([0.3]), 300.0, save=gf.every_step())
    assert float(jnp.mean(run.theta[3000:])) == pytest.approx(zero, abs=2e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"degree": 1.0}, "degree must be a finite number above 1, was 1.0"),
        ({"degree": np.inf}, "degree must be a finite number above 1, was inf"),
        ({"degree": 3.0, "norm": "max"}, "norm must be euclidean or coordinate, was 'max'"),
        ({"degree": 3.0, "smoothness": 0.0}, "smoothness must be a positive finite number, was 0.0"),
    ],
)
def test_refusals(arguments, message):
    problem = problem_of(_power, 2.0, [1.0])
    for dynamics in (gf.HighOrderFlow, gf.HighOrderDescent):
        with pytest.raises(ValueError, match=f"^{message}$"):
            dynamics(problem, **arguments)
    with pytest.raises(ValueError, match=r"^step_size must lie in \(0, 1\], was 1.5$"):
        gf.HighOrderDescent(problem, 1.5, 1.5)


def test_nothing_is_left_where_it_rests():
    bowl = gf.Problem.from_loss(lambda p: 0.5 * jnp.sum(p**2), jnp.ones(2))
    flow = gf.HighOrderFlow(bowl, 3.0)
    run = gf.simulate(flow, [0.6, 0.8], 2000.0, atol=0.0)
    assert extinction_time(flow, run) == pytest.approx(float(np.exp(run.log_t[-1])))


def test_no_extinction_where_there_is_none():
    saddle = gf.Problem.from_loss(lambda x: 0.5 * (x[0] ** 2 - x[1] ** 2), jnp.array([0.1, 1.0]))
    flow = gf.HighOrderFlow(saddle, 3.0)
    with pytest.raises(ValueError, match=r"^trajectory must end near a minimum, where gᵀHg/‖g‖² > 0, had -1$"):
        extinction_time(flow, gf.simulate(flow, saddle.theta, 1.0))
    with pytest.raises(ValueError, match=r"^trajectory must be a single run, was an ensemble"):
        extinction_time(flow, gf.simulate(flow, jnp.stack([saddle.theta] * 2), 1.0))
    for other in (gf.GradientFlow(saddle), gf.GradientDescent(saddle, 0.1)):
        with pytest.raises(ValueError, match=r"^trajectory must be a run of flow, ran on the clock of physical time"):
            extinction_time(flow, gf.simulate(other, saddle.theta, 1.0))
