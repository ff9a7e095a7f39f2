"""simulate on closed forms, with every solver; saving, events, outcomes, ensembles."""

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gfsim as gf
from gfsim.simulation import assemble, run
from gfsim.solvers import BDF, RKC, Dopri5S
from tests.systems import SYSTEMS, System


@pytest.fixture(scope="module")
def systems() -> dict[str, System]:
    return {name: make() for name, make in SYSTEMS.items()}


def end_error(system: System, **options) -> tuple[float, gf.Trajectory]:
    trajectory = gf.simulate(gf.GradientFlow(system.problem), system.start, system.t1, **options)
    exact = np.asarray(system.exact(system.t1))
    scale = max(float(np.linalg.norm(exact)), float(jnp.linalg.norm(system.start)))
    return float(np.linalg.norm(np.asarray(trajectory.theta[-1]) - exact)) / scale, trajectory


@pytest.mark.parametrize("name", SYSTEMS)
@pytest.mark.parametrize(
    "solver", [None, RKC(), BDF(), Dopri5S(), dfx.Tsit5(), dfx.Dopri8(), dfx.Kvaerno5()], ids=lambda s: type(s).__name__
)
def test_every_solver_meets_the_closed_form(systems, name, solver):
    error, trajectory = end_error(systems[name], solver=solver, rtol=1e-6)
    assert error <= 3e-5
    assert trajectory.outcome == "reached_end"
    assert float(trajectory.t[-1]) == systems[name].t1


@pytest.mark.parametrize("name", ["quadratic", "quartic", "two-layer neuron"])
def test_error_falls_with_the_tolerance(systems, name):
    errors = [end_error(systems[name], rtol=rtol)[0] for rtol in (1e-4, 1e-6, 1e-8)]
    assert errors[2] < errors[1] / 10 < errors[0] / 100


