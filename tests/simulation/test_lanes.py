"""Members of an ensemble share lanes and threads, and those that have ended are no longer stepped."""

import diffrax as dfx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gfsim as gf
from gfsim.simulation import integrate, lanes
from gfsim.simulation.lanes import Shares

STIFF = 1e4


def stiff_ensemble(save=None, checkpoint=None):
    """x decays at the rate 1e4, which limits the steps of an explicit solver; in two members y does at the rate 1, to
    the very end."""
    problem = gf.Problem.from_loss(lambda p: 0.5 * (STIFF * p[0] ** 2 + p[1] ** 2), jnp.zeros(2))
    starts = np.column_stack([np.ones(16), np.where(np.arange(16) % 8 == 5, 1.0, 0.0)])
    until = gf.events.loss_below(1e-6)
    return gf.simulate(
        gf.GradientFlow(problem), starts, 1.0, save=save, until=until, solver=dfx.Tsit5(), checkpoint=checkpoint
    )


@pytest.fixture
def widths(monkeypatch) -> list[int]:
    """How many members each call of the compiled loop steps at once."""
    seen = []
    advance = integrate.advance

    def watched(fixed, motion, kept, times, orders, queue=None):
        seen.append(1 if queue is None else queue.shape[1])
        return advance(fixed, motion, kept, times, orders, queue)

    monkeypatch.setattr(integrate, "advance", watched)
    return seen


@pytest.mark.slow
@pytest.mark.parametrize("save", [gf.linear_spaced(0.25, 1, 4), gf.every_step()])
def test_the_last_members_go_on_alone(widths, save):
    run = stiff_ensemble(save)
    long = [5, 13]
    assert {16, 2} == set(widths)
    assert [o.value for o in run.outcome] == ["reached_end" if i in long else "event:loss_below" for i in range(16)]
    for member in long:
        own = run.valid[member]
        np.testing.assert_allclose(run.theta[member, own, 1], np.exp(-run.t[member, own]), rtol=2e-6)
        assert run.t[member, own][-1] == 1.0
        assert own.sum() == (4 if not isinstance(save, type(gf.every_step())) else own.sum()) > 3
    # The others end where their loss says, as if alone.
    problem = gf.Problem.from_loss(lambda p: 0.5 * (STIFF * p[0] ** 2 + p[1] ** 2), jnp.zeros(2))
    alone = np.array([1.0, 0.0])
    single = gf.simulate(gf.GradientFlow(problem), alone, 1.0, until=gf.events.loss_below(1e-6), solver=dfx.Tsit5())
    np.testing.assert_allclose(run.t[0, -1], single.t[-1], rtol=1e-9)


@pytest.mark.slow
def test_a_narrowed_run_resumes_bit_for_bit(tmp_path, monkeypatch):
    monkeypatch.setattr("gfsim.simulation.checkpoint.INTERVAL", 0.0)
    whole = stiff_ensemble(checkpoint=tmp_path / "whole")
    calls = 0
    advance = integrate.advance

    def killed(fixed, motion, kept, times, orders, queue):
        nonlocal calls
        calls += queue.shape[1] == 2
        if calls == 1:
            raise KeyboardInterrupt
        return advance(fixed, motion, kept, times, orders, queue)

    monkeypatch.setattr(integrate, "advance", killed)
    with pytest.raises(KeyboardInterrupt):
        stiff_ensemble(checkpoint=tmp_path / "killed")
    monkeypatch.setattr(integrate, "advance", advance)
    resumed = stiff_ensemble(checkpoint=tmp_path / "killed")
    jax.tree.map(np.testing.assert_array_equal, (whole.t, whole.theta), (resumed.t, resumed.theta))


@pytest.fixture
def narrow(monkeypatch):
    """Two lanes, and slices of four members."""
    monkeypatch.setattr(lanes, "LANES", 2)
    monkeypatch.setattr(lanes, "LANES_OF_SLICE", 2)
    monkeypatch.setattr(lanes, "FEW_SLICES", 1)


COUNT = 11
# Members take 5 to some 150 steps.
RATES = np.geomspace(1.0, 100.0, COUNT)


def decay(checkpoint=None, **options):
    problem = gf.Problem.from_loss(lambda p: 0.5 * p[0] * p[1] ** 2, jnp.zeros(2))
    starts = np.column_stack([RATES, RATES])
    return gf.simulate(gf.GradientFlow(problem), starts, 1.0, rtol=1e-8, checkpoint=checkpoint, **options)


