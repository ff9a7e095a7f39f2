"""Exact solutions of the max-margin problem min ½‖θ‖² subject to q_i(θ) ≥ 1: linear functions, and one neuron."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from gfsim.checks import finite_array
from gfsim.problems import Dataset
from gfsim.problems.networks import ReLUPower
from gfsim.types import Array


class OneNeuron(NamedTuple):
    """A KKT point (w, a) of the max-margin problem, and its multipliers. Shapes (d,), (), (n,)."""

    w: Float[np.ndarray, "d"]
    a: float
    multipliers: Float[np.ndarray, "n"]


def hard_margin(inputs: Float[Array | np.ndarray, "n d"]) -> tuple[Float[np.ndarray, "d"], Float[np.ndarray, "n"]]:
    """u of least norm with u·x_i ≥ 1 for every i, and the multipliers in u = Σ λ_i x_i: the SVM without intercept.

    Raises ValueError unless some u has u·x_i > 0 for every i, and for inputs that are none, not finite or of another
    shape.

    Source: Lawson & Hanson, Solving Least Squares Problems, 1974, ch. 23 (least distance programming by NNLS).
    """
    from scipy.optimize import nnls  # heavy

    x = finite_array("inputs", inputs, "n", "d")
    if not x.size:
        raise ValueError(f"inputs must hold at least one row and one column, had shape {x.shape}")
    # NNLS has an absolute tolerance. By a power of two, which rounds nothing.
    scale = 2.0 ** np.frexp(np.max(np.abs(x)))[1]
    x = x / scale
    target = np.append(np.zeros(x.shape[1]), 1.0)
    rough, _ = nnls(np.column_stack([x, np.ones(len(x))]).T, target)
    active = rough > 0
    u, multipliers = np.zeros(x.shape[1]), np.zeros(len(x))
    # Equality on the active set gives what NNLS leaves to its tolerance. A constraint that is tight without a
    # multiplier may have got one of the size of rounding, which comes out negative.
    while np.any(active):
        # Through u, because the Gram matrix x xᵀ squares the condition number, which is that of a thin margin.
        u = np.linalg.lstsq(x[active], np.ones(active.sum()), rcond=None)[0]
        own = np.linalg.lstsq(x[active].T, u, rcond=None)[0]
        multipliers[:], multipliers[active] = 0.0, own
        if np.all(own >= 0):
            break
        active &= multipliers > 0
    if not np.all(x @ u > 1 - 1e-9):
        raise ValueError("inputs must lie in an open half-space, did not")
    return u / scale, multipliers / scale / scale


def one_neuron_kkt(data: Dataset, activation: ReLUPower) -> OneNeuron:
    """The KKT point of one neuron f(x) = aσ(w·x), a > 0, that has every sample on its own side: y_i(w·x_i) > 0.

    With x̃_i = x_i where y_i = 1 and −slope·x_i where y_i = −1, q_i = a(w·x̃_i)^p; so w = cu with u the hard-margin
    vector of x̃ and a = c^{−p}, where c^{2p+2} = p/‖u‖² makes the norm least. For p = 1, w = u/√‖u‖ and a = √‖u‖.

    Raises ValueError unless the labels are ±1, all 1 where p is even or the slope 0, and the x̃_i lie in an open
    half-space; TypeError for another activation.

    Source: derived.
    """
    if not isinstance(activation, ReLUPower):
        raise TypeError(f"activation must be a gf.networks.ReLUPower, was {activation!r}")
    x, y, p = np.asarray(data.inputs), np.asarray(data.targets), activation.p
    if not np.all(np.abs(y) == 1) or (np.any(y < 0) and (p % 2 == 0 or activation.slope == 0)):
        kind = "1" if p % 2 == 0 or activation.slope == 0 else "1 or −1"
        raise ValueError(f"data must have the labels {kind}, which this neuron can give, had {np.unique(y).tolist()}")
    u, multipliers = hard_margin(np.where(y[:, None] > 0, x, -activation.slope * x))
    c = (p / float(u @ u)) ** (1 / (2 * p + 2))
    return OneNeuron(c * u, c**-p, c**2 / p * multipliers)
