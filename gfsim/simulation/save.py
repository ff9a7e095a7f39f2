"""Which states of a run are kept."""

import equinox as eqx
import numpy as np

from gfsim.checks import real_number


class SaveAt(eqx.Module):
    """Keep the states at given clock values; the run's start and end are kept in any case where they are listed.

    Times past the end of the run are dropped; the last row is always the final state.
    """

    times: np.ndarray = eqx.field(converter=lambda t: np.asarray(t, float))

    def __check_init__(self):
        t = self.times
        if t.ndim != 1 or t.size == 0:
            raise ValueError(f"save must hold a one-dimensional, non-empty array of times, shape was {t.shape}")
        if not np.all(np.isfinite(t)) or t[0] < 0 or np.any(np.diff(t) <= 0):
            raise ValueError(f"save must hold finite, strictly increasing times ≥ 0, was {t[:5]}…")


class EveryStep(eqx.Module):
    """Keep the state after every accepted step."""


def log_spaced(t0: float, t1: float, n: int) -> SaveAt:
    """n clock values from t0 to t1, evenly spaced in log t, both ends included; in units of the dynamics' own clock.

    Raises TypeError or ValueError unless 0 < t0 < t1 are finite numbers and n is an integer of at least 2.
    """
    if not 0 < real_number("t0", t0) < real_number("t1", t1) < np.inf:
        raise ValueError(f"t0, t1 must satisfy 0 < t0 < t1 < inf, were {t0}, {t1}")
    times = np.geomspace(t0, t1, _count(n))
    times[0], times[-1] = t0, t1
    return SaveAt(times)


def linear_spaced(t0: float, t1: float, n: int) -> SaveAt:
    """n clock values from t0 to t1, evenly spaced, both ends included; in units of the dynamics' own clock.

    Raises TypeError or ValueError unless 0 ≤ t0 < t1 are finite numbers and n is an integer of at least 2.
    """
    if not 0 <= real_number("t0", t0) < real_number("t1", t1) < np.inf:
        raise ValueError(f"t0, t1 must satisfy 0 <= t0 < t1 < inf, were {t0}, {t1}")
    return SaveAt(np.linspace(t0, t1, _count(n)))


def every_step() -> EveryStep:
    """Every accepted step of the solver, the start included."""
    return EveryStep()


def _count(n: int) -> int:
    if not (isinstance(n, (int, np.integer)) and n >= 2):
        raise ValueError(f"n must be an integer of at least 2, was {n!r}")
    return int(n)
