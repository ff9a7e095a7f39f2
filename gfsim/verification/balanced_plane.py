"""The plane u = v of the predictor β = (w, uv), which gradient flow does not leave."""

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from gfsim.dynamics import MarginFlow
from gfsim.portraits import planar, plane_through
from gfsim.problems import Problem
from gfsim.simulation import Trajectory, events, every_step, simulate
from gfsim.verification.infinity import ENDLESS
from gfsim.verification.streamlines import streamline_gap

if TYPE_CHECKING:
    import xarray

# The window in ((u + v)/√2, w), where both terms of the seminorm count; its far corner has a smaller log-loss.
_ACROSS, _UP, _DEPTH = (0.0, 20.0), (0.0, 30.0), 300.0


def balanced_plane(problem: Problem, run: Trajectory) -> "xarray.Dataset":
    """The portrait `plane` in ((u + v)/√2, w) of the flow of log 𝓛, and a run projected to it.

    `plane_path` (run_row, plane_axis) and `plane_time` (run_row,), log₁₀ of physical time, while the run is in the
    window; `plane_gap`: how far the 3-parameter flow, solved from where streamlines begin, is from them.
    """
    import xarray

    plane = plane_through(problem, np.array([[0.0, 0.0, 0.0], [0.0, 1.0, 1.0], [1.0, 0.0, 0.0]]), log=True)
    portrait = planar(plane, _ACROSS, _UP, spacing=0.07, resolution=80)

    def solve(start: np.ndarray) -> np.ndarray:
        theta, until = plane.theta(jnp.asarray(start)), events.log_loss_below(-_DEPTH)
        solved = simulate(MarginFlow(problem), theta, ENDLESS, save=every_step(), until=until, rtol=1e-10)
        return plane.coordinates(solved.theta)

    path = plane.coordinates(run.theta)
    shown = path[:, 1] < 1.2 * _UP[1]
    return portrait.to_xarray("plane").merge(
        xarray.Dataset(
            {
                "plane_path": (("run_row", "plane_axis"), path[shown]),
                "plane_time": ("run_row", np.asarray(run.log_t)[shown] / np.log(10)),
                "plane_gap": streamline_gap(portrait, solve),
            }
        )
    )
