"""The jumps of a diagonal linear network from a vanishing start, by an algorithm that solves no flow."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.optimize import nnls

_ON_WALL, _AT_REST = 1e-9, 1e-10


class Jump(NamedTuple):
    """At the accelerated time t̃ = t/ln(1/α) the network jumps to β."""

    time: float
    beta: Float[np.ndarray, "d"]


def jump_process(inputs: Float[np.ndarray, "n d"], targets: Float[np.ndarray, "n"], most: int = 100) -> list[Jump]:
    """All jumps of the limit α → 0 for L = ‖Xβ − y‖²/(2n), the last to the interpolator that is reached.

    From s = β = 0: s moves with −∇L(β) until some |s_i| = 1; then β becomes the minimiser of L over β_i ≥ 0 where
    s_i = 1, β_i ≤ 0 where s_i = −1, and β_i = 0 elsewhere.

    Raises ValueError where it has not come to rest after `most` jumps.

    Source: Pesme & Flammarion, arXiv 2304.00488, algorithm 1.
    """
    n, d = inputs.shape
    s, beta, time = np.zeros(d), np.zeros(d), 0.0
    first = np.abs(inputs.T @ targets).max() / n
    jumps: list[Jump] = []
    while len(jumps) < most:
        slope = inputs.T @ (inputs @ beta - targets) / n
        moving = np.abs(slope) > _AT_REST * first
        if not np.any(moving):
            return jumps
        # To the wall that each coordinate moves towards; the one it leaves or rests on is no further jump.
        left = np.where(moving, (1 + np.sign(slope) * s) / np.where(moving, np.abs(slope), 1.0), np.inf)
        step = np.min(left[left > _ON_WALL])
        s, time = s - step * np.where(moving, slope, 0.0), time + step
        wall = np.where(np.abs(s) > 1 - _ON_WALL, np.sign(s), 0.0)
        s = np.where(wall != 0, wall, s)
        active = np.flatnonzero(wall)
        beta = np.zeros(d)
        beta[active] = wall[active] * nnls(inputs[:, active] * wall[active], targets)[0]
        jumps.append(Jump(time, beta))
    raise ValueError(f"most: the process did not come to rest in {most} jumps")


def half_times(
    time: Float[np.ndarray, "rows"], beta: Float[np.ndarray, "rows d"], jumps: list[Jump]
) -> Float[np.ndarray, "entries 2"]:
    """For every coordinate that a jump takes from 0: the jump's time, and when |β_i| first reached half its new value.

    NaN where it never did.
    """
    entries, before = [], np.zeros(beta.shape[1])
    for jump in jumps:
        for i in np.flatnonzero((before == 0) & (jump.beta != 0)):
            passed = beta[:, i] * np.sign(jump.beta[i]) - 0.5 * abs(jump.beta[i])
            row = int(np.argmax(passed >= 0))
            reached = np.interp(0.0, passed[row - 1 : row + 1], time[row - 1 : row + 1]) if row else np.nan
            entries.append((jump.time, reached))
        before = jump.beta
    return np.array(entries)
