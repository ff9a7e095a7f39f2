"""The choice of a solver by measured stiffness, while the run goes on."""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import diffrax as dfx
import numpy as np

from gfsim.solvers.bdf import BDF
from gfsim.solvers.chebyshev import RKC
from gfsim.solvers.curvature import AbstractCurvature
from gfsim.solvers.dormand_prince import Dopri5S
from gfsim.solvers.tableau import real_stability_limit

# From this rtol on order 8 needs fewer gradients than order 5 for the same error, on smooth flows that are not stiff.
TIGHT = 1e-10
# Parameters up to which it may hold 20 vectors of their size, where order 5 holds 13.
SPARING = 100_000
FIRST_LOOK = 16
# In a run's last so many steps no change is begun: a trial has to be repaid.
WORTHWHILE = 64
# Attempts after which stiffness is looked for again before it is believed: leaving a saddle the decay rates rise under
# steps that accuracy then cuts.
CONFIRM = 16
LONGEST_PATIENCE = 2048
# Share of refused steps from which a flow is not smooth enough for order 8, where accuracy alone refuses them: below
# this share of the stability limit. Both orders cross a kink by the same short steps, and order 5 has fewer stages.
ROUGH, ACCURATE = 0.15, 0.2
# Attempts after which a change is judged, by the solver changed to (an explicit one, RKC, BDF, which begins at order
# one). RKC's last step by then shows what its steps are growing to: it may cost this much more than what it replaced.
TRIALS = (16, 16, 64)
GROWING = 2.0
# Where RKC once did not pay, BDF, of order five, has better chances: its rival's stages count as this many times more.
OUTDONE = 2
# Gradients in an attempted step of an explicit method; patience is counted in these.
USUAL_COST = 12
# At equal rtol RKC, of order 2, leaves about ten times the error of the others, and its cost falls as error^{-1/2}: a
# gradient of its counts as this many of theirs.
PRICE = 3.0
# Operations that a gradient takes as long as, however small its network.
LEAST_GRADIENT = 3e4
EXPLICIT, STABILISED, IMPLICIT = range(3)
OFFERED = {solver.__name__: solver for solver in (Dopri5S, dfx.Dopri8, RKC, BDF)}


class Prospect(NamedTuple):
    """What speaks for BDF: what it would keep and solve with, and the flow's samples. In an ensemble a gradient of the
    other methods, which members share, takes 1/`shared` of the time of BDF's."""

    curvature: AbstractCurvature
    samples: int = 1
    shared: float = 1.0