@pytest.mark.parametrize("save", [None, gf.linear_spaced(0, 1, 5), gf.log_spaced(1e-3, 1, 7), gf.every_step()])
def test_lanes_change_no_result(narrow, monkeypatch, save):
    """Eleven members on two lanes of three slices are as on lanes of their own: same steps, states, rows and ends."""
    options = {"save": save, "solver": dfx.Tsit5(), "until": gf.events.loss_below(0.1)}
    shared = decay(**options)
    monkeypatch.setattr(lanes, "LANES", COUNT)
    together = decay(**options)
    assert {o.value for o in together.outcome} == {"reached_end", "event:loss_below"}
    assert shared.outcome == together.outcome
    for count in ("steps", "rejected", "gradients"):
        assert shared.stats[count] == together.stats[count]
    np.testing.assert_array_equal(shared.valid, together.valid)
    np.testing.assert_allclose(shared.t, together.t, rtol=1e-13)
    np.testing.assert_allclose(shared.theta, together.theta, rtol=1e-12)
    np.testing.assert_allclose(shared.dissipated, together.dissipated, rtol=1e-9)


def test_members_of_lanes_follow_their_equation(narrow):
    """The flow of p q²/2 conserves p² − q²/2 = c², so that p' = c² − p² and p = c coth(ct + arcoth(p₀/c))."""
    run = decay(save=gf.linear_spaced(0, 1, 5))
    c = RATES[:, None] / np.sqrt(2)
    p = c / np.tanh(c * run.t + np.arctanh(1 / np.sqrt(2)))
    np.testing.assert_allclose(run.theta[:, :, 0], p, rtol=1e-6)
    np.testing.assert_allclose(run.theta[:, :, 1] ** 2 / 2, p**2 - c**2, atol=1e-6 * float(np.max(c**2)))


def test_a_step_budget_is_each_members_own(narrow):
    run = decay(max_steps=7, solver=dfx.Tsit5())
    assert {o.value for o in run.outcome} == {"max_steps"}
    assert run.stats["steps"] + run.stats["rejected"] == 7 * COUNT


def test_the_threads_share_one_program(narrow, widths, count_compilations):
    with count_compilations() as compiled:
        decay(solver=dfx.Tsit5(), max_steps=20)
    # One call for each of three slices of at most four members.
    assert widths == [2, 2, 2]
    assert compiled.count("jit(advance)") == 1


def test_the_cores_change_no_bit(narrow, monkeypatch):
    runs = []
    for cores in ({0}, {0, 1, 2}):
        monkeypatch.setattr(lanes.os, "sched_getaffinity", lambda _, cores=cores: cores, raising=False)
        runs.append(decay(save=gf.linear_spaced(0, 1, 5)))
    jax.tree.map(np.testing.assert_array_equal, (runs[0].t, runs[0].theta), (runs[1].t, runs[1].theta))


@pytest.mark.parametrize("save", [None, gf.every_step()])
def test_slices_resume_bit_for_bit(narrow, tmp_path, monkeypatch, save):
    monkeypatch.setattr("gfsim.simulation.checkpoint.INTERVAL", 0.0)
    problem = gf.Problem.from_loss(lambda p: 0.5 * p[0] * p[1] ** 2, jnp.zeros(2))
    starts = np.column_stack([RATES, RATES])
    call = lambda path: gf.simulate(  # noqa: E731
        gf.GradientFlow(problem), starts, 1.0, rtol=1e-10, save=save, checkpoint=tmp_path / path
    )
    whole, advance, calls = call("whole"), integrate.advance, 0

    def killed(*arguments):
        nonlocal calls
        calls += 1
        # In the middle of the second round over three slices.
        if calls == 5:
            raise KeyboardInterrupt
        return advance(*arguments)

    monkeypatch.setattr(integrate, "advance", killed)
    with pytest.raises(KeyboardInterrupt):
        call("killed")
    monkeypatch.setattr(integrate, "advance", advance)
    resumed = call("killed")
    jax.tree.map(np.testing.assert_array_equal, (whole.t, whole.theta), (resumed.t, resumed.theta))
    assert resumed.stats["gradients"] == whole.stats["gradients"]


