"""The choice of a solver by measured stiffness, while the run goes on."""

from typing import Any

import diffrax as dfx
import numpy as np

from gfsim.solvers.base import AbstractFlowSolver
from gfsim.solvers.chebyshev import RKC
from gfsim.solvers.tableau import real_stability_limit

# Below this rtol order 8 needs fewer gradients than order 5 on smooth flows.
TIGHT = 1e-8
FIRST_LOOK = 32
LONGEST_PATIENCE = 2048


class Chooser:
    """Chooses between an explicit Runge–Kutta method and RKC, and changes its mind when the measurements do.

    An explicit method whose accuracy-limited step h meets its stability limit (hρ near the real stability interval)
    hands over to RKC; RKC whose steps an explicit method could take as well hands back. Each change is judged by its
    own cost, gradients plus twice the Hessian products per unit of clock: one that did not pay is undone, and the
    next look is put off.
    """

    def __init__(self, rtol: float, stabilised: RKC):
        self._explicit = dfx.Dopri8() if rtol <= TIGHT else dfx.Tsit5()
        self._stabilised = stabilised
        self._limit = real_stability_limit(type(self._explicit))
        self._patience = FIRST_LOOK
        self._rate_before: float | None = None
        self.solver: dfx.AbstractSolver = self._explicit
        self.next_look = FIRST_LOOK
        self.reason = "not stiff: its steps are limited by accuracy"

    def look(self, attempts: int, span: float, step: float, work: int, decay: float, remaining: float) -> bool:
        """Reconsider after `attempts` attempted steps in all; True if `solver` changed.

        Since the last look the clock advanced by `span` at the cost of `work` gradients (a product counts two);
        `step` is the last accepted step, `decay` the fastest decay rate ρ now, `remaining` the clock still to run.
        """
        changed = self._decide(span, step, work, decay, remaining)
        self.next_look = attempts + self._patience
        return changed

    def notes(self) -> dict[str, Any]:
        """All that this chooser knows, for `recall`."""
        return {
            "stabilised": self.solver is self._stabilised,
            "patience": self._patience,
            "rate_before": self._rate_before,
            "next_look": self.next_look,
            "reason": self.reason,
        }

    def recall(self, notes: dict[str, Any]) -> None:
        """Go on from what `notes` said."""
        self.solver = self._stabilised if notes["stabilised"] else self._explicit
        self._patience, self._rate_before = notes["patience"], notes["rate_before"]
        self.next_look, self.reason = notes["next_look"], notes["reason"]

    def _decide(self, span: float, step: float, work: int, decay: float, remaining: float) -> bool:
        if span <= 0 or not np.isfinite(decay):
            return False
        rate = work / span
        stretch = step * decay
        explicit = not isinstance(self.solver, AbstractFlowSolver)
        judged, self._rate_before = self._rate_before, None
        if judged is not None and rate > judged:
            return self._switch(
                None, f"the other solver cost {rate / judged:.1f} times as many gradients per unit of clock"
            )
        if remaining < 30 * step:
            return False
        if explicit and stretch > 0.5 * self._limit:
            reason = (
                f"stiff: steps of {type(self.solver).__name__} met their stability limit, "
                f"hρ = {stretch:.2g} of {self._limit:.2g}"
            )
            return self._switch(rate, reason)
        # An order-2 step is shorter than the explicit method's would be: only a clear sign counts.
        if not explicit and stretch < 0.2 * self._limit:
            return self._switch(rate, f"no longer stiff: hρ = {stretch:.2g} is within the explicit stability limit")
        # A quiet look is a reason to look less often.
        self._patience = min(2 * self._patience, LONGEST_PATIENCE)
        return False

    def _switch(self, rate: float | None, reason: str) -> bool:
        self.solver = self._explicit if self.solver is self._stabilised else self._stabilised
        self._rate_before = rate
        self._patience = min(2 * self._patience, LONGEST_PATIENCE)
        self.reason = reason
        return True
