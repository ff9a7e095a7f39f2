"""A motion between two calls, and the beginning of a single one in its first call."""

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import diffrax as dfx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gfsim as gf
from gfsim.simulation import choice, run, starting
from gfsim.simulation.compiled import Fixed
from gfsim.simulation.motion import COLUMNS, Carried, Column, Motion, Paused, packed, unpacked
from gfsim.simulation.step_control import Tolerance
from gfsim.solvers import BDF, Dopri5S


class SolverState(NamedTuple):
    slope: Carried
    rate: jax.Array
    count: jax.Array
    judged: jax.Array
    phase: jax.Array
    key: jax.Array


@pytest.mark.parametrize("members", [(), (3,)])
def test_a_motion_is_unpacked_as_it_was_packed(members):
    draw = np.random.default_rng(0)
    number = lambda: jnp.asarray(draw.normal(size=members))  # noqa: E731
    count = lambda: jnp.asarray(draw.integers(2**52, 2**53, size=members))  # noqa: E731
    vector = lambda: jnp.asarray(draw.normal(size=(*members, 2)))  # noqa: E731
    key = jnp.broadcast_to(jax.random.key(0), members)
    state = SolverState(Carried(vector(), number()), number(), count(), number() > 0, number().astype(complex), key)
    motion = Motion(
        number(), number(), count(), Tolerance(number(), number()), Carried(vector(), number()), number(), number(),
        number(), state, count(), count(), count(), count(), count(), count(), number(),
    )  # fmt: skip
    paused = packed(motion)
    assert paused.numbers.shape == (*members, len(COLUMNS) + 4)
    # Arrays stay by themselves, and what is no real number.
    assert [x.shape for x in jax.tree.leaves(paused.solver_state)] == [(*members, 2), members, members]
    assert paused.solver_state.count == Column(np.dtype(int))
    again = unpacked(paused)
    assert jax.tree.structure(again) == jax.tree.structure(motion)
    for x, y in zip(jax.tree.leaves(motion), jax.tree.leaves(again), strict=True):
        assert x.dtype == y.dtype
        assert jnp.all(x == y)


def decay() -> gf.GradientFlow:
    return gf.GradientFlow(gf.Problem.from_loss(lambda x: 0.5 * jnp.sum(x**2), jnp.ones(2)))


def test_a_single_run_begins_in_its_first_call(monkeypatch):
    flow, theta0 = decay(), np.array([1.0, -2.0])
    both = gf.simulate(flow, np.stack([theta0, theta0]), 1.0)

    def begin(*arguments):
        raise AssertionError("a program of its own")

    monkeypatch.setattr(starting, "begin", begin)
    begin.eval_shape = starting.Compiled(starting.begun, per_member=True).eval_shape
    calls = []
    advance = run.integrate.advance
    monkeypatch.setattr(run.integrate, "advance", lambda *a: calls.append(1) or advance(*a))
    alone = gf.simulate(flow, theta0, 1.0)
    assert len(calls) == 1
    np.testing.assert_allclose(alone.theta[-1], theta0 * np.exp(-1), rtol=1e-6)
    np.testing.assert_allclose(alone.theta, both.theta[0], rtol=1e-15)
    # Counted twice, once for each member.
    for name in ("steps", "rejected", "gradients"):
        assert both.stats[name] == 2 * alone.stats[name]


def test_what_a_run_begins_from_is_kept_for_the_last_few_flows_and_not_written_to(monkeypatch):
    monkeypatch.setattr(starting, "_blank", {})
    monkeypatch.setattr(starting, "_MOST_BLANK", 2)
    size = 1000
    for _ in range(3):
        flow = gf.GradientFlow(gf.Problem.from_loss(lambda x: 0.5 * jnp.sum(x**2), jnp.ones(size)))
        for start in (1.0, 2.0):
            theta0 = np.full(size, start)
            gf.simulate(flow, theta0, 1.0)
            assert np.all(theta0 == start)
    assert len(starting._blank) == 2
    assert all(not x.any() for blank in starting._blank.values() for x in jax.tree.leaves(blank))


def test_the_state_that_a_single_run_begins_from_is_its_flows():
    network = gf.networks.TwoLayer(2, 3, gf.networks.ReLUPower(2), key=jax.random.key(0))
    problem = gf.Problem(network, gf.data.xor(), gf.losses.Exponential())
    for flow in (gf.GradientFlow(problem), gf.MarginFlow(problem)):
        fixed, start = Fixed(flow, choice.made(Dopri5S), ()), Paused.start(np.asarray(problem.theta))
        state = starting.to_begin(flow, fixed, start).state
        for x, y in zip(*map(jax.tree.leaves, (state, flow.initial_state(problem.theta))), strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-15)


def test_what_a_run_begins_from_is_as_large_as_its_data():
    network = gf.networks.TwoLayer(3, 30, gf.networks.Tanh(), key=jax.random.key(0))
    for samples in (5, 7):
        data = gf.Dataset(np.random.default_rng(0).normal(size=(samples, 3)), np.ones(samples))
        problem = gf.Problem(network, data, gf.losses.Square())
        # BDF keeps a row for each sample.
        run = gf.simulate(gf.GradientFlow(problem), problem.theta, 1.0, solver=BDF())
        assert run.outcome is gf.Outcome.reached_end


def test_runs_in_many_threads_begin_from_few_blanks(monkeypatch):
    monkeypatch.setattr(starting, "_blank", {})
    monkeypatch.setattr(starting, "_MOST_BLANK", 1)
    flows = [gf.GradientFlow(gf.Problem.from_loss(lambda x: jnp.sum(x**2), jnp.ones(size))) for size in range(1, 5)]
    given = [(f, Fixed(f, choice.made(Dopri5S), ()), Paused.start(np.ones(f.problem.size))) for f in flows]
    with ThreadPoolExecutor(4) as threads:
        begun = list(threads.map(lambda i: starting.to_begin(*given[i % 4]), range(40)))
    assert [motion.state.size for motion in begun] == [1, 2, 3, 4] * 10
    assert len(starting._blank) == 1


class Keyed(dfx.Heun):
    """A solver that draws numbers, such as one of random stages would."""

    def init(self, terms, t0, t1, y0, args):
        return jax.random.key(0)

    def step(self, terms, t0, t1, y0, args, solver_state, made_jump):
        y1, error, dense, _, result = super().step(terms, t0, t1, y0, args, None, made_jump)
        return y1, error, dense, jax.random.split(solver_state)[0], result


def test_a_solver_may_step_in_a_way_of_its_own_and_keep_a_key():
    theta0 = np.array([1.0, -2.0])
    for start in (theta0, theta0[None]):
        run = gf.simulate(decay(), start, 1.0, solver=Keyed(), rtol=1e-6)
        np.testing.assert_allclose(run.theta[..., -1, :], start * np.exp(-1), rtol=1e-4)
        # Only those of diffrax's own step are known.
        assert run.stats["gradients"] is None


def test_a_loss_may_solve_a_flow_of_its_own():
    def loss(x):
        with jax.ensure_compile_time_eval():
            target = np.asarray(gf.simulate(decay(), np.ones(2), 1.0).theta[-1])
        return 0.5 * jnp.sum((x - target) ** 2)

    run = gf.simulate(gf.GradientFlow(gf.Problem.from_loss(loss, jnp.ones(2))), np.zeros(2), 1.0)
    np.testing.assert_allclose(run.theta[-1], np.exp(-1) * (1 - np.exp(-1)), rtol=1e-6)