class Chooser:
    """Chooses between an explicit Runge–Kutta method, RKC and BDF, and changes its mind when the measurements do.

    An explicit method whose step h is found twice at its stability limit (hρ near the real stability interval) hands
    over to RKC; RKC that costs more than an explicit method would at its stability limit hands back. An explicit method
    of order 8 whose steps accuracy refuses too often gives way to one of order 5 for good. RKC whose
    stages cost more than a step of BDF hands over to it, where there is one, and is handed back to when they no
    longer would; where even those of the explicit method's step would, BDF takes over at once. Each change is judged
    soon by its own cost per unit of clock at equal error: gradients, twice the Hessian products, and BDF's
    factorisations in gradients of a network of P parameters on n samples. One that does not pay is undone, and the next
    look is put off.
    """

    def __init__(
        self,
        rtol: float,
        size: int = 0,
        prospect: Callable[[], Prospect | None] = lambda: None,
    ):
        """For a flow of `size` parameters; `prospect`, asked at a look, gives None where BDF is not to be had."""
        self._rtol, self._size = rtol, size
        self._explicit: type[Dopri5S | dfx.Dopri8] = dfx.Dopri8 if rtol <= TIGHT and size <= SPARING else Dopri5S
        self._prospect = prospect
        self._at, self._from = EXPLICIT, EXPLICIT
        self._patience = FIRST_LOOK
        self._rate_before: float | None = None
        self._suspected = False
        # Whether RKC once cost more than the explicit method that it replaced.
        self._outdone = False
        self.next_look = FIRST_LOOK
        self.reason = "not stiff: its steps are limited by accuracy"

    @property
    def solver(self) -> type[dfx.AbstractSolver]:
        """The solver chosen now."""
        return (self._explicit, RKC, BDF)[self._at]

    @property
    def _limit(self) -> float:
        """The explicit method's real stability limit."""
        return real_stability_limit(self._explicit)

    @property
    def _evaluations(self) -> int:
        """Evaluations in a step of the explicit method."""
        tableau = self._explicit.tableau
        # Its last stage is the first of the next step, or is not.
        return tableau.num_stages - 1 if tableau.fsal else tableau.num_stages

    @functools.cached_property
    def _implicit(self) -> "_Implicit":
        # Found out where a run turns out stiff: it takes as long as a short run.
        prospect = self._prospect()
        if prospect is None:
            return _Implicit(0.0, math.inf, 1.0)
        curvature, samples, shared = prospect
        # A network's gradient takes 6Pn operations. BDF factorises in about one of three steps.
        factorisation = curvature.operations(self._size) / max(6 * self._size * samples, LEAST_GRADIENT)
        # A step of BDF: about three gradients, the factor, and the products for a Hessian that serves four steps.
        step = 3 + curvature.products(self._size) / 2 + factorisation / 3
        # At equal error ε the cost of RKC grows as ε^{-1/2}, of BDF, at order five, as ε^{-1/5}.
        return _Implicit(factorisation / 3, shared * step / 1.5 * (self._rtol / 1e-4) ** 0.3, shared)

    @property
    def settled(self) -> bool:
        """Whether no change waits to be judged."""
        return self._rate_before is None

    def look(
        self,
        attempts: int,
        *,
        tried: int,
        refused: int,
        span: float,
        step: float,
        work: int,
        decay: float,
        remaining: float,
    ) -> bool:
        """Reconsider after `attempts` attempted steps in all; True if `solver` changed.

        Since the last look the clock advanced by `span` in `tried` attempts, `refused` of them in vain, at the cost of
        `work` gradients (a product counts two); `step` is the longer of the last accepted step and their mean, `decay`
        the fastest decay rate ρ now, `remaining` the clock still to run.
        """
        cost = float(PRICE * work if self._at == STABILISED else work)
        if self._at == IMPLICIT:
            work += round(tried * self._implicit.factor)
            cost = self._implicit.shared * work
        changed = self._decide(tried, refused, span, step, cost, decay, remaining)
        if self._suspected:
            wait = CONFIRM
        elif self._rate_before is not None:
            wait = TRIALS[self._at]
        else:
            # Long steps of many stages are looked at as often as short ones, by their cost.
            share = min(1.0, USUAL_COST * max(tried, 1) / max(work, 1))
            wait = max(FIRST_LOOK, math.ceil(share * self._patience))
        self.next_look = attempts + wait
        return changed

    def notes(self) -> dict[str, Any]:
        """All that this chooser knows, for `recall`."""
        return {
            "order_eight": self._explicit is dfx.Dopri8,
            "at": self._at,
            "from": self._from,
            "patience": self._patience,
            "rate_before": self._rate_before,
            "suspected": self._suspected,
            "outdone": self._outdone,
            "next_look": self.next_look,
            "reason": self.reason,
        }

    def recall(self, notes: dict[str, Any]) -> None:
        """Go on from what `notes` said."""
        self._explicit = dfx.Dopri8 if notes["order_eight"] else Dopri5S
        self._at, self._from = notes["at"], notes["from"]
        self._patience, self._rate_before = notes["patience"], notes["rate_before"]
        self._suspected, self._outdone = notes["suspected"], notes["outdone"]
        self.next_look, self.reason = notes["next_look"], notes["reason"]

    def _decide(
        self, tried: int, refused: int, span: float, step: float, cost: float, decay: float, remaining: float
    ) -> bool:
        suspected, self._suspected = self._suspected, False
        if tried < 1 or span <= 0 or not np.isfinite(decay):
            return False
        rate = cost / span
        stretch = step * decay
        before, self._rate_before = self._rate_before, None
        if before is not None:
            growing = self._at == STABILISED
            times = (cost / tried / step if growing else rate) / before
            if times > (GROWING if growing else 1.0):
                self._outdone = self._outdone or growing
                more = f"{times:.1f} times as many gradients per unit of clock at equal error"
                return self._switch(self._from, None, f"{self._name(self._at)} cost {more}")
            if growing:
                return False
        if remaining < WORTHWHILE * step:
            return False
        if self._at == EXPLICIT:
            rough = refused > ROUGH * tried and stretch < ACCURATE * self._limit
            if rough and self._explicit is dfx.Dopri8:
                self._explicit = Dopri5S
                self.reason = f"not smooth: {refused} of {tried} steps of Dopri8 were refused"
                return True
            held = stretch > 0.5 * self._limit
            if held and not suspected:
                self._suspected = True
                return False
            if held:
                limit = f"hρ = {stretch:.2g} of {self._limit:.2g}"
                name = self._name(EXPLICIT)
                # No longer held back, steps grow about tenfold.
                stages = _stages(10 * stretch) * (OUTDONE if self._outdone else 1)
                implicit = self._implicit.stages < stages
                reason = f"stiff: steps of {name} met their stability limit, {limit}"
                return self._switch(IMPLICIT if implicit else STABILISED, rate, reason)
        else:
            stages = _stages(stretch)
            if rate > self._evaluations * decay / self._limit:
                reason = f"no longer stiff: {self._name(EXPLICIT)} is stable at hρ = {stretch:.2g} for less"
                return self._switch(EXPLICIT, rate, reason)
            if self._at == STABILISED and stages > self._implicit.stages:
                reason = f"very stiff: {stages:.0f} stages a step cost more than an implicit one, hρ = {stretch:.2g}"
                return self._switch(IMPLICIT, rate, reason)
            if self._at == IMPLICIT and stages < 0.25 * self._implicit.stages:
                reason = f"less stiff: {stages:.0f} stages a step cost less than an implicit one, hρ = {stretch:.2g}"
                return self._switch(STABILISED, rate, reason)
        # A quiet look is a reason to look less often.
        self._patience = min(2 * self._patience, LONGEST_PATIENCE)
        return False

    def _switch(self, to: int, rate: float | None, reason: str) -> bool:
        self._at, self._from = to, self._at
        self._rate_before = rate
        if rate is None:
            self._patience = min(2 * self._patience, LONGEST_PATIENCE)
        self.reason = reason
        return True

    def _name(self, which: int) -> str:
        return (self._explicit, RKC, BDF)[which].__name__


class _Implicit(NamedTuple):
    """A step of BDF's share of factors, in gradients; the stages of RKC that cost as much as a step of BDF, without end
    where there is none; and what a gradient of BDF's takes beside one of the others."""

    factor: float
    stages: float
    shared: float


def _stages(stretch: float) -> float:
    """Stages of an RKC step with hρ = `stretch`."""
    return 1.3 * math.sqrt(stretch)
