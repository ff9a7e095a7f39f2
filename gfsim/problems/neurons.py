"""The Hessian of a sum over neurons: a small block for each, and a row for each sample.

For f(x; θ) = Σ_j g(x; θ_j) + (something linear in the other parameters) and 𝓛 = Σ_i ℓ(f(x_i), y_i),
∇²𝓛 = Σ_i ℓ'_i ∇²f(x_i) + Σ_i ℓ''_i ∇f(x_i) ∇f(x_i)ᵀ: the first sum couples no two neurons, the second has rank n.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from gfsim.problems.losses import CrossEntropy
from gfsim.problems.objectives import AbstractObjective, NetworkObjective
from gfsim.problems.parameters import Slot, fill, has_frozen
from gfsim.types import Array, Input, Scalar, Theta


def neuron_places(objective: AbstractObjective) -> Int[np.ndarray, "neurons own"] | None:
    """Which entries of θ belong to each neuron, one row each.

    None where the network has no method `neuron_parameters` or it returns None, with several outputs or frozen
    parameters, and for a problem from a function.
    """
    if not isinstance(objective, NetworkObjective) or has_frozen(objective.template):
        return None
    if objective.data.targets.ndim > 1 or isinstance(objective.criterion, CrossEntropy):
        return None
    leaves, structure = jax.tree.flatten(objective.template)
    numbered, start = [], 0
    for leaf in leaves:
        if isinstance(leaf, Slot):
            numbered.append(np.arange(start, start + leaf.size).reshape(leaf.shape))
            start += leaf.size
        else:
            numbered.append(leaf)
    network = jax.tree.unflatten(structure, numbered)
    own = network.neuron_parameters() if hasattr(network, "neuron_parameters") else None
    return None if own is None else np.concatenate(own, axis=1)


def separable_hessian(
    objective: NetworkObjective, theta: Theta
) -> tuple[Float[Array, "neurons own own"], Float[Array, "n P"]]:
    """S and R with ∇²𝓛 = S + RᵀR: S in the blocks of `neuron_places`, zero elsewhere; R one row for each sample.

    Needs ℓ'' ≥ 0, which holds for every loss of a scalar output. It costs about as much as one gradient and as many
    Hessian products as a neuron has parameters.
    """
    places = neuron_places(objective)
    assert places is not None
    outputs, criterion, targets = objective.outputs(theta), objective.criterion, objective.data.targets
    slopes, curvatures = jax.jvp(lambda f: -criterion.pull(f, targets), (outputs,), (jnp.ones_like(outputs),))

    def output(th: Theta, x: Input) -> Scalar:
        return fill(objective.template, th)(x)

    def product(v: Theta) -> Theta:
        held = lambda th: jnp.vdot(slopes, jax.vmap(output, (None, 0))(th, objective.data.inputs))  # noqa: E731
        return jax.jvp(jax.grad(held), (theta,), (v,))[1]

    # One product for each of a neuron's parameters, for all neurons at once: no block mixes with another.
    own = np.zeros((places.shape[1], theta.size))
    np.put_along_axis(own, places.T, 1.0, axis=1)
    images = jax.vmap(product)(jnp.asarray(own))
    blocks = jnp.moveaxis(images[:, places], 0, -1)
    rows = jax.vmap(jax.grad(output), (None, 0))(theta, objective.data.inputs)
    # Where ℓ'' underflows it may be rounded to below zero.
    return 0.5 * (blocks + blocks.mT), jnp.sqrt(jnp.maximum(curvatures, 0.0))[:, None] * rows