def test_slices_hold_every_member_once():
    for members in (1, 7, 256, 257, 1000, 100_000):
        shares = Shares(members, 100)
        running = np.random.default_rng(members).random(members) < 0.7
        queued = []
        for (start, end), queue in zip(shares.slices, shares.queues(running), strict=True):
            own = queue[queue < end - start]
            assert np.all(queue[queue >= end - start] >= end - start)
            queued.extend(start + own)
        np.testing.assert_array_equal(queued, np.flatnonzero(running))
        assert len(shares.slices) <= lanes.SLICES
        whole = {"a": np.arange(members), "b": np.random.default_rng(0).random((members, 3))}
        jax.tree.map(np.testing.assert_array_equal, shares.whole(shares.parts(whole)), whole)


def test_lanes_are_fewer_the_larger_a_member():
    assert [Shares(10_000, size).lanes for size in (10, 200, 400, 1000, 100_000)] == [16, 16, 8, 8, 8]
    assert Shares(3, 10).lanes == 3


def test_few_members_are_cut_for_several_cores_too():
    """A slice holds no fewer members than lanes would, and has no more lanes than members."""
    for members, size, slices, lanes_each in ((64, 100, 4, 16), (40, 100, 3, 14), (64, 1000, 8, 8), (5, 1000, 1, 5)):
        shares = Shares(members, size)
        assert (len(shares.slices), shares.lanes) == (slices, lanes_each)
    alone = Shares(20, 100, alone=True)
    assert (len(alone.slices), alone.lanes) == (7, 1)


def test_every_step_counts_the_attempts_of_each_member():
    """Members that are rejected now and then are not stopped before their budget by those that never are."""
    problem = gf.Problem.from_loss(lambda p: 0.5 * p[0] * p[1] ** 2, jnp.zeros(2))
    starts = np.column_stack([np.geomspace(1, 1e4, 4)] * 2)
    run = gf.simulate(
        gf.GradientFlow(problem), starts, 1e6, save=gf.every_step(), max_steps=700, solver=dfx.Tsit5(), rtol=1e-3
    )
    assert {o.value for o in run.outcome} == {"max_steps"}
    assert run.stats["rejected"] > 0
    assert run.stats["steps"] + run.stats["rejected"] == 4 * 700