@pytest.mark.parametrize("name", ["quadratic", "quartic", "balanced product", "two-layer neuron"])
@pytest.mark.parametrize("solver", [Dopri5S(), dfx.Tsit5(), dfx.Dopri8()], ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("rtol", [1e-4, 1e-6, 1e-8])
def test_energy_identity_with_explicit_solvers(systems, name, solver, rtol):
    system = systems[name]
    _, trajectory = end_error(system, solver=solver, rtol=rtol, save=gf.linear_spaced(0.0, system.t1, 9))
    assert np.max(np.abs(trajectory.energy_residual)) <= 10 * rtol * float(system.problem.loss(system.start))


@pytest.mark.slow
@pytest.mark.parametrize("name", SYSTEMS)
@pytest.mark.parametrize("rtol", [1e-4, 1e-6, 1e-8])
def test_energy_identity_with_rkc(systems, name, rtol):
    system = systems[name]
    _, trajectory = end_error(system, solver=RKC(), rtol=rtol, save=gf.linear_spaced(0.0, system.t1, 9))
    assert np.max(np.abs(trajectory.energy_residual)) <= 3 * rtol ** (2 / 3) * float(system.problem.loss(system.start))


def test_energy_residual_sees_a_wrong_trajectory(systems):
    system = systems["quadratic"]
    wrong = eqx.tree_at(lambda p: p.objective.function, system.problem, lambda x: 1.01 * system.problem.loss(x))

    class Mismatched(gf.GradientFlow):
        def vector_field(self, clock, state):
            return -wrong.grad(state)

    trajectory = gf.simulate(Mismatched(system.problem), system.start, system.t1)
    assert trajectory.stats["energy_residual"] > 1e-3 * float(system.problem.loss(system.start))


def test_saved_states_are_as_accurate_as_the_end(systems):
    system = systems["two-layer neuron"]
    times = gf.log_spaced(1e-2, system.t1, 20)
    for solver in (RKC(), Dopri5S(), dfx.Dopri8()):
        trajectory = gf.simulate(gf.GradientFlow(system.problem), system.start, system.t1, save=times, solver=solver)
        np.testing.assert_array_equal(trajectory.t, times.times)
        exact = np.stack([np.asarray(system.exact(float(t))) for t in trajectory.t])
        np.testing.assert_allclose(trajectory.theta, exact, atol=3e-5)
        np.testing.assert_allclose(trajectory.log_t, np.log(times.times))


def test_without_save_start_and_end_are_kept_and_every_step_keeps_them_all(systems):
    system = systems["quartic"]
    flow = gf.GradientFlow(system.problem)
    ends = gf.simulate(flow, system.start, system.t1)
    assert ends.t.tolist() == [0.0, system.t1]
    np.testing.assert_array_equal(ends.theta[0], system.start)
    assert ends.log_t[0] == -np.inf
    steps = gf.simulate(flow, system.start, system.t1, save=gf.every_step(), rtol=1e-9, solver=RKC())
    assert steps.t.size == steps.stats["steps"] + 1 > integrate_slots()
    assert np.all(np.diff(steps.t) > 0)
    exact = np.stack([np.asarray(system.exact(float(t))) for t in steps.t])
    np.testing.assert_allclose(steps.theta, exact, atol=1e-6)


def integrate_slots() -> int:
    from gfsim.simulation.run import EVERY_STEP_SLOTS

    return EVERY_STEP_SLOTS


def test_saves_past_the_end_are_dropped_and_the_event_state_is_the_last_row(systems):
    system = systems["quartic"]
    level = 0.05
    trajectory = gf.simulate(
        gf.GradientFlow(system.problem),
        system.start,
        system.t1,
        save=gf.linear_spaced(0.0, system.t1, 41),
        until=gf.events.loss_below(level) | gf.events.norm_reaches(100.0),
        rtol=1e-8,
    )
    # L = r⁴/4 and r² = r0²/(1 + 2 r0² t)
    r2 = float(jnp.sum(system.start**2))
    expected = (r2 / (2 * level**0.5) - 1) / (2 * r2)
    assert trajectory.outcome == "event:loss_below" == gf.Outcome.loss_below
    assert float(trajectory.t[-1]) == pytest.approx(expected, rel=1e-6)
    assert float(system.problem.loss(trajectory.theta[-1])) == pytest.approx(level, rel=1e-6)
    assert np.all(trajectory.t[:-1] <= expected)
    assert trajectory.t[0] == 0.0
    assert trajectory.t.size == int(expected / (system.t1 / 40)) + 2


@pytest.mark.slow
@pytest.mark.parametrize("solver", [RKC(), BDF(), Dopri5S(), dfx.Dopri8()], ids=lambda s: type(s).__name__)
def test_each_event_is_located(systems, solver):
    system = systems["balanced product"]
    p0, grow = 1e-4, lambda p: float(np.log(p * (1 - p0) / (p0 * (1 - p))) / 2)  # t at which ab = p
    events = [
        (gf.events.norm_reaches(1.0), grow(0.5)),
        (gf.events.loss_below(0.02), grow(0.8)),
        (gf.events.log_loss_below(float(np.log(0.02))), grow(0.8)),
    ]
    for event, expected in events:
        trajectory = gf.simulate(
            gf.GradientFlow(system.problem), system.start, system.t1, until=event, rtol=1e-8, solver=solver
        )
        assert trajectory.outcome == event.outcome
        assert float(trajectory.t[-1]) == pytest.approx(expected, abs=1e-5)


@pytest.mark.slow
def test_gradient_and_separation_events():
    data = gf.data.gaussians(jnp.array([[2.0, 0.0], [-2.0, 0.0]]), 0.3, 20, jax.random.key(0))
    network = gf.networks.TwoLayer(2, 6, gf.networks.ReLUPower(2), key=jax.random.key(1))
    problem = gf.Problem(network, data, gf.losses.Logistic())
    flow = gf.GradientFlow(problem)
    apart = gf.simulate(flow, 0.3 * problem.theta, 1e3, until=gf.events.separated(), rtol=1e-8)
    assert apart.outcome == "event:separated"
    assert float(jnp.min(problem.margins(apart.theta[-1]))) == pytest.approx(0.0, abs=1e-6)
    flat = gf.simulate(flow, problem.theta, 1e4, until=gf.events.gradient_below(1e-2), rtol=1e-8)
    assert flat.outcome == "event:gradient_below"
    assert float(jnp.linalg.norm(problem.grad(flat.theta[-1]))) == pytest.approx(1e-2, rel=1e-5)


def test_an_event_true_at_the_start_ends_the_run_there(systems):
    system = systems["quartic"]
    trajectory = gf.simulate(
        gf.GradientFlow(system.problem),
        system.start,
        1.0,
        until=gf.events.loss_below(1e3),
        save=gf.log_spaced(0.1, 1, 5),
    )
    assert trajectory.outcome == "event:loss_below"
    assert trajectory.t.tolist() == [0.0]
    np.testing.assert_array_equal(trajectory.theta[0], system.start)


def test_finite_time_blow_up_ends_as_diverged_with_the_last_good_state():
    # u' = ∇N for one degree-2 neuron on (1, 1) from the balanced ray: a' = 2a², a = a0/(1 − 2 a0 t).
    network = gf.networks.TwoLayer(1, 1, gf.networks.ReLUPower(2), key=jax.random.key(0))
    problem = gf.Problem(network, gf.Dataset(jnp.ones((1, 1)), jnp.ones(1)), gf.losses.Square())
    a0 = 0.5
    start = jnp.array([2**0.5 * a0, a0])
    trajectory = gf.simulate(gf.CorrelationFlow(problem), start, 10.0, rtol=1e-9)
    assert trajectory.outcome == gf.Outcome.diverged
    assert float(trajectory.t[-1]) == pytest.approx(1 / (2 * a0), rel=1e-6)
    assert np.all(np.isfinite(trajectory.theta))
    assert float(jnp.linalg.norm(trajectory.theta[-1])) > 1e6
    # The polar form of the same flow passes to any norm, and its time tends to the same limit.
    polar = gf.simulate(
        gf.CorrelationFlow(problem, polar=True), start, 1e3, until=gf.events.norm_reaches(1e12), rtol=1e-9
    )
    assert polar.outcome == "event:norm_reaches"
    assert float(jnp.exp(polar.log_t[-1])) == pytest.approx(1 / (2 * a0), rel=1e-7)


def test_overflowing_loss_diverges_with_finite_state_kept():
    problem = gf.Problem.from_loss(lambda x: -jnp.exp(jnp.sum(x**2)), jnp.ones(2))
    trajectory = gf.simulate(gf.GradientFlow(problem), problem.theta, 10.0)
    assert trajectory.outcome == "diverged"
    assert np.all(np.isfinite(trajectory.theta))
    assert "last finite state is kept" in gf.Outcome.diverged.text


def test_sliding_on_a_kink_ends_as_stalled_or_says_max_steps():
    # L = |x| + ½y²: reaches x = 0 at t = 1 and can only slide there; the field jumps from −1 to +1.
    problem = gf.Problem.from_loss(lambda z: jnp.abs(z[0]) + 0.5 * z[1] ** 2, jnp.ones(2))
    trajectory = gf.simulate(gf.GradientFlow(problem), problem.theta, 5.0, solver=dfx.Tsit5(), max_steps=20_000)
    assert trajectory.outcome in (gf.Outcome.stalled, gf.Outcome.max_steps)
    assert float(trajectory.t[-1]) >= 1.0 - 1e-6
    assert abs(float(trajectory.theta[-1, 0])) < 1e-3


@pytest.mark.parametrize("solver", [None, dfx.Dopri8(), dfx.Kvaerno5(), RKC(), BDF()])
def test_what_rests_reaches_the_end_in_a_few_steps(solver):
    """At a minimum, where L = 0 too, and behind a dead ReLU no step errs: steps grow until the end is reached."""
    minimum = gf.Problem.from_loss(lambda p: jnp.sum((p - 1) ** 2), jnp.ones(2))
    trajectory = gf.simulate(gf.GradientFlow(minimum), jnp.ones(2), 1e3, solver=solver, max_steps=100)
    assert trajectory.outcome == "reached_end"
    np.testing.assert_allclose(trajectory.theta[-1], 1, rtol=1e-14)
    dead = gf.Problem.from_loss(lambda p: jnp.sum(jax.nn.relu(p)), jnp.ones(1))
    for start in (-0.3, 0.3):
        trajectory = gf.simulate(gf.GradientFlow(dead), jnp.array([start]), 1e3, solver=solver, max_steps=300)
        assert trajectory.outcome == "reached_end"
        np.testing.assert_allclose(trajectory.theta[-1], min(start, 0.0), atol=1e-6)


def test_a_member_that_rests_does_not_hold_up_the_others():
    problem = gf.Problem.from_loss(lambda p: jnp.sum((p - 1) ** 2), jnp.ones(2))
    trajectory = gf.simulate(gf.GradientFlow(problem), jnp.array([[1.0, 1.0], [3.0, 0.0]]), 10.0, max_steps=300)
    assert [str(outcome) for outcome in trajectory.outcome] == ["reached_end", "reached_end"]


def test_starts_that_float64_cannot_follow_are_refused_and_those_it_can_are_followed():
    """θ' = θ: the relative error is the same at any size whose squares are numbers."""
    problem = gf.Problem.from_loss(lambda p: -0.5 * jnp.sum(p**2), jnp.ones(2))
    for size in (1e-100, 1.0, 1e60):
        trajectory = gf.simulate(gf.GradientFlow(problem), size * jnp.ones(2), 3.0)
        np.testing.assert_allclose(np.asarray(trajectory.theta[-1]) / size, np.exp(3.0), rtol=1e-5)
    with pytest.raises(ValueError, match="theta0 must be 0 or have an entry of 1e-130 or more, was 1e-150 at most"):
        gf.simulate(gf.GradientFlow(problem), 1e-150 * jnp.ones(2), 3.0)
    # A descent measures no errors: η = ½ makes it (3/2)².
    descent = gf.simulate(gf.GradientDescent(problem, 0.5), 1e-150 * jnp.ones(2), 1.0)
    np.testing.assert_allclose(np.asarray(descent.theta[-1]), 2.25e-150, rtol=1e-15)
    with pytest.raises(ValueError, match="atol must be positive where theta0 is 0, was 0"):
        gf.simulate(gf.GradientFlow(problem), jnp.zeros(2), 3.0, atol=0.0)


@pytest.mark.parametrize("rtol", [1e-2, 1e-4, 1e-6, 1e-9])
def test_loss_below_is_met_where_the_loss_becomes_negative(rtol):
    """L = ½‖θ‖² − 1 = ½ at e^{−2t}·10 = 3, however long the step that passes it."""
    problem = gf.Problem.from_loss(lambda p: 0.5 * jnp.sum(p**2) - 1.0, jnp.array([3.0, 1.0]))
    until = gf.events.loss_below(0.5)
    trajectory = gf.simulate(gf.GradientFlow(problem), problem.theta, 10.0, until=until, rtol=rtol)
    assert trajectory.outcome is gf.Outcome.loss_below
    np.testing.assert_allclose(trajectory.t[-1], 0.5 * np.log(10 / 3), rtol=10 * rtol)
    trajectory = gf.simulate(gf.GradientFlow(problem), jnp.array([0.1, 0.1]), 10.0, until=until, rtol=rtol)
    assert trajectory.outcome is gf.Outcome.loss_below
    assert trajectory.t[-1] == 0


def test_max_steps(systems):
    system = systems["stiff quadratic"]
    trajectory = gf.simulate(gf.GradientFlow(system.problem), system.start, system.t1, solver=dfx.Tsit5(), max_steps=50)
    assert trajectory.outcome == gf.Outcome.max_steps
    assert trajectory.stats["steps"] + trajectory.stats["rejected"] == 50
    assert trajectory.t[-1] < system.t1


@pytest.mark.parametrize("most", [31, 33])
def test_max_steps_holds_near_the_end_too(systems, most):
    """Where the choice of a solver lets a run end without another look at it."""
    system = systems["quadratic"]
    whole = gf.simulate(gf.GradientFlow(system.problem), system.start, system.t1, rtol=1e-7)
    assert 33 < whole.stats["steps"] + whole.stats["rejected"] < 96
    cut = gf.simulate(gf.GradientFlow(system.problem), system.start, system.t1, rtol=1e-7, max_steps=most)
    assert cut.outcome == gf.Outcome.max_steps
    assert cut.stats["steps"] + cut.stats["rejected"] == most


def test_small_initialisation_form_is_the_same_flow():
    data = gf.data.gaussians(jnp.array([[1.0, 0.5], [-1.0, 0.5]]), 0.4, 15, jax.random.key(0))
    network = gf.networks.TwoLayer(2, 4, gf.networks.ReLUPower(2), key=jax.random.key(3))
    problem = gf.Problem(network, data, gf.losses.Logistic())
    delta, u0 = 0.1, problem.theta
    plain = gf.simulate(gf.GradientFlow(problem), delta * u0, 30.0, rtol=1e-10)
    scaled = gf.simulate(gf.GradientFlow(problem, scale=delta), u0, 30.0 * delta, rtol=1e-10)
    np.testing.assert_allclose(scaled.theta[-1], plain.theta[-1], rtol=1e-7)
    np.testing.assert_allclose(scaled.log_t[-1], np.log(30.0))
    np.testing.assert_allclose(scaled.dissipated[-1], plain.dissipated[-1], rtol=1e-7)


@pytest.mark.slow
def test_conserved_quantities_drift_within_tolerance():
    data = gf.data.gaussians(jnp.array([[1.0, 0.5], [-1.0, 0.5]]), 0.4, 15, jax.random.key(0))
    for network, solver in (
        (gf.networks.TwoLayer(2, 4, gf.networks.ReLUPower(2), key=jax.random.key(3)), RKC()),
        (gf.networks.FeedForward((2, 4, 3, 1), gf.networks.ReLUPower(1, 0.1), key=jax.random.key(4)), dfx.Tsit5()),
        (gf.networks.DeepLinear((2, 3, 3, 1), key=jax.random.key(5)), BDF()),
    ):
        problem = gf.Problem(network, data, gf.losses.Logistic())
        trajectory = gf.simulate(
            gf.GradientFlow(problem), problem.theta, 50.0, save=gf.log_spaced(0.1, 50.0, 20), solver=solver
        )
        largest = np.max(np.sum(np.asarray(trajectory.theta) ** 2, axis=1))
        assert trajectory.stats["invariant_drift"] <= 30 * 1e-6 * largest
        assert trajectory.stats["invariant_drift"] > 0


def test_ensemble_members_are_the_single_runs(systems):
    system = systems["quartic"]
    flow = gf.GradientFlow(system.problem)
    starts = jnp.stack([system.start, 0.1 * system.start, jnp.zeros(3), 3 * system.start])
    options = {"save": gf.log_spaced(0.1, system.t1, 7), "until": gf.events.loss_below(1e-2), "rtol": 1e-8}
    together = gf.simulate(flow, starts, system.t1, solver=RKC(), **options)
    assert together.theta.shape == (4, together.t.shape[1], 3)
    assert together.outcome == ("event:loss_below",) * 4
    for i, start in enumerate(starts):
        alone = gf.simulate(flow, start, system.t1, solver=RKC(), **options)
        own = np.asarray(together.valid[i])
        assert own.sum() == alone.t.size
        np.testing.assert_allclose(np.asarray(together.t[i])[own], alone.t, rtol=1e-9)
        np.testing.assert_allclose(np.asarray(together.theta[i])[own], alone.theta, rtol=1e-9, atol=1e-12)
        np.testing.assert_array_equal(np.asarray(together.theta[i])[~own], np.tile(alone.theta[-1], ((~own).sum(), 1)))


@pytest.mark.parametrize("save", [None, gf.linear_spaced(0.05, 0.1, 3)], ids=["start kept", "start not kept"])
@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize("dynamics", [gf.GradientFlow, lambda problem: gf.GradientDescent(problem, 0.01)])
def test_potential_at_the_start_is_that_of_the_start(save, members, dynamics):
    problem = gf.Problem.from_loss(lambda x: 0.25 * jnp.sum(x**4), jnp.ones(2))
    starts = jnp.arange(1.0, 2 * members + 1).reshape(members, 2)
    run = gf.simulate(dynamics(problem), starts if members > 1 else starts[0], 0.1, save=save)
    losses = np.array([problem.loss(start) for start in starts])
    np.testing.assert_allclose(np.atleast_1d(run.start["potential"]), losses, rtol=1e-14)
    if run.energy_residual is not None:
        assert run.energy_residual.shape == run.t.shape
        assert np.max(np.abs(run.energy_residual)) < 1e-5 * losses.max()


def test_a_run_that_ends_at_its_start_is_one_row(systems):
    flow, start = gf.GradientFlow(systems["quadratic"].problem), systems["quadratic"].start
    until = gf.events.norm_reaches(0.5 * float(jnp.linalg.norm(start)))
    alone = gf.simulate(flow, start, 1.0, until=until)
    np.testing.assert_array_equal(alone.t, [0.0])
    np.testing.assert_array_equal(alone.theta, start[None])
    # Beside one that runs it repeats its row.
    both = gf.simulate(flow, jnp.stack([start, 0.01 * start]), 1.0, until=until)
    assert [o.value for o in both.outcome] == ["event:norm_reaches", "reached_end"]
    np.testing.assert_array_equal(both.valid, [[True, False], [True, True]])
    np.testing.assert_array_equal(both.t, [[0.0, 0.0], [0.0, 1.0]])


@pytest.mark.slow
def test_ensemble_chooses_saves_every_step_and_switches_solver(systems):
    system = systems["stiff quadratic"]
    starts = jnp.stack([system.start, 2 * system.start])
    trajectory = gf.simulate(gf.GradientFlow(system.problem), starts, system.t1, save=gf.every_step())
    assert trajectory.stats["solver"] == "Dopri5S → BDF"
    exact = np.asarray(system.exact(system.t1))
    np.testing.assert_allclose(trajectory.theta[:, -1], [exact, 2 * exact], atol=3e-5)
    for i in range(2):
        assert np.all(np.diff(np.asarray(trajectory.t[i])[np.asarray(trajectory.valid[i])]) > 0)


def test_choice_is_reported(systems):
    _, stiff = end_error(systems["stiff quadratic"])
    # With four parameters a dense Hessian costs little.
    assert stiff.stats["solver"] == "Dopri5S → BDF"
    assert "stability limit" in stiff.stats["reason"]
    assert stiff.stats["gradients"] + 2 * stiff.stats["hessian_products"] < systems["stiff quadratic"].stiffness / 1.9
    _, smooth = end_error(systems["quartic"])
    assert smooth.stats["solver"] == "Dopri5S"


def test_work_is_counted_exactly(monkeypatch):
    calls, measured = [], []
    measure = run.measure_ends
    monkeypatch.setattr(run, "measure_ends", lambda *a: measured.append(1) or measure(*a))

    def loss(x):
        jax.debug.callback(lambda: calls.append(1))
        return 0.5 * jnp.sum(jnp.array([1.0, 30.0]) * x**2)

    problem = gf.Problem.from_loss(loss, jnp.ones(2))
    for solver in (Dopri5S(), dfx.Tsit5(), dfx.Dopri8(), RKC()):
        calls.clear()
        measured.clear()
        stats = gf.simulate(gf.GradientFlow(problem), problem.theta, 3.0, solver=solver).stats
        jax.effects_barrier()
        # Beside gradients and products: Φ at the start of the solve, and once behind each call for both ends together.
        assert len(calls) == stats["gradients"] + stats["hessian_products"] + 1 + len(measured)


def test_the_work_of_rows_is_counted_where_a_step_keeps_some(monkeypatch):
    calls, solved = [], []
    measure = assemble.measure
    monkeypatch.setattr(
        assemble, "measure", lambda *a: (jax.effects_barrier(), solved.append(len(calls)), measure(*a))[2]
    )

    def loss(x):
        jax.debug.callback(lambda: calls.append(1))
        return 0.5 * jnp.sum(jnp.array([1.0, 30.0]) * x**2)

    problem = gf.Problem.from_loss(loss, jnp.ones(2))
    flow, save = gf.GradientFlow(problem), gf.linear_spaced(1.0, 1.5, 40)
    for solver, cost in ((Dopri5S(), 2), (dfx.Dopri8(), 0), (RKC(), 0)):
        every = gf.simulate(flow, problem.theta, 3.0, solver=solver, save=gf.every_step())
        calls.clear()
        rows = gf.simulate(flow, problem.theta, 3.0, solver=solver, save=save)
        steps = np.unique(np.searchsorted(every.t, save.times)).size
        assert 1 < steps < every.stats["steps"]
        assert rows.stats["gradients"] == every.stats["gradients"] + cost * steps
        # Beside gradients and products: Φ at the start.
        assert solved[-1] == rows.stats["gradients"] + rows.stats["hessian_products"] + 1


@pytest.mark.parametrize("name", ["quartic", "balanced product", "two-layer neuron"])
@pytest.mark.parametrize("solver", [Dopri5S(), dfx.Tsit5()], ids=lambda s: type(s).__name__)
def test_rows_err_no_more_than_steps(systems, name, solver):
    """Less than a quarter more; from dense output of order four it is 2 to 20 times as much."""

    def largest(save):
        _, trajectory = end_error(systems[name], solver=solver, rtol=1e-5, save=save)
        exact = np.stack([np.asarray(systems[name].exact(float(t))) for t in trajectory.t])
        return np.max(np.linalg.norm(np.asarray(trajectory.theta) - exact, axis=1))

    assert largest(gf.linear_spaced(0.0, systems[name].t1, 201)) < 1.25 * largest(gf.every_step())


def test_ends_are_the_same_measured_behind_the_calls_and_after_the_run():
    network = gf.networks.TwoLayer(2, 3, gf.networks.ReLUPower(2), key=jax.random.key(0))
    data = gf.Dataset(np.array([[1.0, 0.5], [-0.5, 1.0], [0.3, -1.0]]), np.array([1.0, -1.0, 1.0]))
    problem = gf.Problem(network, data, gf.losses.Logistic())
    norm = gf.events.norm_reaches(1.5 * float(jnp.linalg.norm(problem.theta)))
    there = gf.events.norm_reaches(0.5 * float(jnp.linalg.norm(problem.theta)))
    for flow in (gf.GradientFlow(problem), gf.CorrelationFlow(problem, polar=True)):
        for options in ({}, {"until": norm}, {"until": there}, {"max_steps": 7}):
            behind = gf.simulate(flow, problem.theta, 5.0, **options)
            after = gf.simulate(flow, problem.theta, 5.0, observe={"loss": gf.observables.loss}, **options)
            assert behind.outcome == after.outcome
            assert behind.t.size == (1 if options.get("until") is there else 2)
            for name in ("t", "log_t", "theta", "potential", "dissipated", "conserved", "valid"):
                np.testing.assert_allclose(getattr(behind, name), getattr(after, name), rtol=1e-13, atol=1e-15)


def test_another_start_end_or_tolerance_compiles_nothing(systems, count_compilations):
    system = systems["quadratic"]
    flow = gf.GradientFlow(system.problem)

    def solve(start, t1, rtol):
        return gf.simulate(
            flow, start, t1, save=gf.log_spaced(1e-2, t1, 30), rtol=rtol, until=gf.events.loss_below(1e-4 * t1)
        )

    another = 2 * system.start
    solve(system.start, 5.0, 1e-6)
    with count_compilations() as compiled:
        solve(another, 4.0, 1e-7)
    assert compiled == []


@pytest.mark.parametrize("solver", [Dopri5S(), RKC(), BDF()], ids=lambda solver: type(solver).__name__)
def test_a_long_run_at_a_tight_tolerance_compiles_nothing_that_a_short_one_did_not(systems, solver, count_compilations):
    system = systems["quadratic"]
    flow = gf.GradientFlow(system.problem)
    gf.simulate(flow, system.start, 1e-3, solver=solver, rtol=1e-3)
    with count_compilations() as compiled:
        stats = gf.simulate(flow, system.start, 20.0, solver=solver, rtol=1e-10).stats
    # More steps than one call of the compiled loop takes.
    assert stats["steps"] > 64
    assert compiled == []


def test_observables_at_the_saved_states(systems):
    system = systems["quartic"]
    trajectory = gf.simulate(
        gf.GradientFlow(system.problem),
        system.start,
        system.t1,
        save=gf.linear_spaced(0.0, system.t1, 5),
        observe={"loss": gf.observables.loss, "norm": gf.observables.norm, "sharpness": gf.observables.sharpness},
    )
    r = np.linalg.norm(np.asarray(trajectory.theta), axis=1)
    np.testing.assert_allclose(trajectory.observed["norm"], r)
    np.testing.assert_allclose(trajectory.observed["loss"], r**4 / 4)
    np.testing.assert_allclose(trajectory.observed["sharpness"], 3 * r**2)
    np.testing.assert_allclose(trajectory.potential, r**4 / 4)


def test_table_and_dataset(systems):
    _, trajectory = end_error(systems["quadratic"])
    text = repr(trajectory)
    for word in (
        "outcome",
        "solver",
        "steps",
        "gradients",
        "hessian products",
        "rejected",
        "seconds",
        "energy residual",
    ):
        assert word in text
    assert max(len(line) for line in text.splitlines()) < 120
    data = trajectory.to_xarray()
    assert data.sizes == {"time": 2, "parameter": 4}
    assert data.attrs["outcome"] == "reached_end"


def test_progress_meter_is_in_log_time(systems, capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich then takes the captured stream for a terminal
    end_error(systems["stiff quadratic"], progress=True, solver=dfx.Tsit5())
    assert "t =" in capsys.readouterr().err
    # A file gets nothing.
    monkeypatch.delenv("FORCE_COLOR")
    end_error(systems["stiff quadratic"], progress=True, solver=dfx.Tsit5())
    assert capsys.readouterr().err == ""


class Unhashable:
    __hash__ = None  # pyright: ignore

    def __call__(self, problem, theta):
        raise AssertionError("never reached: it is refused before the solve")


BAD = [
    ({"theta0": np.ones(4, np.float32)}, TypeError, "theta0 must be float64, was float32; convert it"),
    ({"theta0": np.ones(3)}, ValueError, r"theta0 must have shape \(4,\) or \(B, 4\), was \(3,\)"),
    ({"theta0": np.array([1, 2, np.nan, 3.0])}, ValueError, "theta0 must be finite"),
    ({"t1": 0.0}, ValueError, "t1 must be a positive finite number, was 0.0"),
    ({"t1": np.inf}, ValueError, "t1 must be a positive finite number, was inf"),
    ({"rtol": 0.0}, ValueError, "rtol must lie in"),
    ({"atol": -1.0}, ValueError, "atol must be non-negative"),
    ({"max_steps": 0}, ValueError, "max_steps must be a positive integer, was 0"),
    ({"solver": dfx.Euler()}, TypeError, "solver must be a diffrax solver with an error estimate, was Euler"),
    ({"solver": "rkc"}, TypeError, "solver must be a diffrax solver"),
    ({"save": [1.0]}, TypeError, "save must come from"),
    ({"until": 3}, TypeError, "until must be an event"),
    ({"observe": {"loss": 3}}, TypeError, r"observe\['loss'\] must be a function"),
    ({"observe": {"loss": Unhashable()}}, ValueError, r"observe\['loss'\] must be .* raised TypeError: unhashable"),
    ({"dynamics": "flow"}, TypeError, "dynamics must be a flow"),
]


@pytest.mark.parametrize(("change", "error", "message"), BAD, ids=[str(next(iter(c))) for c, _, _ in BAD])
def test_bad_arguments(systems, change, error, message):
    system = systems["quadratic"]
    arguments = {"dynamics": gf.GradientFlow(system.problem), "theta0": system.start, "t1": 1.0} | change
    with pytest.raises(error, match=message) as caught:
        gf.simulate(**arguments)
    assert "\n" not in str(caught.value)


def test_a_start_without_a_finite_loss_is_refused():
    problem = gf.Problem.from_loss(lambda x: jnp.sum(jnp.exp(x**2)), jnp.ones(2))
    with pytest.raises(ValueError, match="theta0 must have a finite loss and gradient"):
        gf.simulate(gf.GradientFlow(problem), jnp.full(2, 1e3), 1.0)
    with pytest.raises(ValueError, match=r"had infinity or NaN for members \[0, 2\]"):
        gf.simulate(gf.GradientFlow(problem), jnp.array([[1e3, 0.0], [1.0, 0.0], [0.0, 1e3]]), 1.0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: gf.log_spaced(0.0, 1.0, 5), "must satisfy 0 < t0 < t1"),
        (lambda: gf.log_spaced(1.0, 1.0, 5), "must satisfy 0 < t0 < t1"),
        (lambda: gf.linear_spaced(-1.0, 1.0, 5), "must satisfy 0 <= t0 < t1"),
        (lambda: gf.linear_spaced(0.0, 1.0, 1), "n must be an integer of at least 2, was 1"),
        (lambda: gf.events.norm_reaches(0.0), "r must be positive and finite"),
        (lambda: gf.events.loss_below(-1.0), "l must be positive and finite"),
        (lambda: gf.events.log_loss_below(np.nan), "l must be finite"),
        (lambda: gf.events.gradient_below(np.inf), "g must be positive and finite"),
    ],
)
def test_bad_policies_and_events(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.slow
@pytest.mark.parametrize("name", SYSTEMS)
@pytest.mark.parametrize("solver", [None, RKC(), dfx.Tsit5()], ids=lambda s: type(s).__name__)
def test_error_estimate_is_the_true_error_within_a_factor(systems, name, solver):
    system = systems[name]
    _, trajectory = end_error(system, solver=solver, save=gf.linear_spaced(0.0, system.t1, 6))
    exact = np.stack([np.asarray(system.exact(float(t))) for t in trajectory.t])
    true = np.linalg.norm(np.asarray(trajectory.theta) - exact, axis=1)
    assert trajectory.error_estimate.shape == trajectory.t.shape
    assert trajectory.error_estimate[0] == 0
    # Near rounding of θ there is nothing to estimate.
    seen = true > 1e-11
    assert seen.any()
    ratio = trajectory.error_estimate[seen] / true[seen]
    assert np.all((ratio > 1 / 3) & (ratio < 10))
    assert trajectory.stats["error_estimate_gradients"] > trajectory.stats["gradients"]


@pytest.mark.slow
def test_error_estimate_at_an_event_at_every_step_and_of_an_ensemble(systems):
    system = systems["quartic"]
    flow = gf.GradientFlow(system.problem)
    options = {"until": gf.events.loss_below(1e-2), "rtol": 1e-5}
    event = gf.simulate(flow, system.start, system.t1, save=gf.every_step(), **options)
    true = [float(jnp.linalg.norm(x - system.exact(float(t)))) for t, x in zip(event.t, event.theta, strict=True)]
    ratio = event.error_estimate[1:] / np.array(true[1:])
    assert np.all((ratio > 1 / 3) & (ratio < 10))
    starts = jnp.stack([system.start, 0.7 * system.start])
    both = gf.simulate(flow, starts, system.t1, save=gf.linear_spaced(0.0, system.t1, 5), **options)
    assert both.error_estimate.shape == both.t.shape
    assert np.all(both.error_estimate[:, 1:] > 0)
    assert np.all(both.error_estimate < 1e-3)


def _untraceable(problem, theta):
    return np.linalg.norm(theta)


@pytest.mark.parametrize(
    ("observe", "said"),
    [
        ({"theta": gf.observables.norm}, "observe must name what it measures by a string other than .*, was 'theta'"),
        ({"time": gf.observables.norm}, "observe must name what it measures by a string other than .*, was 'time'"),
        ({1: gf.observables.norm}, "observe must name what it measures by a string other than .*, was 1"),
        ({"b": _untraceable}, r"observe\['b'\] must be a function .* which raised TracerArrayConversionError: "),
        ({"b": lambda problem, theta: None}, r"observe\['b'\] must be a function .* which raised "),
        ({"b": lambda problem: 1.0}, r"observe\['b'\] must be a function .* which raised TypeError: "),
    ],
)
def test_what_cannot_be_observed_is_refused_before_the_solve(systems, observe, said):
    system = systems["quadratic"]
    with pytest.raises(ValueError, match=said) as refusal:
        gf.simulate(gf.GradientFlow(system.problem), system.start, system.t1, observe=observe)
    assert "\n" not in str(refusal.value)


def test_a_class_is_told_from_its_instance(systems):
    system = systems["quadratic"]
    with pytest.raises(TypeError, match="was the class RKC itself"):
        gf.simulate(gf.GradientFlow(system.problem), system.start, system.t1, solver=RKC)
    with pytest.raises(TypeError, match="was the class GradientFlow itself"):
        gf.simulate(gf.GradientFlow, system.start, system.t1)


def test_a_folder_is_no_checkpoint(systems, tmp_path):
    system = systems["quadratic"]
    with pytest.raises(ValueError, match="checkpoint must be the path of a file, was the folder"):
        gf.simulate(gf.GradientFlow(system.problem), system.start, system.t1, checkpoint=tmp_path)
