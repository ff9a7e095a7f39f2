"""A landscape that is known completely: one tanh neuron on four samples, and every wider network over it."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from gfsim.landscape.roots import zero_between
from gfsim.problems.data import Dataset
from gfsim.problems.losses import Square
from gfsim.problems.networks import Tanh, TwoLayer
from gfsim.problems.problem import Problem

INPUTS = np.array([0.25, 1.0, 4.0, 16.0])
GIVEN = np.array([1.0, 0.3, -0.1])


class WorkedExample(NamedTuple):
    """`problem` with its one neuron at the critical point, R = 2𝓛 there, ε_2, and w0 > 0 with φ(w0) = 0, w0 ≠ w̄."""

    problem: Problem
    value: float
    residual: float
    dead: float


def worked_example() -> WorkedExample:
    """f(x) = a tanh(wx) on x = (1/4, 1, 4, 16) with 𝓛 = ½R, R = Σ(f − y)², critical at a = 1, w = w̄.

    The residuals there are e = (1, ε_2, 0.3, −0.1), which makes y_i = tanh(w̄x_i) − e_i, and (ε_2, w̄) solve
    Σ e_i tanh(w̄x_i) = 0 = Σ e_i tanh'(w̄x_i)x_i: ε_2 = −0.583784, w̄ = 1.026104, R = 1.440803. The correlation
    φ(v) = Σ e_i tanh(vx_i) of a dead neuron vanishes at 0, ±w̄ (doubly) and ±w0, w0 = 0.123265.

    Source: arXiv 2505.13582, section 5, whose rounded numbers are critical to three digits.
    """
    rest = np.array([0, 2, 3])

    def second(w: float) -> float:
        return -float(GIVEN @ np.tanh(w * INPUTS[rest])) / np.tanh(w)

    def residuals(w: float) -> np.ndarray:
        return np.insert(GIVEN, 1, second(w))

    def slope(w: float) -> float:
        return float(residuals(w) @ (INPUTS / np.cosh(w * INPUTS) ** 2))

    w = zero_between(slope, 0.9, 1.2)
    e = residuals(w)
    dead = zero_between(lambda v: float(e @ np.tanh(v * INPUTS)), 0.05, 0.5)
    network = TwoLayer(1, 1, Tanh(), key=jax.random.key(0))
    network = eqx.tree_at(lambda n: (n.w, n.a), network, (jnp.full((1, 1), w), jnp.ones(1)))
    problem = Problem(network, Dataset(INPUTS[:, None], np.tanh(w * INPUTS) - e), Square("sum"))
    return WorkedExample(problem, float(e @ e), float(e[1]), dead)
