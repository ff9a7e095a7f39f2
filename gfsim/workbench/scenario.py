"""The base of every scenario, and how much of its progress the runner wants to hear."""

import abc
import contextlib
import dataclasses
import math
from collections.abc import Hashable, Iterator, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    import xarray

    import gfsim.verification.claims

_aloud: ContextVar[bool] = ContextVar("aloud", default=False)


@contextlib.contextmanager
def aloud(on: bool) -> Iterator[None]:
    """Inside, scenarios report their progress on standard output (`on`) or stay silent."""
    token = _aloud.set(on)
    try:
        yield
    finally:
        _aloud.reset(token)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scenario(abc.ABC):
    """A configuration, how it is solved, and what must come out.

    A scenario is a frozen dataclass in a file of its own: its fields are its command line, the file's stem (with
    hyphens) is its name. Its docstring opens with the claim in one sentence, then a paragraph, then `Source:` with
    the paper (its arXiv number is what `gfsim cite` looks up) and the theorem, then the run time.

    Raises `ValueError` for an rtol outside (0, 1) and a negative seed; subclasses that check their own fields
    extend `__post_init__` and call `super().__post_init__()`.
    """

    rtol: float = 1e-6
    """Relative tolerance of every solve."""
    seed: int = 0
    """Seed of everything drawn at random."""

    def __post_init__(self):
        if not (math.isfinite(self.rtol) and 0 < self.rtol < 1):
            raise ValueError(f"rtol must lie between 0 and 1, was {self.rtol}")
        if self.seed < 0:
            raise ValueError(f"seed must be at least 0, was {self.seed}")

    @abc.abstractmethod
    def simulate(self) -> "xarray.Dataset":
        """Solves, and returns everything that the claims and the figure need.

        The attribute `outcome` of the data set, where there is one, is reported by the command line.
        """

    @abc.abstractmethod
    def claims(self, record: "xarray.Dataset") -> "list[gfsim.verification.claims.Claim]":
        """Predicted against measured, from the saved record alone."""

    @property
    def ensemble(self) -> Hashable | None:
        """What configurations must share to be solved together; None (as here) where they are solved one by one."""
        return None

    @classmethod
    def simulate_ensemble(cls, members: "Sequence[Self]") -> "list[xarray.Dataset]":
        """What `simulate` returns for each of `members`, whose `ensemble` is the same.

        A scenario whose members differ in their starts alone overrides this with one `gf.simulate` of all of them.
        """
        return [member.simulate() for member in members]

    def reduced(self) -> Self:
        """The configuration that CI runs: at most 20 s once compiled."""
        return self

    @property
    def progress(self) -> bool:
        """Whether to show progress: pass it on as `gf.simulate(..., progress=self.progress)`."""
        return _aloud.get()

    def announce(self, text: str) -> None:
        """Prints one line of progress, where progress is shown."""
        if self.progress:
            print(text, flush=True)


def solved(scenario: Scenario) -> "xarray.Dataset":
    """What the scenario's `simulate` returns. Raises TypeError where that is no data set."""
    import xarray

    data = scenario.simulate()
    if not isinstance(data, xarray.Dataset):
        raise TypeError(f"{type(scenario).__name__}.simulate must return an xarray.Dataset, was {_kind(data)}")
    return data


def claims_of(scenario: Scenario, record: "xarray.Dataset") -> "list[gfsim.verification.claims.Claim]":
    """What the scenario's `claims` returns for a record.

    Raises TypeError where that is no list of claims, `ValueError` where two have one name.
    """
    from gfsim.verification.claims import Claim

    claims = scenario.claims(record)
    if not isinstance(claims, list) or not all(isinstance(claim, Claim) for claim in claims):
        kinds = sorted({_kind(claim) for claim in claims}) if isinstance(claims, list) else _kind(claims)
        raise TypeError(f"{type(scenario).__name__}.claims must return a list of gfsim.Claim, was {kinds}")
    names = [claim.name for claim in claims]
    if len(set(names)) != len(names):
        raise ValueError(f"{type(scenario).__name__}.claims must have different names, was {names}")
    return claims


def _kind(value: object) -> str:
    return "None" if value is None else type(value).__name__
