"""How a network's weight is shared among its layers and neurons."""

import jax
import jax.numpy as jnp
from jaxtyping import Float

from gfsim.problems.networks import TwoLayer
from gfsim.problems.parameters import Slot
from gfsim.problems.problem import Problem
from gfsim.types import Array, Scalar, Theta


def layer_shares(problem: Problem, theta: Theta) -> Float[Array, "layers"]:
    """‖W_l‖²/‖θ‖² of every trainable array, in the order of the network's fields. NaN at θ = 0, which has none."""
    slots, arrays = (jax.tree.leaves(tree) for tree in (problem.objective.template, problem.network_at(theta)))
    squares = jnp.stack([jnp.sum(w**2) for slot, w in zip(slots, arrays, strict=True) if isinstance(slot, Slot)])
    return squares / jnp.sum(squares)


def effective_neurons(problem: Problem, theta: Theta) -> Scalar:
    """The participation ratio (Σ_j m_j)²/Σ_j m_j² of a two-layer network's neurons, m_j = ‖w_j‖² + a_j².

    1 where one neuron holds all the weight, k where k hold equal shares. NaN at θ = 0.

    Raises ValueError for any other network.
    """
    network = problem.network_at(theta)
    if not isinstance(network, TwoLayer):
        raise ValueError(f"effective_neurons needs a gf.networks.TwoLayer, problem had {type(network).__name__}")
    # Fourth powers of small weights would underflow.
    scale = jnp.maximum(jnp.max(jnp.abs(network.w)), jnp.max(jnp.abs(network.a)))
    mass = jnp.sum((network.w / scale) ** 2, axis=1) + (network.a / scale) ** 2
    return jnp.sum(mass) ** 2 / jnp.sum(mass**2)
