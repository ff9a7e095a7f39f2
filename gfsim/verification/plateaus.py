"""Plateaus and falls of the loss along a run."""

import math

import numpy as np

from gfsim.simulation import Trajectory


def plateau(run: Trajectory, height: float) -> float:
    """The loss where −d ln 𝓛/dt is least among the rows whose loss is within a tenth of `height`; NaN without any.

    Of a run with `loss` observed.
    """
    loss = np.asarray(run.observed["loss"])
    slope = -np.gradient(np.log(np.maximum(loss, 1e-300)))
    near = np.abs(loss / height - 1) < 0.1
    return float(loss[np.argmin(np.where(near, slope, np.inf))]) if np.any(near) else math.nan


def crossing(run: Trajectory, level: float) -> float:
    """When the loss falls through `level`."""
    loss = np.asarray(run.observed["loss"])
    row = int(np.argmax(loss < level))
    return float(np.interp(-level, -loss[row - 1 : row + 1], np.asarray(run.t)[row - 1 : row + 1]))
