"""Members of an ensemble that have ended are no longer stepped."""

import diffrax as dfx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gfsim as gf
from gfsim.simulation import integrate

pytestmark = pytest.mark.slow

STIFF = 1e4


@pytest.fixture
def widths(monkeypatch) -> list[int]:
    """How many members each call of the compiled loop steps."""
    seen = []
    advance = integrate.advance

    def watched(fixed, motion, *rest):
        seen.append(motion.number("clock").size)
        return advance(fixed, motion, *rest)

    monkeypatch.setattr(integrate, "advance", watched)
    return seen


@pytest.mark.parametrize("save", [gf.linear_spaced(0.25, 1, 4), gf.every_step()])
def test_the_last_members_go_on_alone(widths, save):
    # x decays at the rate 1e4, which limits the steps of an explicit solver; y at the rate 1, to the very end.
    problem = gf.Problem.from_loss(lambda p: 0.5 * (STIFF * p[0] ** 2 + p[1] ** 2), jnp.zeros(2))
    starts = np.column_stack([np.ones(16), np.where(np.arange(16) % 8 == 5, 1.0, 0.0)])
    run = gf.simulate(
        gf.GradientFlow(problem), starts, 1.0, save=save, until=gf.events.loss_below(1e-6), solver=dfx.Tsit5()
    )
    long = [5, 13]
    assert {16, 2} == set(widths)
    assert [o.value for o in run.outcome] == ["reached_end" if i in long else "event:loss_below" for i in range(16)]
    for member in long:
        own = run.valid[member]
        np.testing.assert_allclose(run.theta[member, own, 1], np.exp(-run.t[member, own]), rtol=2e-6)
        assert run.t[member, own][-1] == 1.0
        assert own.sum() == (4 if not isinstance(save, type(gf.every_step())) else own.sum()) > 3
    # The others end where their loss says, as if alone.
    single = gf.simulate(gf.GradientFlow(problem), starts[0], 1.0, until=gf.events.loss_below(1e-6), solver=dfx.Tsit5())
    np.testing.assert_allclose(run.t[0, -1], single.t[-1], rtol=1e-9)


def test_a_compacted_run_resumes_bit_for_bit(tmp_path, monkeypatch):
    problem = gf.Problem.from_loss(lambda p: 0.5 * (STIFF * p[0] ** 2 + p[1] ** 2), jnp.zeros(2))
    starts = np.column_stack([np.ones(16), np.where(np.arange(16) % 8 == 5, 1.0, 0.0)])
    call = lambda path: gf.simulate(  # noqa: E731
        gf.GradientFlow(problem), starts, 1.0, until=gf.events.loss_below(1e-6), solver=dfx.Tsit5(), checkpoint=path
    )
    monkeypatch.setattr("gfsim.simulation.checkpoint.INTERVAL", 0.0)
    whole = call(tmp_path / "whole")
    calls = 0
    advance = integrate.advance

    def killed(fixed, motion, *rest):
        nonlocal calls
        calls += motion.number("clock").size == 2
        if calls == 1:
            raise KeyboardInterrupt
        return advance(fixed, motion, *rest)

    monkeypatch.setattr(integrate, "advance", killed)
    with pytest.raises(KeyboardInterrupt):
        call(tmp_path / "killed")
    monkeypatch.setattr(integrate, "advance", advance)
    resumed = call(tmp_path / "killed")
    jax.tree.map(np.testing.assert_array_equal, (whole.t, whole.theta), (resumed.t, resumed.theta))
