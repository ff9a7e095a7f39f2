"""How the tangent kernel JJᵀ ties the loss to its gradient along a run, and where it does not."""

from typing import TYPE_CHECKING

import numpy as np

from gfsim.problems.problem import Problem, checked_problem
from gfsim.simulation.observables import STRUCTURE
from gfsim.simulation.trajectory import Trajectory, checked_trajectory

if TYPE_CHECKING:
    import xarray

# Rounding, and the quadrature of the exponents between rows.
_SLACK = 1e-6


def structure(problem: Problem, trajectory: Trajectory) -> "xarray.Dataset":
    """λ_min, λ_max of JJᵀ at every row of a run with `observe=gf.observables.STRUCTURE`, and the bounds they give.

    - `U` = −log λ_min, `D` = log(λ_max/λ_min);
    - `lower` = ‖∇L‖²/(2κ_max) ≤ L ≤ `upper` = ‖∇L‖²/(2κ_min), κ = λ/n for a mean and λ for a sum;
    - `sandwich_lower` = L(0)e^{−2∫κ_max} ≤ L ≤ `sandwich_upper` = L(0)e^{−2∫κ_min} along gradient flow, on the clock
      `trajectory.t` (a Euclidean `HighOrderFlow` has the same), by the trapezoidal rule between rows: keep enough.

    For the square loss all four hold. For cross-entropy and the logistic loss `lower` holds too, because |ℓ'|² ≤ 2ℓ,
    but the upper bounds fail once the loss is small, |ℓ'|² being of order ℓ²; nothing may be concluded from them there.
    Beside each bound stands `<name>_holds`, and the attribute `failures` says in words which fail where.

    Raises ValueError for a run without these observables and for an ensemble.

    Source: [derived]; a monitor of the structure that high-order descent is said to control, not the GSC algorithm
    of its authors.
    """
    import xarray

    checked_problem(problem)
    if missing := STRUCTURE.keys() - checked_trajectory(trajectory).observed.keys():
        raise ValueError(f"trajectory must be run with observe=gf.observables.STRUCTURE, lacks {sorted(missing)}")
    if trajectory.t.ndim != 1:
        raise ValueError("trajectory must be a single run, was an ensemble")
    loss, norm, extremes = (np.asarray(trajectory.observed[name]) for name in STRUCTURE)
    smallest, largest = extremes.T
    scale, t = problem.criterion.scale(problem.data.n), np.asarray(trajectory.t)
    squared = norm**2
    with np.errstate(divide="ignore"):
        bounds = {
            # Where κ is zero ‖∇L‖² ≤ 2κ_max L holds of any L ≥ 0, and 2κ_min L ≤ ‖∇L‖² of any L: also for 0/0.
            "lower": np.divide(squared, 2 * scale * largest, out=np.zeros_like(squared), where=largest != 0),
            "upper": np.divide(squared, 2 * scale * smallest, out=np.full_like(squared, np.inf), where=smallest != 0),
            "sandwich_lower": loss[0] * np.exp(-2 * scale * _integral(t, largest)),
            "sandwich_upper": loss[0] * np.exp(-2 * scale * _integral(t, smallest)),
        }
        rows = {"U": -np.log(smallest), "D": np.log(largest) - np.log(smallest)}
    holds = {
        f"{name}_holds": bound <= loss * (1 + _SLACK) if "lower" in name else loss <= bound * (1 + _SLACK)
        for name, bound in bounds.items()
    }
    failures = [f"{name[:-6]} fails at {np.sum(~held)} of {held.size} rows" for name, held in holds.items()]
    rows |= {"lambda_min": smallest, "lambda_max": largest, "loss": loss, "gradient_norm": norm, "t": t}
    return xarray.Dataset(
        {name: ("time", values) for name, values in (rows | bounds | holds).items()},
        attrs={"failures": "; ".join(text for text in failures if " at 0 of " not in text) or "none"},
    )


def _integral(t: np.ndarray, values: np.ndarray) -> np.ndarray:
    return np.concatenate([[0.0], np.cumsum(0.5 * (values[1:] + values[:-1]) * np.diff(t))])
