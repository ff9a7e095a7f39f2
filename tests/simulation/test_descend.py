"""Descents through simulate: against closed forms and bare loops; saving, events, divergence, mini-batches."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gfsim as gf
from tests.systems import SYSTEMS


@pytest.fixture(scope="module")
def quadratic() -> gf.Problem:
    return gf.Problem.from_loss(lambda x: 0.5 * jnp.sum(jnp.array([1.0, 3.0, 10.0]) * x**2), jnp.ones(3))


@pytest.fixture(scope="module")
def classifier() -> gf.Problem:
    data = gf.data.gaussians(jnp.array([[1.0, 0.5], [-1.0, 0.5]]), 0.6, 24, jax.random.key(0))
    network = gf.networks.TwoLayer(2, 4, gf.networks.Tanh(), key=jax.random.key(3))
    return gf.Problem(network, data, gf.losses.Logistic())


def test_gradient_descent_on_a_quadratic_is_the_power_of_its_map(quadratic):
    eta = 0.05
    trajectory = gf.simulate(gf.GradientDescent(quadratic, eta), quadratic.theta, 10.0, save=gf.log_spaced(0.1, 10, 12))
    counts = np.rint(np.asarray(trajectory.t) / eta)
    np.testing.assert_allclose(trajectory.t, counts * eta, rtol=1e-15)
    exact = (1 - eta * np.array([1.0, 3.0, 10.0])) ** counts[:, None]
    np.testing.assert_allclose(trajectory.theta, exact, rtol=1e-12, atol=1e-300)
    assert trajectory.outcome == "reached_end"
    assert trajectory.stats["gradients"] == 200
    assert trajectory.dissipated is None
    assert "energy_residual" not in trajectory.stats


def test_iterates_are_those_of_a_bare_loop_bit_for_bit(classifier):
    eta, n = 0.3, 500
    step = jax.jit(lambda theta: theta - eta * classifier.grad(theta))
    theta, bare = classifier.theta, [classifier.theta]
    for _ in range(n):
        theta = step(theta)
        bare.append(theta)
    trajectory = gf.simulate(
        gf.GradientDescent(classifier, eta),
        classifier.theta,
        n * eta,
        save=gf.every_step(),
        observe={"loss": gf.observables.loss},
    )
    np.testing.assert_allclose(trajectory.theta, np.stack(bare), rtol=0, atol=1e-14)
    assert trajectory.t.size == n + 1
    np.testing.assert_allclose(trajectory.observed["loss"], trajectory.potential)


def test_approaches_the_flow_at_first_order():
    system = SYSTEMS["two-layer neuron"]()
    steps = np.array([0.04, 0.02, 0.01, 0.005])
    errors = [
        float(
            jnp.linalg.norm(
                gf.simulate(gf.GradientDescent(system.problem, eta), system.start, 2.0).theta[-1] - system.exact(2.0)
            )
        )
        for eta in steps
    ]
    assert np.polyfit(np.log(steps), np.log(errors), 1)[0] == pytest.approx(1.0, abs=0.1)


def test_event_ends_at_the_first_iterate_where_it_holds(quadratic):
    eta, level = 0.05, 0.1
    descent = gf.GradientDescent(quadratic, eta)
    trajectory = gf.simulate(descent, quadratic.theta, 50.0, until=gf.events.loss_below(level))
    k = round(float(trajectory.t[-1]) / eta)
    loss = lambda k: 0.5 * np.sum(np.array([1, 3, 10]) * (1 - eta * np.array([1.0, 3.0, 10.0])) ** (2 * k))  # noqa: E731
    assert loss(k) <= level < loss(k - 1)
    assert trajectory.outcome == "event:loss_below"
    start = gf.simulate(descent, quadratic.theta, 50.0, until=gf.events.norm_reaches(0.1))
    assert start.t.tolist() == [0.0]


def test_above_the_stability_limit_it_diverges_and_keeps_finite_iterates():
    problem = gf.Problem.from_loss(lambda x: 0.25 * jnp.sum(x**4), jnp.array([2.0]))
    trajectory = gf.simulate(gf.GradientDescent(problem, 0.6), problem.theta, 600.0, save=gf.every_step())
    assert trajectory.outcome == gf.Outcome.diverged
    assert np.all(np.isfinite(trajectory.theta))
    assert float(jnp.abs(trajectory.theta[-1, 0])) > 1e50
    assert trajectory.t.size < 20


def test_optax_sgd_is_gradient_descent_and_momentum_adam_run(classifier):
    eta = 0.2
    ours = gf.simulate(gf.GradientDescent(classifier, eta), classifier.theta, 40.0)
    sgd = gf.simulate(gf.OptaxDescent(classifier, optax.sgd(eta), eta), classifier.theta, 40.0)
    np.testing.assert_allclose(sgd.theta, ours.theta, rtol=1e-12)
    for transformation in (optax.sgd(eta, momentum=0.9), optax.adam(1e-2), optax.rmsprop(1e-2)):
        descent = gf.OptaxDescent(classifier, transformation, 1.0)
        trajectory = gf.simulate(descent, classifier.theta, 100.0)
        state = transformation.init(classifier.theta)
        theta = classifier.theta
        for _ in range(100):
            with jax.numpy_dtype_promotion("standard"):
                updates, state = transformation.update(classifier.grad(theta), state, theta)
            theta = theta + updates
        np.testing.assert_allclose(trajectory.theta[-1], theta, rtol=1e-9, atol=1e-12)


def test_mini_batches_are_reproducible_and_cover_every_epoch(classifier):
    def end(seed, batch):
        descent = gf.OptaxDescent(classifier, optax.sgd(0.1), 0.1, batch_size=batch, key=jax.random.key(seed))
        return gf.simulate(descent, classifier.theta, 6.0).theta[-1]

    np.testing.assert_array_equal(end(1, 6), end(1, 6))
    assert float(jnp.linalg.norm(end(1, 6) - end(2, 6))) > 1e-3
    full = gf.simulate(gf.GradientDescent(classifier, 0.1), classifier.theta, 6.0).theta[-1]
    np.testing.assert_allclose(end(1, 24), full, rtol=1e-11)
    # The gradients of one epoch's batches, all at one θ, average to the full gradient.
    descent = gf.OptaxDescent(classifier, optax.sgd(1.0), 1.0, batch_size=6, key=jax.random.key(5))
    state, total = descent.init(classifier.theta), jnp.zeros_like(classifier.theta)
    for k in range(4):
        after = descent.step(jnp.asarray(k), state)
        total = total + (state.theta - after.theta)
        state = type(after)(state.theta, after.memory, after.order)
    np.testing.assert_allclose(total / 4, classifier.grad(classifier.theta), rtol=1e-12)


def test_summed_loss_scales_its_batches():
    data = gf.data.gaussians(jnp.array([[1.0, 0.5], [-1.0, 0.5]]), 0.6, 24, jax.random.key(0))
    network = gf.networks.TwoLayer(2, 4, gf.networks.Tanh(), key=jax.random.key(3))
    moved = []
    for reduction, eta in (("mean", 0.24), ("sum", 0.01)):
        problem = gf.Problem(network, data, gf.losses.Logistic(reduction))
        descent = gf.OptaxDescent(problem, optax.sgd(eta), eta, batch_size=8, key=jax.random.key(0))
        moved.append(gf.simulate(descent, problem.theta, 30 * eta).theta[-1])
    np.testing.assert_allclose(moved[0], moved[1], rtol=1e-10)


def test_ensemble_of_descents(quadratic):
    starts = jnp.stack([quadratic.theta, 2 * quadratic.theta, 30 * quadratic.theta])
    descent = gf.GradientDescent(quadratic, 0.05)
    together = gf.simulate(descent, starts, 5.0, until=gf.events.loss_below(1.0), save=gf.linear_spaced(0.0, 5.0, 6))
    for i, start in enumerate(starts):
        alone = gf.simulate(descent, start, 5.0, until=gf.events.loss_below(1.0), save=gf.linear_spaced(0.0, 5.0, 6))
        own = np.asarray(together.valid[i])
        np.testing.assert_allclose(np.asarray(together.t[i])[own], alone.t)
        np.testing.assert_allclose(np.asarray(together.theta[i])[own], alone.theta, rtol=1e-12)
        assert together.outcome[i] == alone.outcome


def test_max_steps(quadratic):
    trajectory = gf.simulate(gf.GradientDescent(quadratic, 0.05), quadratic.theta, 5.0, max_steps=10)
    assert trajectory.outcome == gf.Outcome.max_steps
    assert trajectory.t[-1] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda p: gf.GradientDescent(p, 0.0), ValueError, "step_size must be a positive finite number, was 0.0"),
        (lambda p: gf.GradientDescent(p, np.nan), ValueError, "step_size must be a positive"),
        (lambda p: gf.OptaxDescent(p, "adam", 0.1), TypeError, "transformation"),
        (
            lambda p: gf.OptaxDescent(p, optax.lookahead(optax.sgd(0.1), 2, 0.5), 0.1),
            ValueError,
            "^transformation must be",
        ),
        (lambda p: gf.OptaxDescent(p, optax.sgd(0.1), 0.1, batch_size=4), ValueError, "key was missing"),
        (
            lambda p: gf.OptaxDescent(p, optax.sgd(0.1), 0.1, batch_size=99, key=jax.random.key(0)),
            ValueError,
            "batch_size must lie between 1 and n = 24, was 99",
        ),
    ],
)
def test_bad_descents(classifier, make, error, message):
    with pytest.raises(error, match=message):
        make(classifier)


def test_a_solver_is_refused(quadratic):
    with pytest.raises(ValueError, match="solver must be left out for a descent"):
        gf.simulate(gf.GradientDescent(quadratic, 0.1), quadratic.theta, 1.0, solver=gf.solvers.RKC())


@pytest.mark.parametrize("ensemble", [False, True])
def test_an_end_at_the_start_is_the_only_row(ensemble):
    """The one mark is the start, and the event holds there: nothing else is kept."""
    problem = gf.Problem.from_loss(lambda p: 0.5 * jnp.sum(p**2), jnp.zeros(2))
    start = np.array([[1.0, 0.0], [0.01, 0.0]]) if ensemble else np.array([0.01, 0.0])
    run = gf.simulate(
        gf.GradientDescent(problem, 0.1),
        start,
        1.0,
        save=gf.linear_spaced(0, 0.01, 3),
        until=gf.events.loss_below(1e-3),
    )
    own = run.theta[1] if ensemble else run.theta
    np.testing.assert_array_equal(own[0], [0.01, 0.0])
    assert (run.valid[1].tolist() if ensemble else run.valid.tolist()) == [True, False][: len(own)]
