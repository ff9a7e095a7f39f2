"""The chooser's decisions, and the stability limits they rest on."""

import diffrax as dfx
import numpy as np
import pytest

from gfsim.solvers import BDF, RKC, Dopri5S, real_stability_limit
from gfsim.solvers.choose import CONFIRM, FIRST_LOOK, TRIALS, Chooser, Prospect
from gfsim.solvers.curvature import DenseCurvature
from gfsim.solvers.tableau import last_stages


def chooser(rtol: float = 1e-6) -> Chooser:
    return Chooser(rtol)


def look(choice: Chooser, **changes) -> bool:
    usual = {"tried": 10, "refused": 0, "span": 1.0, "step": 0.1, "work": 60, "decay": 1.0, "remaining": 1e4}
    return choice.look(choice.next_look, **(usual | changes))


def hands_over(choice: Chooser) -> bool:
    """Steps at the stability limit in two looks."""
    return not look(choice, decay=34.0) and look(choice, decay=34.0)


@pytest.mark.parametrize("solver", [dfx.Bosh3, dfx.Dopri5, dfx.Heun, dfx.Tsit5, Dopri5S, dfx.Dopri8])
def test_last_two_stages(solver):
    """On y' = −λy with hλ = z stage j has g_j = R_j(z) and k_j = −z g_j."""
    stages = solver.tableau.num_stages
    g, z = np.ones(stages), 0.3
    for j, row in enumerate(solver.tableau.a_lower):
        g[j + 1] = 1 - z * row @ g[: j + 1]
    arguments, images = last_stages(solver) @ (-z * g)
    np.testing.assert_allclose([arguments, images], [g[-1] - g[-2], -z * (g[-1] - g[-2])], rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(
    ("solver", "limit"), [(dfx.Bosh3, 2.5127), (dfx.Dopri5, 3.3066), (Dopri5S, 5.7046), (dfx.Heun, 2.0)]
)
def test_real_stability_limit(solver, limit):
    assert real_stability_limit(solver) == pytest.approx(limit, abs=0.02)


def test_explicit_order_follows_the_tolerance():
    assert chooser(1e-6).solver is Dopri5S
    assert chooser(1e-10).solver is dfx.Dopri8


def test_order_five_holds_fewer_vectors_of_many_parameters():
    assert Chooser(1e-10, size=100_000).solver is dfx.Dopri8
    assert Chooser(1e-10, size=100_001).solver is Dopri5S


def test_order_eight_gives_way_where_accuracy_refuses_its_steps():
    choice, recalled = chooser(1e-10), chooser(1e-10)
    assert not look(choice, tried=20, refused=3)
    # At its stability limit a step is refused now and then.
    assert not look(choice, tried=20, refused=4, decay=20.0)
    assert choice.solver is dfx.Dopri8
    assert look(choice, tried=20, refused=4)
    assert choice.solver is Dopri5S
    assert choice.reason == "not smooth: 4 of 20 steps of Dopri8 were refused"
    recalled.recall(choice.notes())
    assert recalled.solver is Dopri5S
    assert not look(choice, tried=20, refused=20)
    # What comes after RKC is of order five too.
    assert hands_over(choice)
    assert not look(choice, span=50.0, step=5.0, work=300, decay=34.0)
    assert look(choice, span=50.0, step=5.0, work=6, decay=0.2)
    assert choice.solver is Dopri5S


def test_stays_explicit_while_accuracy_limits_the_step():
    choice = chooser()
    assert not look(choice, decay=10.0)  # hρ = 1
    assert choice.solver is Dopri5S
    assert "not stiff" in choice.reason


def test_stability_limited_steps_hand_over_to_rkc_and_back_when_the_stiffness_is_gone():
    choice = chooser()
    assert hands_over(choice)
    assert choice.solver is RKC
    assert "hρ = 3.4 of 5.7" in choice.reason
    assert not look(choice, span=50.0, step=5.0, work=300, decay=34.0)  # cheaper per unit of clock: stay
    # Dopri5S takes 6ρ/5.7 = 0.21 gradients per unit of clock; one of RKC counts as three: 3 · 0.06, then 3 · 0.08.
    assert not look(choice, span=50.0, step=5.0, work=3, decay=0.2)
    assert look(choice, span=50.0, step=5.0, work=4, decay=0.2)
    assert choice.solver is Dopri5S
    assert "no longer stiff" in choice.reason


def test_stiffness_is_believed_when_a_second_look_soon_after_finds_it():
    choice, recalled, first = chooser(), chooser(), FIRST_LOOK
    assert not look(choice, decay=34.0)
    assert choice.next_look == first + CONFIRM
    recalled.recall(choice.notes())
    # Accuracy has cut the step since.
    assert not look(choice, step=0.001, decay=34.0)
    assert choice.next_look > first + 2 * CONFIRM
    assert not look(choice, decay=34.0)
    # Too few steps are left: no suspicion stays.
    assert not look(choice, decay=34.0, remaining=1.0)
    assert not choice.notes()["suspected"]
    assert look(recalled, decay=34.0)


def test_a_change_that_did_not_pay_is_undone_and_not_soon_repeated():
    choice = chooser()
    assert hands_over(choice)
    began = FIRST_LOOK + CONFIRM
    assert choice.next_look == began + TRIALS[1]
    # Six gradients an attempt, each counts as three, for steps of 0.1, where Dopri5S took 60 per unit of clock.
    assert look(choice, decay=34.0)
    assert choice.solver is Dopri5S
    assert "RKC cost 3.0 times as many gradients per unit of clock at equal error" in choice.reason
    assert choice.next_look == began + TRIALS[1] + 2 * FIRST_LOOK


def test_rkc_is_judged_by_the_step_that_it_has_grown_to():
    # The span of 0.5 is that of the first, short steps; the last costs 1.8 times as much as before.
    choice = chooser()
    assert hands_over(choice)
    assert not look(choice, span=0.5, step=1 / 6, decay=34.0)
    assert choice.solver is RKC
    # It grew no further: where the span's cost is judged, an explicit step is cheaper.
    assert look(choice, span=10 / 6, step=1 / 6, decay=34.0)
    assert choice.solver is Dopri5S


def test_no_change_begins_that_few_steps_are_left_to_repay():
    for steps, changes in ((64, True), (63, False)):
        choice = chooser()
        assert not look(choice, step=0.125, decay=34.0)
        assert look(choice, step=0.125, decay=34.0, remaining=steps * 0.125) == changes


def test_no_change_for_the_last_few_steps_or_without_information():
    choice = chooser()
    assert not look(choice, decay=34.0, remaining=1.0)
    assert not look(choice, decay=np.nan)
    assert not look(choice, span=0.0)


def dense(rtol: float = 1e-6, size: int = 100, samples: int = 20) -> Chooser:
    """A chooser that has a dense Hessian of a network's to choose, past its first change, which pays."""
    choice = Chooser(rtol, size, lambda: Prospect(DenseCurvature(), samples))
    assert hands_over(choice)
    assert not look(choice, span=50.0, step=5.0, work=100, decay=34.0)
    return choice


def test_stages_that_cost_more_than_a_dense_hessian_hand_over_to_bdf_and_back():
    # A factorisation of 100³/3 operations: 11 gradients of 3e4; a step (3 + 50 + 11/3)/1.5 · (1e-2)^0.3: 9.5 stages.
    choice = dense()
    assert choice.solver is RKC
    assert not look(choice, span=50.0, step=1.0, work=300, decay=34.0)  # hρ = 34: 8 stages
    before = choice.next_look
    assert look(choice, span=5e3, step=500.0, decay=34.0, work=1000, remaining=1e6)  # 170 stages
    assert choice.solver is BDF
    assert choice.next_look == before + TRIALS[2]
    assert "169 stages" in choice.reason
    assert not look(choice, span=5e3, step=500.0, decay=34.0, work=900, remaining=1e6)
    assert look(choice, span=50.0, step=0.05, decay=34.0, work=60, remaining=1e6)  # 2 stages
    assert choice.solver is RKC
    assert "less stiff" in choice.reason


def test_a_step_of_bdf_costs_more_where_the_others_share_lanes():
    alone = Chooser(1e-6, 100, lambda: Prospect(DenseCurvature(), 20, shared=6.0))
    assert hands_over(alone)
    assert not look(alone, span=50.0, step=5.0, work=100, decay=34.0)
    assert alone.solver is RKC
    assert not look(alone, span=500.0, step=40.0, work=300, decay=34.0)  # 48 stages, of 57
    assert look(alone, span=500.0, step=70.0, work=300, decay=34.0, remaining=1e6)  # 63
    assert alone.solver is BDF
    # Judged by the time it takes: RKC's gradients count three times, BDF's six times.
    assert look(alone, span=500.0, step=70.0, work=151, tried=1, decay=34.0, remaining=1e6)
    assert alone.solver is RKC


def test_few_parameters_or_a_tight_tolerance_go_to_bdf_at_once():
    assert dense(size=20).solver is BDF
    assert dense(rtol=1e-8).solver is BDF
    assert dense(size=100).solver is RKC


def test_where_rkc_did_not_pay_bdf_is_tried():
    choice, other = (Chooser(1e-6, 100, lambda: Prospect(DenseCurvature(), 20)) for _ in range(2))
    assert hands_over(choice)
    assert choice.solver is RKC
    assert look(choice, decay=34.0)
    assert choice.solver is Dopri5S
    other.recall(choice.notes())
    for again in (choice, other):
        assert hands_over(again)
        assert again.solver is BDF  # 9.5 stages: RKC would take 7.6, twice that counts
        # Not forgotten where BDF does not pay either.
        assert look(again, work=600, decay=34.0)
        assert again.solver is Dopri5S
        assert hands_over(again)
        assert again.solver is BDF


def test_a_trial_without_an_attempt_is_not_judged():
    choice = chooser()
    assert hands_over(choice)
    assert not look(choice, tried=0, work=0, decay=34.0)
    assert choice.solver is RKC


def test_factorisations_are_dear_where_gradients_are_cheap():
    # 900 parameters: 101 stages pay for a step with 100 samples, 528 with one.
    longer = {"span": 9e3, "step": 900.0, "decay": 34.0, "work": 300, "remaining": 1e6}  # 227 stages
    assert look(dense(size=900, samples=100), **longer)
    assert not look(dense(size=900, samples=1), **longer)


def test_factorisations_count_where_bdf_is_judged():
    choice = dense(size=900, samples=1)  # a step costs 8100/3 gradients more
    assert look(choice, span=5e4, step=5e3, decay=34.0, work=5000, remaining=1e6)
    assert choice.solver is BDF
    assert look(choice, span=5e3, step=500.0, decay=34.0, work=100, tried=10, remaining=1e6)
    assert choice.solver is RKC
    assert "BDF cost" in choice.reason


def test_what_the_chooser_notes_is_all_it_recalls():
    choice, other = (Chooser(1e-6, 100, lambda: Prospect(DenseCurvature())) for _ in range(2))
    assert hands_over(choice)
    assert not look(choice, span=50.0, step=5.0, decay=34.0)
    assert look(choice, span=5e3, step=500.0, decay=34.0, work=1, remaining=1e6)
    other.recall(choice.notes())
    assert other.solver is BDF
    assert look(other, span=1.0, work=1000, decay=34.0)
    assert other.solver is RKC


def test_steps_of_many_stages_are_looked_at_sooner():
    cheap, dear = chooser(), chooser()
    for choice in (cheap, dear):
        choice._patience = 1024
    look(cheap, tried=100, work=600)
    look(dear, tried=100, work=24_000)
    assert cheap.next_look == FIRST_LOOK + 2048
    assert dear.next_look == FIRST_LOOK + 103