def test_threads_compute_with_the_callers_precision(narrow):
    import subprocess
    import sys

    script = """
import jax
import jax.numpy as jnp
import numpy as np
import gfsim as gf
with jax.enable_x64(True):
    problem = gf.Problem.from_loss(lambda p: 0.5 * jnp.sum(p**2), jnp.zeros(2))
    run = gf.simulate(gf.GradientFlow(problem), np.ones((300, 2)), 1.0)
    print(float(np.max(np.abs(run.theta[:, -1] - np.exp(-1)))) < 1e-6)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.stdout == "True\n", done.stderr[-500:]


def test_looks_at_one_member_are_counted_once():
    """The steps are at their stability limit by the second look, after 48 attempts."""
    problem = gf.Problem.from_loss(lambda p: 0.5 * (STIFF * p[0] ** 2 + p[1] ** 2), jnp.zeros(2))
    single, ensemble = (
        gf.simulate(gf.GradientFlow(problem), start, 1.0, max_steps=60).stats for start in (np.ones(2), np.ones((1, 2)))
    )
    assert ensemble["hessian_products"] == single["hessian_products"] > 0


def of_two_rates(p):
    return 0.5 * (STIFF * p[0] ** 2 + p[2] * p[1] ** 2)


SLOW = np.geomspace(1e-3, 1e-1, COUNT)


def stiff_members(checkpoint=None, **options):
    """The first parameter falls at the rate STIFF, the others at rates of their own size, which is small: a transient,
    and then slow motion."""
    problem = gf.Problem.from_loss(of_two_rates, jnp.zeros(3))
    starts = np.column_stack([SLOW, SLOW, SLOW])
    return gf.simulate(gf.GradientFlow(problem), starts, 1e3, checkpoint=checkpoint, **options)


@pytest.mark.parametrize("save", [None, gf.log_spaced(1.0, 1e3, 9), gf.every_step()])
def test_a_stiff_ensemble_changes_to_bdf_and_each_member_to_a_lane_of_its_own(narrow, widths, save):
    run = stiff_members(save=save)
    assert run.stats["solver"].endswith("BDF")
    assert widths[0] == 2
    assert widths[-1] == 1
    # RKC would take at least √(1e4 · 1e3) stages a member.
    assert run.stats["gradients"] < 1000 * COUNT
    # As in the test of lanes above, of the last two parameters.
    c = SLOW[:, None] / np.sqrt(2)
    exact = c / np.tanh(c * run.t + np.arctanh(1 / np.sqrt(2)))
    np.testing.assert_allclose(run.theta[:, :, 2], exact, rtol=1e-4)
    assert np.all(np.abs(run.theta[:, -1, 0]) < 1e-6 * SLOW)


@pytest.mark.parametrize("save", [gf.log_spaced(1.0, 1e3, 9), gf.every_step()])
def test_a_run_that_was_cut_anew_resumes_bit_for_bit(narrow, tmp_path, monkeypatch, save):
    monkeypatch.setattr("gfsim.simulation.checkpoint.INTERVAL", 0.0)
    whole, advance, calls = stiff_members(checkpoint=tmp_path / "whole", save=save), integrate.advance, 0

    def killed(fixed, motion, kept, times, orders, queue):
        nonlocal calls
        calls += queue.shape[1] == 1
        # In the second call after the change.
        if calls == 2 * -(-COUNT // 2):
            raise KeyboardInterrupt
        return advance(fixed, motion, kept, times, orders, queue)

    monkeypatch.setattr(integrate, "advance", killed)
    with pytest.raises(KeyboardInterrupt):
        stiff_members(checkpoint=tmp_path / "killed", save=save)
    monkeypatch.setattr(integrate, "advance", advance)
    resumed = stiff_members(checkpoint=tmp_path / "killed", save=save)
    jax.tree.map(np.testing.assert_array_equal, (whole.t, whole.theta), (resumed.t, resumed.theta))
    assert resumed.stats["solver"] == whole.stats["solver"]


def of_singular_values(p):
    return jnp.sum(jnp.linalg.svd(p.reshape(2, 2) + jnp.diag(jnp.array([2.0, 1.0])), compute_uv=False) ** 4)


@pytest.mark.parametrize(
    ("loss", "options", "width"),
    [
        (lambda p: jnp.sum(p**2), {"solver": dfx.Tsit5()}, 2),
        (of_singular_values, {"solver": dfx.Tsit5()}, 1),
        (lambda p: jnp.sum(p**2), {"solver": gf.solvers.BDF()}, 1),
        (lambda p: jnp.sum(p**2), {"solver": dfx.Kvaerno3()}, 1),
    ],
)
def test_members_whose_steps_factorise_matrices_are_stepped_alone(narrow, widths, loss, options, width):
    """LAPACK's routines for many matrices wait for each other without end when several threads call them."""
    problem = gf.Problem.from_loss(loss, jnp.zeros(4))
    starts = np.random.default_rng(0).standard_normal((COUNT, 4))
    run = gf.simulate(gf.GradientFlow(problem), starts, 0.1, **options)
    assert set(widths) == {width}
    single = gf.simulate(gf.GradientFlow(problem), starts[4], 0.1, **options)
    # The tolerance of implicit solvers is that of the smallest member.
    np.testing.assert_allclose(run.theta[4, -1], single.theta[-1], rtol=5e-6)


@pytest.mark.parametrize("solver", [None, dfx.Tsit5()])
@pytest.mark.parametrize("max_steps", [1, 22, 63, 100])
def test_a_step_budget_ends_a_member_where_it_ends_it_alone(max_steps, solver):
    """Some end by an event within it, some are near their end at a look, some are not."""
    problem = gf.Problem.from_loss(lambda x: 0.25 * jnp.sum(x**4), jnp.zeros(1))
    flow, starts = gf.GradientFlow(problem), np.geomspace(0.3, 1e6, 12)[:4, None]
    options = {
        "rtol": 1e-8, "save": gf.every_step(), "max_steps": max_steps, "solver": solver,
        "until": gf.events.loss_below(1e-3),
    }  # fmt: skip
    together = gf.simulate(flow, starts, 1.0, **options)
    alone = [gf.simulate(flow, start, 1.0, **options) for start in starts]
    assert together.outcome == tuple(one.outcome for one in alone)
    assert np.sum(together.valid, axis=1).tolist() == [one.t.size for one in alone]
    assert together.stats["steps"] == sum(one.stats["steps"] for one in alone)
