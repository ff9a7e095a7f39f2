"""Explicit methods step as diffrax's do, and say what they cost."""

import diffrax as dfx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gfsim as gf
from gfsim.solvers import Dopri5S
from gfsim.solvers.explicit import Explicit

METHODS = [dfx.Bosh3(), dfx.Dopri5(), dfx.Tsit5(), Dopri5S(), dfx.Dopri8(), dfx.Heun(), dfx.Midpoint(), dfx.Ralston()]


def swing(t, y, args):
    """A pendulum that is pushed; not autonomous, so that the stages' times matter."""
    return {"angle": y["speed"], "speed": -jnp.sin(y["angle"]) + 0.3 * jnp.cos(2 * t)}


TERM = dfx.ODETerm(swing)
START = {"angle": jnp.array([1.0, -0.4]), "speed": jnp.array([0.2, 1.5])}


@pytest.mark.parametrize("method", METHODS, ids=lambda m: type(m).__name__)
def test_two_steps_are_those_of_diffrax(method):
    ours = Explicit(method)

    def two(solver):
        state = solver.init(TERM, 0.5, 0.7, START, None)
        y, _, _, state, _ = solver.step(TERM, 0.5, 0.7, START, None, state, False)
        y, error, dense, _, result = solver.step(TERM, 0.7, 0.8, y, None, state, False)
        assert result == dfx.RESULTS.successful
        return y, error, solver.interpolation_cls(t0=0.7, t1=0.8, **dense).evaluate(0.73)

    mine, theirs = jax.jit(lambda: two(ours))(), jax.jit(lambda: two(method))()
    for a, b in zip(jax.tree.leaves(mine), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-13, atol=1e-15)
    assert ours.error_order(TERM) == method.error_order(TERM)


def test_the_pair_of_dormand_and_prince_has_its_orders():
    """Of the solution (global), of the error estimate, of the dense output and of rows (in one step)."""
    method, end = Dopri5S(), 0.8

    @jax.jit
    def solved(h):
        def step(t, y):
            state = method.init(TERM, t, t + h, y, None)
            return t + h, method.step(TERM, t, t + h, y, None, state, False)[0]

        zero = jnp.zeros(())
        return jax.lax.while_loop(lambda at: at[0] < end - h / 2, lambda at: step(*at), (zero, START))[1]

    @jax.jit
    def one(h):
        state = method.init(TERM, 0.0, h, START, None)
        y, error, dense, _, _ = method.step(TERM, 0.0, h, START, None, state, False)
        path = method.interpolation_cls(t0=0.0, t1=h, **dense)
        rows = Explicit(method).fine_rows(4)
        fine = rows.path_cls(t0=0.0, t1=h, **rows.made(TERM, 0.0, h, dense))
        return y, error, path.evaluate(0.3 * h), path.evaluate(0.3 * h, h), fine.evaluate(0.3 * h)

    def exact(t):
        control = dfx.PIDController(rtol=1e-14, atol=1e-15)
        return dfx.diffeqsolve(TERM, dfx.Dopri8(), 0.0, t, 0.01, START, stepsize_controller=control).ys

    size = lambda y: float(jnp.linalg.norm(jnp.concatenate(jax.tree.leaves(y))))  # noqa: E731
    gap = lambda x, y: size(jax.tree.map(lambda a, b: jnp.squeeze(a) - jnp.squeeze(b), x, y))  # noqa: E731
    counts = np.array([4, 8, 16, 32])
    errors = [gap(solved(end / n), exact(end)) for n in counts]
    assert -np.polyfit(np.log(counts), np.log(errors), 1)[0] == pytest.approx(5, abs=0.2)
    steps = 0.2 / 2.0 ** np.arange(4)
    estimates, insides, fines = [], [], []
    for h in steps:
        y, error, inside, rest, fine = one(h)
        estimates.append(size(error))
        insides.append(gap(inside, exact(0.3 * h)))
        fines.append(gap(fine, exact(0.3 * h)))
        assert gap(jax.tree.map(jnp.add, inside, rest), y) < 1e-14
    assert np.polyfit(np.log(steps), np.log(estimates), 1)[0] == pytest.approx(5, abs=0.2)
    assert np.polyfit(np.log(steps), np.log(insides), 1)[0] == pytest.approx(5, abs=0.2)
    assert np.polyfit(np.log(steps), np.log(fines), 1)[0] == pytest.approx(6, abs=0.2)


@pytest.mark.parametrize("method", [dfx.Tsit5(), Dopri5S(), dfx.Ralston()], ids=lambda m: type(m).__name__)
def test_diffrax_can_use_it(method):
    def end(solver):
        control = dfx.PIDController(rtol=1e-6, atol=1e-9)
        return dfx.diffeqsolve(TERM, solver, 0.0, 3.0, 0.1, START, stepsize_controller=control).ys

    for a, b in zip(jax.tree.leaves(end(Explicit(method))), jax.tree.leaves(end(method)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10)


@pytest.mark.parametrize("method", METHODS, ids=lambda m: type(m).__name__)
def test_evaluations_are_counted_and_a_rejected_step_keeps_its_slope(method):
    calls = []

    def field(t, y, args):
        jax.debug.callback(lambda: calls.append(1))
        return -y

    solver, term, y = Explicit(method), dfx.ODETerm(field), jnp.array([1.0, 2.0])
    before = solver.init(term, 0.0, 0.1, y, None)
    *_, after, _ = solver.step(term, 0.0, 0.1, y, None, before, False)
    jax.effects_barrier()
    assert len(calls) == solver.work(after)[0]
    refused = solver.after_rejection(before, after)
    np.testing.assert_array_equal(refused.slope, -y)
    assert refused.gradients == after.gradients


@pytest.mark.parametrize("method", [Dopri5S(), dfx.Heun()], ids=lambda m: type(m).__name__)
def test_a_step_that_the_clock_no_longer_resolves_changes_nothing(method):
    """Near a blow-up in finite time; the velocity must survive it."""
    solver, now = Explicit(method), jnp.array(1.0)
    before = solver.init(TERM, now, now, START, None)
    y, _, _, after, _ = solver.step(TERM, now, now, START, None, before, False)
    for a, b in zip(jax.tree.leaves((y, after.slope)), jax.tree.leaves((START, before.slope)), strict=True):
        np.testing.assert_array_equal(a, b)
    assert after.stretch == 0


@pytest.mark.parametrize("solver", [dfx.Heun(), dfx.Bosh3()], ids=lambda m: type(m).__name__)
def test_any_of_diffraxs_methods_may_be_asked_for(solver):
    problem = gf.Problem.from_loss(lambda x: 0.5 * jnp.sum(x**4), jnp.ones(1))
    run = gf.simulate(gf.GradientFlow(problem), problem.theta, 4.0, solver=solver, rtol=1e-7)
    assert run.theta[-1, 0] == pytest.approx(17**-0.5, rel=1e-5)  # (1 + 4t)^{-1/2}
    assert run.stats["solver"] == type(solver).__name__
