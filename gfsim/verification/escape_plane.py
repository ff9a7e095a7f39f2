"""The plane through a saddle and the two points where its unstable manifold ends."""

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from gfsim.landscape.critical import CriticalPoint
from gfsim.portraits import planar, plane_through
from gfsim.problems import Problem
from gfsim.simulation import Trajectory

if TYPE_CHECKING:
    import xarray

# Of the extent of the paths, beyond them on every side.
_MARGIN = 0.35


def escape_plane(
    problem: Problem, point: CriticalPoint, runs: Trajectory, ends: list[CriticalPoint | None]
) -> "xarray.Dataset":
    """The portrait `plane` of the plane through the saddle and both ends, and `plane_path` (side, row, axis): the runs
    projected to it.

    An end that is no critical point is where its run was last.
    """
    last = [runs.theta[side, -1] if end is None else end.theta for side, end in enumerate(ends)]
    plane = plane_through(problem, jnp.stack([point.theta, *last]))
    paths = plane.coordinates(runs.theta)
    low, high = paths.min(axis=(0, 1)), paths.max(axis=(0, 1))
    margin = _MARGIN * np.max(high - low)
    x, y = zip((low - margin).tolist(), (high + margin).tolist(), strict=True)
    portrait = planar(plane, x, y, spacing=0.07, resolution=80)
    return portrait.to_xarray("plane").assign(plane_path=(("side", "row", "plane_axis"), paths))
