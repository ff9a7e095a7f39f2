"""Streamlines of a portrait beside trajectories that are solved from where they begin."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from gfsim.portraits import Portrait

# With fewer rows of a trajectory along a streamline nothing is compared.
_LEAST = 10


def streamline_gap(
    portrait: Portrait,
    solve: Callable[[Float[np.ndarray, "2"]], Float[np.ndarray, "rows 2"]],
    count: int = 4,
) -> float:
    """The largest distance between a portrait's streamlines and solved trajectories, in units of the window's sides.

    `solve` takes the first point of a streamline to the trajectory's rows from there. Of the `count` longest
    streamlines, every row of the trajectory is measured that comes before the streamline's end; NaN where one has
    fewer than 10 such rows.
    """
    low, high = portrait.grid[0, 0], portrait.grid[-1, -1]
    breaks = np.flatnonzero(np.isnan(portrait.streamlines[:, 0]))
    lines = [line[np.isfinite(line[:, 0])] for line in np.split(portrait.streamlines, breaks)]
    gaps = []
    for line in sorted((line for line in lines if len(line) > 1), key=len)[-count:]:
        rows, line = ((np.asarray(points) - low) / (high - low) for points in (solve(line[0]), line))
        distance, ended = _to_polyline(rows, line)
        before = np.cumsum(ended) == 0
        gaps.append(np.max(distance[before]) if np.sum(before) >= _LEAST else np.nan)
    return float(np.max(gaps))


def _to_polyline(points: np.ndarray, line: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each point the distance to a polyline, and whether it is nearest to its last point."""
    start, along = line[:-1], np.diff(line, axis=0)
    share = np.sum((points[:, None] - start) * along, axis=2) / np.sum(along**2, axis=1)
    apart = np.linalg.norm(points[:, None] - start - np.clip(share, 0, 1)[..., None] * along, axis=2)
    nearest = np.argmin(apart, axis=1)
    ended = (nearest == len(start) - 1) & (share[:, -1] >= 1)
    return apart[np.arange(len(points)), nearest], ended
