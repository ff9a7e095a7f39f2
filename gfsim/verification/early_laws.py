"""The power laws of early convergence, as claims on what `SmallStart` recorded."""

import math
from typing import TYPE_CHECKING

import numpy as np

from gfsim.verification.claims import Claim
from gfsim.verification.scaling import fit_power_law

if TYPE_CHECKING:
    import xarray

SOURCE = "[derived] for arXiv 2403.08121"
# First corrections below which a law's exponent, and its constant, is claimed to 5 %.
SLOPE_CORRECTION, CONSTANT_CORRECTION = 0.05, 0.02
# The next mode must decay faster than the slowest by this factor for the slowest to be seen alone.
SEPARATION = 1.25
# log ρ over which the direction's exponent is read off.
ASYMPTOTIC = (16.0, 25.0)


def size_laws(record: "xarray.Dataset", case: str) -> list[Claim]:
    """Claims on one record of `SmallStart.compare`.

    - ‖s − u‖ ∝ δ^L at one time τ.
    - T* − τ_esc → (δ/r)^{L−2}/(L(L−2)N*) at ‖θ‖ = r, with corrections O(r^L) + O((δ/r)^{2κ/(LN*)}). The exponent is
      claimed where the last is below 5 % at the smallest δ, the constant where both are below 2 %. Where it is not, the
      law is not yet asymptotic, and what is claimed is its form without that correction: the time that u itself has
      left at ‖u‖ = r/δ.
    """
    degree, growth = int(record["degree"]), float(record["degree"] * record["kkt_value"])
    slope, tolerance = fit_power_law(record["ladder"], record["error"]).exponent, 0.05 if degree == 3 else 0.3
    claims = [Claim(f"{case}: ‖s − u‖ ∝ δ^L", SOURCE, degree, slope, tolerance, scale="absolute")]
    small = record["delta"].values / float(record["escape_norm"])
    deficit = float(record["blow_up"]) - record["escape_time"].values
    smallest = int(np.argmin(small))
    correction = small[smallest] ** (2 * float(record["decay_rates"][0]) / growth)
    if correction < SLOPE_CORRECTION:
        exponent = fit_power_law(small, deficit).exponent
        claims.append(Claim(f"{case}: T* − τ_esc ∝ δ^(L−2)", SOURCE, degree - 2, exponent, 0.05))
    else:
        own = remaining_time(record, 1 / small[smallest])
        claims.append(Claim(f"{case}: T* − τ_esc / u's own", SOURCE, 1, deficit[smallest] / own, 0.05))
    if correction + float(record["escape_norm"]) ** degree < CONSTANT_CORRECTION:
        constant = small[smallest] ** (degree - 2) / (growth * (degree - 2))
        claims.append(Claim(f"{case}: T* − τ_esc / law", SOURCE, 1, deficit[smallest] / constant, 0.05))
    return claims


def remaining_time(record: "xarray.Dataset", norm: float) -> float:
    """T* − τ of the correlation flow at ‖u‖ = norm, from the rows of its path; NaN outside them."""
    time, norms, _ = record["path"].values[0].T
    left = float(record["blow_up"]) - time
    known = left > 0
    if not np.any(known):
        return math.nan
    norms, first = np.unique(norms[known], return_index=True)
    logs = np.log(left[known][first])
    return float(np.exp(np.interp(math.log(norm), np.log(norms), logs, left=math.nan, right=math.nan)))


def direction_law(record: "xarray.Dataset", case: str) -> Claim:
    """1 − cos ∝ ρ^{−2κ/(LN*)} along the correlation flow: the claim on a record with `turn` and `decay_rates`.

    Where the next mode decays less than 1.25 times as fast, the slowest is not seen alone within the run, and the
    claim is only that the exponent is at least its own, 2κ/(LN*); the name then says so.
    """
    slowest, following = record["decay_rates"].values / float(record["degree"] * record["kkt_value"])
    measured = direction_exponent(record["turn"].values)
    if following > SEPARATION * slowest:
        return Claim(f"{case}: 1 − cos ∝ ρ^(−2κ/LN*)", SOURCE, slowest, measured, 0.05)
    return Claim(f"{case}: 1 − cos, not asymptotic", SOURCE, slowest, measured, 0.05, "at_least")


def direction_exponent(turn: np.ndarray) -> float:
    """e in 1 − cos ∝ ρ^{−2e}, fitted over log ρ from 16 to 25 and above the rounding of 1 − cos."""
    _, norm, misalignment = turn.T
    # Repeated rows, where fewer steps were taken than are stored, would weigh more.
    norm, first = np.unique(norm, return_index=True)
    misalignment = misalignment[first]
    low, high = (math.exp(limit) for limit in ASYMPTOTIC)
    seen = (norm >= low) & (norm <= high * (1 + 1e-9)) & (misalignment > 1e-21)
    return -fit_power_law(norm[seen], misalignment[seen]).exponent / 2 if np.sum(seen) > 2 else math.nan
