"""Properties of explicit Runge–Kutta methods, read from their tableaus."""

import functools

import diffrax as dfx
import numpy as np


def _tableau(solver: type[dfx.AbstractERK]) -> dfx.ButcherTableau:
    # diffrax also has multi-term tableaus; a flow has one term.
    assert isinstance(solver.tableau, dfx.ButcherTableau)
    return solver.tableau


def evaluations_per_step(solver: type[dfx.AbstractERK]) -> int:
    """Evaluations of the field in one attempted step; a first-same-as-last method has its first slope already."""
    tableau = _tableau(solver)
    return tableau.num_stages - int(tableau.fsal)


def last_stages(solver: type[dfx.AbstractERK]) -> np.ndarray:
    """Rows w with Σ_j w_j k_j equal to g_s − g_{s−1}, the arguments of the last two stages, and to k_s − k_{s−1}."""
    a = _coefficients(solver)
    stages = np.eye(len(a))
    return np.stack([a[-1] - a[-2], stages[-1] - stages[-2]])


def _coefficients(solver: type[dfx.AbstractERK]) -> np.ndarray:
    """The matrix a of the tableau."""
    tableau = _tableau(solver)
    a = np.zeros((tableau.num_stages, tableau.num_stages))
    for i, row in enumerate(tableau.a_lower):
        a[i + 1, : i + 1] = row
    return a


@functools.cache
def real_stability_limit(solver: type[dfx.AbstractERK]) -> float:
    """The largest z, to 0.01, such that a step is stable for −z ≤ hλ ≤ 0 (dimensionless)."""
    tableau = _tableau(solver)
    a = _coefficients(solver)

    def amplification(z: float) -> float:
        return float(abs(1 - z * tableau.b_sol @ np.linalg.solve(np.eye(len(a)) + z * a, np.ones(len(a)))))

    return next(float(z) for z in np.arange(0.01, 30, 0.01) if amplification(z) > 1 + 1e-12)
