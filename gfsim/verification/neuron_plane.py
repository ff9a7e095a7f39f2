"""The plane of one neuron f(x) = aσ(w·x) through a direction of w and the output weight a."""

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from gfsim.dynamics import GradientFlow
from gfsim.portraits import planar, plane_through
from gfsim.problems import Problem
from gfsim.simulation import every_step, simulate
from gfsim.verification.streamlines import streamline_gap

if TYPE_CHECKING:
    import xarray

# The window in (w along the direction, a): the saddle at 0 and part of the way to infinity.
_WINDOW = (-1.0, 3.0)


def neuron_plane(problem: Problem, axis: Float[np.ndarray, "2"]) -> "xarray.Dataset":
    """The portrait `plane` in (w·axis, a) of the flow of log 𝓛, for a unit vector `axis`.

    `plane_gap`: how far streamlines are from the gradient flow of log 𝓛 restricted to the plane.
    """
    plane = plane_through(problem, np.stack([np.zeros(3), np.append(axis, 0.0), np.eye(3)[2]]), log=True)
    portrait = planar(plane, _WINDOW, _WINDOW, spacing=0.07, resolution=80)
    restricted = Problem.from_loss(lambda x: problem.log_loss(plane.theta(x)), jnp.zeros(2))

    def solve(start: np.ndarray) -> np.ndarray:
        run = simulate(GradientFlow(restricted), jnp.asarray(start), 4.0, save=every_step(), rtol=1e-10)
        return np.asarray(run.theta)

    return portrait.to_xarray("plane").assign(plane_gap=streamline_gap(portrait, solve))


def off_saddle(record: "xarray.Dataset") -> float:
    """How far the critical points of `neuron_plane` are from the one there is, a saddle at 0; infinite for others.

    Along ŵ with y_i(w·x_i) > 0 both w' and a' have the sign of the other weight: the gradient vanishes at 0 alone.
    """
    points, kinds = record["plane_points"].values, record["plane_kind"].values.tolist()
    return float(np.max(np.abs(points))) if kinds == ["saddle"] else np.inf
