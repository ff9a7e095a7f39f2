"""The choice of a solver by measured stiffness, while the run goes on."""

import math
from typing import Any

import diffrax as dfx
import numpy as np

from gfsim.solvers.bdf import BDF
from gfsim.solvers.chebyshev import RKC
from gfsim.solvers.tableau import real_stability_limit

# Below this rtol order 8 needs fewer gradients than order 5 on smooth flows.
TIGHT = 1e-8
# From here on BDF's steps are so much longer than those of RKC that few stages pay for its factorisations.
TIGHT_DENSE = 1e-7
FIRST_LOOK = 32
LONGEST_PATIENCE = 2048
# Gradients in an attempted step of an explicit method; patience is counted in these.
USUAL_COST = 12
EXPLICIT, STABILISED, IMPLICIT = range(3)


class Chooser:
    """Chooses between an explicit Runge–Kutta method, RKC and BDF, and changes its mind when the measurements do.

    An explicit method whose accuracy-limited step h meets its stability limit (hρ near the real stability interval)
    hands over to RKC; RKC whose steps an explicit method could take as well hands back. RKC whose stages cost more than
    a dense Hessian hands over to BDF, where there is one, and is handed back to when they no longer would. Each change
    is judged by its own cost per unit of clock, gradients, twice the Hessian products, and BDF's factorisations in
    gradients of a network of P parameters on n samples: one that did not pay is undone, and the next look is put off.
    """

    def __init__(self, rtol: float, stabilised: RKC, implicit: BDF | None = None, size: int = 0, samples: int = 1):
        explicit = dfx.Dopri8() if rtol <= TIGHT else dfx.Tsit5()
        self._solvers: tuple[dfx.AbstractSolver, ...] = (explicit, stabilised)
        if implicit is not None:
            self._solvers += (implicit,)
        self._limit = real_stability_limit(type(explicit))
        # In operations a factorisation, P³/3, is worth P²/(18n) of a network's gradients, 6Pn each. BDF makes one in
        # about three steps; a Hessian, P products, serves for far more.
        factorisation = size**2 / (18 * samples)
        self._dense_step = factorisation / 3
        # BDF's steps are longer than RKC's, and the more so the tighter the tolerance, since its order is higher.
        self._dense_stages = (20 + size + factorisation) / (4 if rtol > TIGHT_DENSE else 192)
        self._at, self._from = EXPLICIT, EXPLICIT
        self._patience = FIRST_LOOK
        self._rate_before: float | None = None
        self.next_look = FIRST_LOOK
        self.reason = "not stiff: its steps are limited by accuracy"

    @property
    def solver(self) -> dfx.AbstractSolver:
        """The solver chosen now."""
        return self._solvers[self._at]

    def look(
        self, attempts: int, *, tried: int, span: float, step: float, work: int, decay: float, remaining: float
    ) -> bool:
        """Reconsider after `attempts` attempted steps in all; True if `solver` changed.

        Since the last look the clock advanced by `span` in `tried` attempts at the cost of `work` gradients (a product
        counts two); `step` is the longer of the last accepted step and their mean, `decay` the fastest decay rate ρ
        now, `remaining` the clock still to run.
        """
        if self._at == IMPLICIT:
            work += round(tried * self._dense_step)
        changed = self._decide(span, step, work, decay, remaining)
        # Long steps of many stages are looked at as often as short ones, by their cost.
        share = min(1.0, USUAL_COST * max(tried, 1) / max(work, 1))
        self.next_look = attempts + max(FIRST_LOOK, math.ceil(share * self._patience))
        return changed

    def notes(self) -> dict[str, Any]:
        """All that this chooser knows, for `recall`."""
        return {
            "at": self._at,
            "from": self._from,
            "patience": self._patience,
            "rate_before": self._rate_before,
            "next_look": self.next_look,
            "reason": self.reason,
        }

    def recall(self, notes: dict[str, Any]) -> None:
        """Go on from what `notes` said."""
        self._at, self._from = notes["at"], notes["from"]
        self._patience, self._rate_before = notes["patience"], notes["rate_before"]
        self.next_look, self.reason = notes["next_look"], notes["reason"]

    def _decide(self, span: float, step: float, work: int, decay: float, remaining: float) -> bool:
        if span <= 0 or not np.isfinite(decay):
            return False
        rate = work / span
        stretch = step * decay
        judged, self._rate_before = self._rate_before, None
        if judged is not None and rate > judged:
            cost = f"{rate / judged:.1f} times as many gradients per unit of clock"
            return self._switch(self._from, None, f"{self._name(self._at)} cost {cost}")
        if remaining < 30 * step:
            return False
        if self._at == EXPLICIT:
            if stretch > 0.5 * self._limit:
                limit = f"hρ = {stretch:.2g} of {self._limit:.2g}"
                name = self._name(EXPLICIT)
                return self._switch(STABILISED, rate, f"stiff: steps of {name} met their stability limit, {limit}")
        else:
            stages = 1.3 * math.sqrt(stretch)
            # An order-2 step is shorter than the explicit method's would be: only a clear sign counts.
            if stretch < 0.2 * self._limit:
                reason = f"no longer stiff: hρ = {stretch:.2g} is within the explicit stability limit"
                return self._switch(EXPLICIT, rate, reason)
            if self._at == STABILISED and len(self._solvers) > IMPLICIT and stages > self._dense_stages:
                reason = f"very stiff: {stages:.0f} stages a step cost more than a dense Hessian, hρ = {stretch:.2g}"
                return self._switch(IMPLICIT, rate, reason)
            if self._at == IMPLICIT and stages < 0.25 * self._dense_stages:
                reason = f"less stiff: {stages:.0f} stages a step cost less than a dense Hessian, hρ = {stretch:.2g}"
                return self._switch(STABILISED, rate, reason)
        # A quiet look is a reason to look less often.
        self._patience = min(2 * self._patience, LONGEST_PATIENCE)
        return False

    def _switch(self, to: int, rate: float | None, reason: str) -> bool:
        self._at, self._from = to, self._at
        self._rate_before = rate
        self._patience = min(2 * self._patience, LONGEST_PATIENCE)
        self.reason = reason
        return True

    def _name(self, which: int) -> str:
        return type(self._solvers[which]).__name__
