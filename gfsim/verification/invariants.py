"""What gradient flow must keep exactly, as residuals of a trajectory."""

import numpy as np
from jaxtyping import Float

from gfsim.simulation.trajectory import Trajectory, checked_trajectory


def energy_residual(trajectory: Trajectory) -> Float[np.ndarray, "*members times"]:
    """Φ(0) − Φ(t) − ∫₀ᵗ‖∇Φ‖² at every row, zero along the exact flow; in units of the potential Φ.

    The integral is carried by the solver, so the residual measures the solve and not the saving. Expect at most
    10·rtol·Φ(0) from Dopri5S, Tsit5 and Dopri8 away from stiffness, and 3·rtol^{2/3}·Φ(0) from RKC.

    Raises ValueError for the trajectory of a descent, which has no such identity.
    """
    residual = checked_trajectory(trajectory).energy_residual
    if residual is None:
        raise ValueError("trajectory must come from a flow, was that of a descent")
    return residual


def invariant_drift(trajectory: Trajectory) -> Float[np.ndarray, "*members times"]:
    """max_j |Q_j(t) − Q_j(0)| at every row over the quantities Q that gradient flow conserves, in units of ‖θ‖².

    Q is ‖w_j‖² − p a_j² per neuron of a two-layer network of degree p, W_lW_lᵀ − W_{l+1}ᵀW_{l+1} for linear layers,
    and so on (`network.balancedness`). Expect at most 30·rtol·max‖θ‖².

    Raises ValueError if the trajectory's network has no conserved quantities.

    Source: Du, Hu & Lee, arXiv 1806.00900 (homogeneous and linear layers).
    """
    drift = checked_trajectory(trajectory).invariant_drift
    if drift is None:
        raise ValueError("trajectory must belong to a network with conserved quantities; this one has none")
    return drift
