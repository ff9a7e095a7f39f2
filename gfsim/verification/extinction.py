"""When a high-order flow comes to rest."""

import jax.numpy as jnp
import numpy as np

from gfsim.dynamics.high_order import HighOrderFlow
from gfsim.simulation.trajectory import Trajectory, checked_trajectory


def extinction_time(flow: HighOrderFlow, trajectory: Trajectory) -> float:
    """The physical time at which the flow reaches the minimum that `trajectory` has come close to; p > 2, Euclidean.

    Near a minimum that is not degenerate the gradient decays on the clock τ at λ = gᵀHg/‖g‖², so that the end of the
    run is followed by ∫‖g‖^{2−q}S^{q−1}dτ = S^{q−1}‖g‖^{2−q}/((2−q)λ). End the run where that is small beside t, and
    before ‖θ − θ*‖ comes down to `atol`, below which g, and with it the clock, is the solver's error.

    Raises ValueError for p ≤ 2, where no such time exists, and for another norm; for an ensemble and a run on the clock
    of physical time, which is that of another flow; and where λ ≤ 0, so that the run ended near no minimum.

    Source: [derived].
    """
    if not isinstance(flow, HighOrderFlow):
        raise TypeError(f"flow must be a gf.HighOrderFlow, was {type(flow).__name__}")
    t = checked_trajectory(trajectory).t
    if t.ndim != 1:
        raise ValueError("trajectory must be a single run, was an ensemble")
    if trajectory.dissipated is None or (t.size > 1 and np.allclose(np.exp(trajectory.log_t), t, rtol=1e-12, atol=0)):
        raise ValueError("trajectory must be a run of flow, ran on the clock of physical time")
    p = float(flow.degree)
    if p <= 2 or flow.norm != "euclidean":
        raise ValueError(f"flow must have a degree above 2 in the Euclidean norm, was {p:g}, {flow.norm}")
    q, theta = p / (p - 1), trajectory.theta[-1]
    g = flow.problem.grad(theta)
    squared = jnp.vdot(g, g)
    if squared == 0:
        return float(jnp.exp(trajectory.log_t[-1]))
    decay = float(jnp.vdot(g, flow.problem.hvp(theta, g)) / squared)
    if not decay > 0:
        raise ValueError(f"trajectory must end near a minimum, where gᵀHg/‖g‖² > 0, had {decay:.3g}")
    left = flow.smoothness ** (q - 1) * squared ** (1 - q / 2) / ((2 - q) * decay)
    return float(jnp.exp(trajectory.log_t[-1]) + left)
