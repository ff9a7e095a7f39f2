"""The modified flow: its fields, its orders, the exact map on quadratics, batches, and where it ends."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gfsim as gf
from gfsim.dynamics.modified import modified_fields

pytestmark = pytest.mark.slow

RATES = jnp.array([1.0, 3.0, 9.0])


@pytest.fixture(scope="module")
def quadratic() -> gf.Problem:
    return gf.Problem.from_loss(lambda x: 0.5 * jnp.sum(RATES * x**2), jnp.array([1.0, -2.0, 0.5]))


@pytest.fixture(scope="module")
def classifier() -> gf.Problem:
    data = gf.data.gaussians(jnp.array([[1.0, 0.5], [-1.0, 0.5]]), 0.6, 12, jax.random.key(0))
    network = gf.networks.TwoLayer(2, 3, gf.networks.Tanh(), key=jax.random.key(3))
    return gf.Problem(network, data, gf.losses.Logistic())


def test_fields_are_those_of_backward_error_analysis(classifier):
    theta = classifier.theta
    g, hessian = classifier.grad(theta), classifier.hessian(theta)
    third = jax.jvp(lambda th: classifier.hvp(th, g), (theta,), (g,))[1]
    fields = modified_fields(classifier.grad, theta, 2)
    np.testing.assert_allclose(fields[0], -g, atol=1e-14)
    np.testing.assert_allclose(fields[1], -hessian @ g / 2, atol=1e-14)
    np.testing.assert_allclose(fields[2], -(hessian @ hessian @ g / 3 + third / 12), atol=1e-14)


@pytest.mark.parametrize("order", [0, 3])
def test_fields_of_a_quadratic_are_the_series_of_the_logarithm(quadratic, order):
    theta = quadratic.theta
    exact = jnp.stack([-(RATES**j) / j * theta for j in range(1, order + 2)])
    np.testing.assert_allclose(modified_fields(quadratic.grad, theta, order), exact, rtol=1e-13)


def test_order_one_descends_the_penalised_loss(classifier):
    eta, theta = 0.1, classifier.theta
    penalised = lambda th: classifier.loss(th) + eta / 4 * jnp.sum(classifier.grad(th) ** 2)  # noqa: E731
    field = gf.ModifiedFlow(classifier, eta).vector_field(jnp.zeros(()), theta)
    np.testing.assert_allclose(field, -jax.grad(penalised)(theta), atol=1e-14)


@pytest.mark.parametrize("order", [1, 3])
def test_one_step_differs_from_descent_at_order_k_plus_two(order):
    """L = exp x, whose gradient has every derivative, followed by Runge–Kutta steps far below the difference."""
    theta, steps = jnp.array([0.3]), 16

    def error(eta):
        h = eta / steps
        field = lambda x: eta ** jnp.arange(order + 1.0) @ modified_fields(jnp.exp, x, order)  # noqa: E731

        def step(_, x):
            k1 = field(x)
            k2 = field(x + h / 2 * k1)
            k3 = field(x + h / 2 * k2)
            return x + h / 6 * (k1 + 2 * k2 + 2 * k3 + field(x + h * k3))

        return jnp.abs(jax.lax.fori_loop(0, steps, step, theta) - (theta - eta * jnp.exp(theta)))[0]

    etas = jnp.array([0.04, 0.02, 0.01])
    errors = jax.jit(lambda: jax.lax.map(error, etas))()
    assert np.polyfit(np.log(etas), np.log(errors), 1)[0] == pytest.approx(order + 2, abs=0.1)


def test_quadratic_map_is_exact(quadratic):
    eta = 0.1
    times = gf.linear_spaced(0.0, 2.0, 5)
    flow = gf.simulate(gf.ModifiedFlow(quadratic, eta, "quadratic"), quadratic.theta, 2.0, save=times, rtol=1e-12)
    exact = np.asarray(quadratic.theta) * (1 - eta * np.asarray(RATES)) ** np.rint(np.asarray(flow.t) / eta)[:, None]
    np.testing.assert_allclose(flow.theta, exact, atol=1e-10)
    assert flow.stats["energy_residual"] < 1e-10


@pytest.mark.parametrize("batch", [1, 2])
def test_batches_are_followed_in_the_mean_over_all_shuffles(batch):
    """One epoch from one point: the mean of all orders against flows with and without the term, errors η³ and η²."""
    n = 4
    data = gf.Dataset(np.random.default_rng(0).normal(size=(n, 2)), np.array([1.0, -1.0, 1.0, -1.0]))
    network = gf.networks.TwoLayer(2, 2, gf.networks.Tanh(), key=jax.random.key(3))
    problem = gf.Problem(network, data, gf.losses.Logistic("sum"))
    orders = jnp.array(list(itertools.permutations(range(n))))

    def epoch(order, eta):
        theta = problem.theta
        for chosen in order.reshape(-1, batch):
            part = lambda th, c=chosen: problem.criterion.reduce(  # noqa: E731
                problem.criterion.values(jax.vmap(problem.network_at(th))(data.inputs[c]), data.targets[c])
            )
            theta = theta - eta * n / batch * jax.grad(part)(theta)
        return theta

    mean = jax.jit(lambda eta: jnp.mean(jax.vmap(lambda order: epoch(order, eta))(orders), axis=0))
    etas, errors = np.array([0.02, 0.01, 0.005]), {None: [], batch: []}
    for eta in etas:
        for size, found in errors.items():
            flow = gf.ModifiedFlow(problem, eta, batch_size=size)
            end = gf.simulate(flow, problem.theta, eta * n / batch, rtol=1e-12).theta[-1]
            found.append(float(jnp.linalg.norm(end - mean(eta))))
    slopes = {size: np.polyfit(np.log(etas), np.log(found), 1)[0] for size, found in errors.items()}
    assert slopes[batch] == pytest.approx(3, abs=0.2)
    assert slopes[None] == pytest.approx(2, abs=0.2)


def test_refuses_to_start_where_the_series_diverges(quadratic):
    with pytest.raises(ValueError, match="step_size of a modified flow must be below 1/λ_max") as raised:
        gf.simulate(gf.ModifiedFlow(quadratic, 0.12), quadratic.theta, 1.0)
    assert "1/λ_max was 0.1111 and step_size 0.12" in str(raised.value)


def test_ends_where_the_series_ceases_to_converge():
    problem = gf.Problem.from_loss(lambda x: jnp.sum(jnp.sin(x)), jnp.array([0.3]))
    # L'' = −sin x rises from −0.3 to 1 at the minimum −π/2, and reaches 1/η = 0.8 on the way.
    flow = gf.simulate(gf.ModifiedFlow(problem, 1.25), problem.theta, 50.0, rtol=1e-10)
    assert flow.outcome == gf.Outcome.series_diverges
    assert float(flow.theta[-1, 0]) == pytest.approx(-np.arcsin(0.8), abs=1e-8)


def test_sharpness_event_on_a_descent():
    problem = gf.Problem.from_loss(lambda x: jnp.sum(jnp.sin(x)), jnp.array([0.3]))
    run = gf.simulate(
        gf.GradientDescent(problem, 0.1),
        problem.theta,
        50.0,
        until=gf.events.sharpness_reaches(0.5),
        save=gf.every_step(),
    )
    assert run.outcome == gf.Outcome.sharpness_reaches
    assert -np.sin(run.theta[-1, 0]) >= 0.5 > -np.sin(run.theta[-2, 0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"step_size": -1.0}, "step_size must be a positive finite number, was -1.0"),
        ({"order": -1}, 'order must be an integer from 0 to 8 or "quadratic", was -1'),
        ({"order": 9}, 'order must be an integer from 0 to 8 or "quadratic", was 9'),
        ({"order": 2, "batch_size": 2}, "batch_size needs order 1, order was 2"),
        ({"batch_size": 13}, "batch_size must lie between 1 and n = 12, was 13"),
    ],
)
def test_bad_input_is_one_line(classifier, arguments, message):
    with pytest.raises(ValueError, match=message):
        gf.ModifiedFlow(classifier, **{"step_size": 0.1, **arguments})
