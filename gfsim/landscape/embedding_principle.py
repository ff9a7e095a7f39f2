"""The embedding principle: every critical point of a narrow network is one of every wider network."""

import math
from numbers import Real
from typing import final

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from gfsim.landscape.copies import CopyMap, Layered, copy_one, index, require_layered, widen, widths
from gfsim.problems.networks import AbstractNetwork, FeedForward
from gfsim.types import Theta


@final
class OneStepEmbedding(eqx.Module):
    """A wide network, the linear map T = `lift` of the parameters, and the linear map G = `gradient` of gradients.

    With 𝓛 and 𝓛̃ the losses of narrow and wide network on the same data, for every θ and every loss of the outputs:

        f̃(x; Tθ) = f(x; θ),   ∇𝓛̃(Tθ) = G∇𝓛(θ),   TᵀG = I,

    so that values are preserved, and Tθ is critical exactly where θ is. G ≠ T: gradient flow from Tθ is not the
    narrow one, and in general leaves the image of T. It stays for k copies with equal shares 1/k of the outgoing
    weights, where G = TD: then η(t) = Tφ(t) with φ' = −D∇𝓛(φ), D being diagonal with k for the neuron's outgoing
    weights (they move k times faster), 1/k for its incoming weights and bias, and 1 elsewhere; `rates` gives it.

    `network` is the wide one at Tθ, θ being the narrow network's own parameters.
    `lift(theta)`, `lift.project(eta)`, `lift.distance(eta)` and `gradient(g)` take flat vectors in the order of
    `Problem.theta`, all floating-point arrays trainable.
    """

    network: Layered
    lift: CopyMap
    gradient: CopyMap

    def rates(self) -> Theta:
        """The diagonal of D = (TᵀT)⁻¹, the rates on the invariant manifold of equal shares, in the order of θ.

        φ' = −D∇𝓛(φ) is gradient flow of ψ ↦ 𝓛(D^{1/2}ψ) in ψ = D^{−1/2}φ. Raises ValueError where the wide flow leaves
        the image of T.
        """
        rates = self.gradient.project(self.lift(jnp.ones(self.lift.size)))
        if not jnp.allclose(self.gradient.factor * rates[self.gradient.source], self.lift.factor, rtol=1e-12, atol=0):
            raise ValueError("embedding must have equal shares for its image to be invariant, had unequal ones")
        return 1 / rates

    def then(self, other: "OneStepEmbedding") -> "OneStepEmbedding":
        """This embedding followed by one of its network. Raises ValueError if the sizes do not fit."""
        return OneStepEmbedding(other.network, self.lift.then(other.lift), self.gradient.then(other.gradient))


def embed_neuron(network: AbstractNetwork, layer: int, neuron: int, alpha: float) -> OneStepEmbedding:
    """One hidden neuron, or channel, as two with its incoming weights and bias, and (1 − α, α) of its outgoing ones.

    For any activation, with or without biases, and any real α. `layer` and `neuron` count from 0, and both copies
    take the neuron's place. Unlike `split_neuron` it keeps values and criticality only, not the motion.

    Raises TypeError or ValueError for a network of another kind, with skips or normalised layers (a second copy
    changes the norm of its layer), for a layer or neuron that is not there, and an α that is no finite number.

    Source: Zhang et al., arXiv 2105.14573 (the one-step embedding) and arXiv 2111.15527; the rates are derived.
    """
    narrow = require_layered(network)
    if isinstance(narrow, FeedForward) and narrow.normalise:
        raise ValueError("network must not normalise its layers, whose norms a copy changes, had normalise=True")
    layer = index("layer", layer, len(widths(narrow)))
    width = widths(narrow)[layer]
    neuron = index("neuron", neuron, width)
    if isinstance(alpha, bool) or not isinstance(alpha, Real):
        raise TypeError(f"alpha must be a finite number, was {alpha!r}")
    if not math.isfinite(alpha):
        raise ValueError(f"alpha must be a finite number, was {alpha}")
    whole, shares = np.ones(2), np.array([1.0 - alpha, float(alpha)])
    wide, lift = widen(narrow, {layer: copy_one(width, neuron, whole, shares)})
    _, gradient = widen(narrow, {layer: copy_one(width, neuron, shares, whole)})
    return OneStepEmbedding(wide, lift, gradient)
