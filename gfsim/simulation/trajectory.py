"""What a run returns."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Array, Bool, Float

from gfsim.simulation.outcome import Outcome

if TYPE_CHECKING:
    import xarray

# Arrays and dimensions of `Trajectory.to_xarray`, beside which what is observed keeps its own name.
OWN_NAMES = ("t", "log_t", "theta", "valid", "potential", "dissipated", "time", "member", "parameter")


@dataclass(frozen=True, repr=False)
class Trajectory:
    """The kept states of a run, in the order of the clock, and an account of how they were obtained.

    `theta` is a JAX array, to be given back to JAX code; all else is NumPy's.

    For a single run `t` and `log_t` have shape (T,), `theta` (T, P), each entry of `observed` (T, …), `outcome` is one
    `Outcome`. For an ensemble they have a leading axis of B members; a member that ended early repeats its last row,
    `valid` (B, T) says which rows are its own and `outcome` is a tuple of B.

    - `t`: the dynamics' own clock; `log_t`: natural logarithm of physical time (−inf at 0).
    - `potential`, `dissipated`: Φ at each row, and ∫−dΦ accumulated by the solver since the start (None for a
      descent, whose Φ is the loss).
    - `conserved`: the network's conserved quantities at each row (…, T, Q), or None where it has none.
    - `companion`: the same run at a tenth of the tolerance, with the same rows, solved when called.
    - `start`: Φ and the conserved quantities at the start, which need not be a row.
    - `stats`: solver and the reason for it, accepted and rejected steps, gradients, Hessian products, seconds.
    """

    t: Float[np.ndarray, "*members times"]
    log_t: Float[np.ndarray, "*members times"]
    theta: Float[Array, "*members times P"]
    observed: dict[str, np.ndarray]
    valid: Bool[np.ndarray, "*members times"]
    outcome: Outcome | tuple[Outcome, ...]
    stats: dict[str, Any]
    potential: Float[np.ndarray, "*members times"]
    dissipated: Float[np.ndarray, "*members times"] | None
    conserved: Float[np.ndarray, "*members times quantities"] | None
    start: dict[str, np.ndarray | None]
    companion: "Callable[[], Trajectory] | None"

    @functools.cached_property
    def error_estimate(self) -> Float[np.ndarray, "*members times"] | None:
        """An estimate of ‖θ − θ_exact‖₂ at each row, absolute, from a companion solve at a tenth of the tolerance.

        The error of a method of order k falls as rtol^{k/(k+1)}, so the companion's is a share 10^{−k/(k+1)} of the
        run's and their distance is the rest; the estimate is ‖θ − θ_companion‖₂/(1 − 10^{−2/3}), exact in this sense
        for RKC (k = 2) and about a tenth more for higher orders. The companion changes solver where the run did. It is
        solved when this is first asked for and takes up to 2.2 times as many gradients as a run of RKC, 1.6 times as
        one of Dopri5S, 1.3 times as one of Dopri8; `stats["error_estimate_gradients"]` says how many. The estimate does
        not see rounding (about 1e-16·‖θ‖ a step), and at `rtol` 1e-14, the smallest there is, nothing. Rows that the
        companion does not reach, since it meets a blow-up earlier, are NaN. None for a descent, whose iterates are
        exact by definition.
        """
        if self.companion is None:
            return None
        closer = self.companion()
        self.stats["error_estimate_gradients"] = closer.stats["gradients"]
        estimate = np.full(self.t.shape, np.nan)
        both = ..., slice(min(self.t.shape[-1], closer.t.shape[-1]))
        rows = (*both, slice(None))
        distance = np.linalg.norm(np.asarray(self.theta)[rows] - np.asarray(closer.theta)[rows], axis=-1)
        estimate[both] = np.where(self.t[both] == closer.t[both], distance / (1 - 10 ** (-2 / 3)), np.nan)
        return estimate

    @property
    def energy_residual(self) -> Float[np.ndarray, "*members times"] | None:
        """Φ(0) − Φ(t) − ∫−dΦ at each row, zero along the exact flow (in units of the potential); None for a descent."""
        if self.dissipated is None:
            return None
        start = np.asarray(self.start["potential"])[..., None]
        return start - self.potential - self.dissipated

    @property
    def invariant_drift(self) -> Float[np.ndarray, "*members times"] | None:
        """max_j |Q_j(t) − Q_j(0)| at each row over the conserved quantities, or None where there are none."""
        if self.conserved is None:
            return None
        start = np.asarray(self.start["conserved"])[..., None, :]
        return np.max(np.abs(self.conserved - start), axis=-1)

    def to_xarray(self) -> "xarray.Dataset":
        """The trajectory as a Dataset with dimensions (member,) time, parameter; `stats` become attributes."""
        import xarray

        lead = ("member", "time") if self.t.ndim == 2 else ("time",)
        data: dict[str, Any] = {
            "t": (lead, self.t),
            "log_t": (lead, self.log_t),
            "theta": ((*lead, "parameter"), np.asarray(self.theta)),
            "valid": (lead, self.valid),
            "potential": (lead, self.potential),
        }
        if self.dissipated is not None:
            data["dissipated"] = (lead, self.dissipated)
        for name, value in self.observed.items():
            array = np.asarray(value)
            extra = tuple(f"{name}_{i}" for i in range(array.ndim - len(lead)))
            data[name] = ((*lead, *extra), array)
        outcome = self.outcome if isinstance(self.outcome, Outcome) else " ".join(self.outcome)
        attributes = {k: v if isinstance(v, (int, float, str)) else str(v) for k, v in self.stats.items()}
        return xarray.Dataset(data, attrs={"outcome": str(outcome), **attributes})

    def __repr__(self) -> str:
        rows: list[tuple[str, str]] = []
        if isinstance(self.outcome, Outcome):
            rows.append(("outcome", f"{self.outcome}: {self.outcome.text}"))
            rows.append(("clock", f"{_short(self.t[0])} … {_short(self.t[-1])} in {self.t.size} rows"))
        else:
            counts = {o: self.outcome.count(o) for o in dict.fromkeys(self.outcome)}
            rows.append(("outcome", ", ".join(f"{n} × {o}" for o, n in counts.items())))
            rows.append(("ensemble", f"{self.t.shape[0]} members, {self.t.shape[1]} rows"))
        for name, value in self.stats.items():
            rows.append((name.replace("_", " "), value if isinstance(value, str) else _short(value)))
        width = max(len(name) for name, _ in rows)
        return "\n".join(["Trajectory", *(f"  {name:<{width}}  {value}" for name, value in rows)])


def checked_trajectory(trajectory: object) -> Trajectory:
    """`trajectory`, where it is one. Raises TypeError."""
    if not isinstance(trajectory, Trajectory):
        raise TypeError(f"trajectory must be what gf.simulate returns, was {type(trajectory).__name__}")
    return trajectory


def _short(value: Any) -> str:
    if value is None:
        return "not known"
    return f"{int(value)}" if isinstance(value, (int, np.integer)) else f"{float(value):.4g}"
