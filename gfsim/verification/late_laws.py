"""The laws of late training, as claims on what `infinity.described` recorded."""

from typing import TYPE_CHECKING

import numpy as np

from gfsim.verification.claims import Claim

if TYPE_CHECKING:
    import xarray

SOURCE, LINEAR = "arXiv 1906.05890", "arXiv 1710.10345"
DERIVED = f"[derived] for {SOURCE}"
# log t from which the rate's first correction, (2 − 2/L)² log ℓ/ℓ, is far below its tolerance, by degree.
ASYMPTOTIC = {1: 1e3, 2: 1e4}
LATER = 1e5
# A direction that turns at least this many times as far in a decade of |log 𝓛| as in the one before does not settle.
SETTLING = 0.9
# |log 𝓛| from which the turn follows its slowest mode alone for L = 2; ρ^{−e} falls too slowly with larger L.
SETTLED = 5e5


def rate(degree: int, log_loss: np.ndarray, log_time: np.ndarray, margin: float) -> np.ndarray:
    """𝓛·t·(log t)^{2−2/L}·L²γ̄^{2/L}, which tends to one [derived; the order is Lyu & Li's, Thm 4.3]."""
    logarithm = log_loss + log_time + (2 - 2 / degree) * np.log(log_time)
    # Values off by orders of magnitude may be infinite.
    return np.exp(np.minimum(logarithm, 700.0)) * degree**2 * margin ** (2 / degree)


def late_laws(record: "xarray.Dataset", case: str, rtol: float) -> list[Claim]:
    """Claims on one homogeneous network's run solved at `rtol`.

    - γ̃ never falls once 𝓛 < 1, and γ̄ − log n/ρ^L ≤ γ̃ ≤ γ̄.
    - The (ε, δ)-KKT bounds hold at every row; 1 − β falls.
    - The direction settles: from decade to decade it turns less, for L = 2 by the factor 10^{−e/L}, e the least
      eigenvalue at the KKT point.
    - 𝓛·t·(log t)^{2−2/L}·L²γ̄^{2/L} → 1 and ρ (log t)^{−1/L} γ̄^{1/L} → 1 with γ̄ that of the polished KKT point.
    """
    degree, limit = int(record["degree"]), float(record["limit_margin"])
    depth, log_time = -record["log_loss"].values, record["log_time"].values
    margin, smoothed, misaligned = (record[name].values for name in ("margin", "smoothed", "misaligned"))
    low = margin - np.log(float(record["samples"])) / record["norm"].values ** degree - smoothed
    excess = np.max(np.maximum(low, smoothed - margin) / margin)
    stationarity, slackness = record["kkt"].values.T
    # Any t0 with 𝓛 < 1 will do for the bound; here it is the first row's.
    epsilon = np.max(stationarity / (np.sqrt(2 * misaligned) * smoothed[0] ** (-1 / degree)))
    delta = np.max(slackness * np.e * degree * smoothed ** (2 / degree) * depth / float(record["samples"]))
    settling = 10 ** (-float(record["limit_rate"]) / degree)
    growth = float(record["norm"][-1]) / log_time[-1] ** (1 / degree) * limit ** (1 / degree)
    values = [
        ("γ̃, largest fall in a step/rtol", SOURCE, 10, float(record["largest_fall"]) / rtol, 0, "at_most"),
        ("ε of KKT, largest share of bound", DERIVED, 1, epsilon, 1e-6, "at_most"),
        ("δ of KKT, largest share of bound", DERIVED, 1, delta, 1e-6, "at_most"),
        ("1 − β, last row/first", SOURCE, 0.1, misaligned[-1] / misaligned[0], 0, "at_most"),
        ("turn in last decade/one before", SOURCE, SETTLING, record["settling"], 0, "at_most"),
        ("ρ (γ̄/log t)^(1/L)", DERIVED, 1, growth, 0.02),
    ]
    if degree == 2 and depth[-1] > SETTLED:
        values.append(("turn, last decade/before, rate", DERIVED, settling, record["settling"], 0.05))
    late = log_time >= ASYMPTOTIC.get(degree, LATER)
    if np.any(late):
        deviation = rate(degree, -depth[late], log_time[late], limit) - 1
        worst = 1 + deviation[np.argmax(np.abs(deviation))]
        name = "𝓛tγ², worst" if degree == 1 else "𝓛t(log t)^(2−2/L)L²γ̄^(2/L)"
        values.append((name, DERIVED, 1, worst, 1e-3 if degree == 1 else 0.02))
    absolute = [
        ("two-sided bound on γ̃, excess/γ̄", SOURCE, 0, excess, 1e-9, "at_most"),
        ("KKT residual, polished", SOURCE, 0, record["limit_residual"], 1e-10, "at_most"),
    ]
    claims = [Claim(f"{case}: {name}", *rest) for name, *rest in values]
    return claims + [Claim(f"{case}: {name}", *rest, scale="absolute") for name, *rest in absolute]


def linear_laws(record: "xarray.Dataset", case: str) -> list[Claim]:
    """Claims on the linear model, whose direction is compared with the hard margin's.

    The angle decays like C/|log 𝓛|: with C at most 6 from −1e3 on, and no more than 10/|log 𝓛| at the end.
    """
    depth, away = -record["log_loss"].values, record["away"].values
    late = depth >= 1e3
    bounded = np.max((away * depth)[late]) if np.any(late) else np.nan
    return [
        Claim(f"{case}: angle × |log 𝓛|, largest", LINEAR, 6, bounded, 0, "at_most"),
        Claim(f"{case}: angle at the end", LINEAR, 10 / depth[-1], away[-1], 0, "at_most"),
        Claim(f"{case}: polished, off hard margin", LINEAR, 0, record["reference_angle"], 1e-8, "at_most", "absolute"),
    ]
