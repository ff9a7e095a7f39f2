"""Properties of explicit Runge–Kutta methods, read from their tableaus."""

import functools

import diffrax as dfx
import numpy as np


def tableau(solver: type[dfx.AbstractERK]) -> dfx.ButcherTableau:
    """The tableau of a method."""
    # diffrax also has multi-term tableaus; a flow has one term.
    assert isinstance(solver.tableau, dfx.ButcherTableau)
    return solver.tableau


def evaluations_per_step(solver: type[dfx.AbstractERK]) -> int:
    """Evaluations of the field in one attempted step; a first-same-as-last method has its first slope already."""
    method = tableau(solver)
    return method.num_stages - int(method.fsal)


def last_stages(solver: type[dfx.AbstractERK]) -> np.ndarray:
    """Rows w with Σ_j w_j k_j equal to g_s − g_{s−1}, the arguments of the last two stages, and to k_s − k_{s−1}."""
    a = coefficients(solver)
    stages = np.eye(len(a))
    return np.stack([a[-1] - a[-2], stages[-1] - stages[-2]])


def coefficients(solver: type[dfx.AbstractERK]) -> np.ndarray:
    """The matrix a of the tableau."""
    method = tableau(solver)
    a = np.zeros((method.num_stages, method.num_stages))
    for i, row in enumerate(method.a_lower):
        a[i + 1, : i + 1] = row
    return a


@functools.cache
def real_stability_limit(solver: type[dfx.AbstractERK]) -> float:
    """The largest z, to 0.01, such that a step is stable for −z ≤ hλ ≤ 0 (dimensionless)."""
    method = tableau(solver)
    a = coefficients(solver)

    def amplification(z: float) -> float:
        return float(abs(1 - z * method.b_sol @ np.linalg.solve(np.eye(len(a)) + z * a, np.ones(len(a)))))

    return next(float(z) for z in np.arange(0.01, 30, 0.01) if amplification(z) > 1 + 1e-12)
