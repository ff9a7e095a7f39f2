"""A claim is a number: what the theory predicts, what was measured, and how far apart they may be."""

import dataclasses
import math
from typing import Literal, SupportsFloat, get_args

Relation = Literal["close", "at_most", "at_least"]
Scale = Literal["relative", "absolute"]


@dataclasses.dataclass(frozen=True, init=False)
class Claim:
    """One predicted value beside the measured one.

    With slack = tolerance·|predicted| (`scale="relative"`) or tolerance (`scale="absolute"`), the claim holds if

    - `close`: |measured − predicted| ≤ slack,
    - `at_most`: measured ≤ predicted + slack,
    - `at_least`: measured ≥ predicted − slack.

    A NaN on either side never holds; neither does an infinite value of a `close` claim.

    Raises `ValueError` or `TypeError` for an empty name or source, a value that is not one real number, a negative
    or non-finite tolerance, and an unknown relation or scale.
    """

    name: str
    source: str
    predicted: float
    measured: float
    tolerance: float
    relation: Relation
    scale: Scale

    def __init__(
        self,
        name: str,
        source: str,
        predicted: SupportsFloat,
        measured: SupportsFloat,
        tolerance: SupportsFloat,
        relation: Relation = "close",
        scale: Scale = "relative",
    ):
        for label, text in (("name", name), ("source", source)):
            if not isinstance(text, str) or not text.strip():
                raise ValueError(f"{label} of a claim must be a non-empty string, was {text!r}")
        allowed = real(tolerance, "tolerance")
        if not (math.isfinite(allowed) and allowed >= 0):
            raise ValueError(f"tolerance of a claim must be finite and at least 0, was {allowed}")
        for label, choice, choices in (("relation", relation, Relation), ("scale", scale, Scale)):
            if choice not in get_args(choices):
                raise ValueError(f"{label} of a claim must be one of {get_args(choices)}, was {choice!r}")
        values = (name, source, real(predicted, "predicted"), real(measured, "measured"), allowed, relation, scale)
        for field, value in zip(dataclasses.fields(self), values, strict=True):
            object.__setattr__(self, field.name, value)

    @property
    def slack(self) -> float:
        """The allowed distance, in the units of the measured value."""
        if self.scale == "absolute":
            return self.tolerance
        # No multiple of an infinite prediction is a distance from it.
        return self.tolerance * abs(self.predicted) if math.isfinite(self.predicted) else 0.0

    @property
    def holds(self) -> bool:
        if math.isnan(self.predicted) or math.isnan(self.measured):
            return False
        match self.relation:
            case "close":
                distance = abs(self.measured - self.predicted)
                return math.isfinite(distance) and distance <= self.slack
            case "at_most":
                return self.measured <= self.predicted + self.slack
            case "at_least":
                return self.measured >= self.predicted - self.slack

    def moved(self, confirmation: "Claim") -> float:
        """|measured − measured'|, 0 for equal infinities, where measured' is of the same claim of a tighter solve."""
        if confirmation.name != self.name:
            raise ValueError(f"confirmation must be of the claim {self.name!r}, was of {confirmation.name!r}")
        return 0.0 if self.measured == confirmation.measured else abs(self.measured - confirmation.measured)

    def confirmed_by(self, confirmation: "Claim") -> bool:
        """Whether both solves satisfy the claim and the measured value moved by less than a third of the slack.

        Of an inequality the slack or the distance from the bound counts, whichever is larger. A value that did not move
        at all is confirmed whatever the slack: counts have none.
        """
        moved = self.moved(confirmation)
        return self.holds and confirmation.holds and (moved == 0 or moved < self._room / 3)

    @property
    def _room(self) -> float:
        match self.relation:
            case "close":
                return self.slack
            case "at_most":
                return max(self.slack, self.predicted + self.slack - self.measured)
            case "at_least":
                return max(self.slack, self.measured - (self.predicted - self.slack))


def real(value: SupportsFloat, label: str) -> float:
    """`value` as a Python float, where it is one real number (a scalar, or an array of shape ())."""
    if isinstance(value, str | bytes) or getattr(value, "shape", ()) != ():
        raise TypeError(f"{label} of a claim must be one real number, was {described(value)}")
    try:
        return float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{label} of a claim must be one real number, was {described(value)}") from None


def described(value: object) -> str:
    shape = getattr(value, "shape", None)
    return f"an array of shape {shape}" if shape else repr(value)
