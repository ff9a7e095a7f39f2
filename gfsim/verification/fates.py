"""Where gradient flow takes perturbations of a critical point: back, down, or to infinity."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from gfsim.dynamics import GradientFlow
from gfsim.problems import Problem
from gfsim.simulation import events, log_spaced, simulate
from gfsim.types import Theta

# Of the loss at the point: what a returning flow may keep, having moved along the branch.
_SAME = 1e-6
# d ln‖θ‖/d ln t above which the norm is on its way to infinity.
_GROWING = 0.05


class Fates(NamedTuple):
    """The fractions of perturbations that return to the loss of the point, stop lower, or leave for infinity.

    `losses` and `norms`: 𝓛 and ‖θ‖ at the end of every member. Along a channel to infinity the loss still falls when
    the run ends, so that its limit is not among `losses`; of flows that first creep, what is lower at one clock may be
    on its way to infinity at a longer one.
    """

    returned: float
    lower: float
    infinity: float
    losses: Float[np.ndarray, "members"]
    norms: Float[np.ndarray, "members"]


def fates(problem: Problem, theta: Theta, size: float, count: int, clock: float, seed: int = 0) -> Fates:
    """The ends of `count` flows from θ + size·ξ, ξ uniform on the unit sphere, after time `clock` or at ‖∇𝓛‖ = 1e-9.

    A member returned where its loss is that of θ to 1e-6 relative; it leaves for infinity where its norm grows as a
    power of t above 0.05 over the last factor 4 of the clock, or where the run diverges.
    """
    directions = np.random.default_rng(seed).standard_normal((count, problem.size))
    starts = theta + size * jnp.asarray(directions / np.linalg.norm(directions, axis=1, keepdims=True))
    run = simulate(
        GradientFlow(problem),
        starts,
        clock,
        save=log_spaced(clock / 4, clock, 2),
        until=events.gradient_below(1e-9),
        rtol=1e-6,
    )
    norms = np.linalg.norm(np.asarray(run.theta), axis=2)
    losses = np.asarray(jax.lax.map(problem.loss, run.theta[:, -1]))
    reference = float(problem.loss(theta))
    returned = np.abs(losses - reference) <= _SAME * reference
    growth = np.log(norms[:, -1] / norms[:, 0]) / np.log(4.0)
    infinity = ~returned & ((growth > _GROWING) | np.array([outcome == "diverged" for outcome in run.outcome]))
    lower = ~returned & ~infinity & (losses < reference)
    shares = float(np.mean(returned)), float(np.mean(lower)), float(np.mean(infinity))
    return Fates(*shares, losses, norms[:, -1])
