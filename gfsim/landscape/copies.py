"""Wide networks whose units are copies of a narrow network's, and the linear maps between their parameters.

The units of a layer are its neurons, or the channels of a convolution.
"""

from collections.abc import Mapping
from numbers import Integral
from typing import NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, PyTree

from gfsim.problems.checks import require_x64
from gfsim.problems.networks import Convolutional, DeepLinear, FeedForward, TwoLayer
from gfsim.types import Array, Scalar, Theta

Layered = TwoLayer | FeedForward | DeepLinear | Convolutional


@final
class CopyMap(eqx.Module):
    """T: R^P → R^Q, (Tθ)_i = f_i θ_{s_i}: every wide parameter is a multiple of one narrow parameter.

    So the columns of T are orthogonal, TᵀT = diag(g), and T⁺ = diag(1/g)Tᵀ. All methods cost O(Q) and may be traced and
    mapped; they raise ValueError for a vector of the wrong shape.

    Shapes: source s and factor f (Q,); `size` is P.
    """

    source: Int[Array, "Q"]
    factor: Float[Array, "Q"]
    size: int = eqx.field(static=True)

    def __call__(self, theta: Theta) -> Float[Array, "Q"]:
        """Tθ."""
        _check_shape("theta", theta, self.size)
        return self.factor * theta[self.source]

    def project(self, eta: Float[Array, "Q"]) -> Theta:
        """T⁺η, the θ for which Tθ is nearest to η."""
        _check_shape("eta", eta, self.source.size)
        zeros = jnp.zeros(self.size)
        return zeros.at[self.source].add(self.factor * eta) / zeros.at[self.source].add(self.factor**2)

    def distance(self, eta: Float[Array, "Q"]) -> Scalar:
        """‖η − TT⁺η‖, 0 on the image of T."""
        return jnp.linalg.norm(eta - self(self.project(eta)))

    def then(self, other: "CopyMap") -> "CopyMap":
        """θ ↦ other(Tθ). Raises ValueError unless `other` starts from R^Q."""
        if other.size != self.source.size:
            raise ValueError(f"other must start from {self.source.size} parameters, started from {other.size}")
        return CopyMap(self.source[other.source], other.factor * self.factor[other.source], self.size)


class Copies(NamedTuple):
    """What one hidden layer becomes: wide unit i is a copy of the narrow unit `unit[i]`.

    Its incoming weights and bias are those of the narrow unit times `incoming[i]`, its outgoing weights times
    `outgoing[i]`. All of shape (wide,).
    """

    unit: Int[np.ndarray, "wide"]
    incoming: Float[np.ndarray, "wide"]
    outgoing: Float[np.ndarray, "wide"]


def copy_one(width: int, unit: int, incoming: np.ndarray, outgoing: np.ndarray) -> Copies:
    """`unit` replaced, at its place, by len(incoming) copies of itself; the other units as they are."""

    def spread(factors: np.ndarray) -> np.ndarray:
        return np.concatenate([np.ones(unit), factors, np.ones(width - unit - 1)])

    copies = np.where(np.arange(width) == unit, len(incoming), 1)
    return Copies(np.repeat(np.arange(width), copies), spread(incoming), spread(outgoing))


def widen(network: Layered, copies: Mapping[int, Copies]) -> tuple[Layered, CopyMap]:
    """The wide network, and the map from the narrow θ to the wide one, each in the order of `Problem.theta`.

    `copies` is keyed by hidden layer. Parameters that belong to no unit of these layers stay as they are.

    Raises ValueError if JAX is not set to float64.
    """
    require_x64()
    parameters, rest = eqx.partition(network, eqx.is_inexact_array)
    narrow = [np.asarray(leaf, float) for leaf in jax.tree.leaves(parameters)]
    ends = np.cumsum([leaf.size for leaf in narrow])
    places = [np.arange(end - leaf.size, end).reshape(leaf.shape) for leaf, end in zip(narrow, ends, strict=True)]
    structure = jax.tree.structure(parameters)
    source, factor = jax.tree.unflatten(structure, places), jax.tree.map(lambda leaf: np.ones(leaf.shape), parameters)
    for layer, (unit, incoming, outgoing) in copies.items():
        source = _copied(source, layer, unit, np.ones_like(unit), np.ones_like(unit))
        factor = _copied(factor, layer, unit, incoming, outgoing)
    theta = np.concatenate([leaf.ravel() for leaf in narrow])
    wide = jax.tree.map(lambda place, times: jnp.asarray(times * theta[place]), source, factor)
    lift = CopyMap(_flat(source), _flat(factor), theta.size)
    return eqx.combine(wide, rest), lift


def require_layered(network: object) -> Layered:
    """`network`, if its units can be copied at all. Raises TypeError or ValueError."""
    if not isinstance(network, Layered):
        raise TypeError(
            f"network must be a TwoLayer, FeedForward, DeepLinear or Convolutional, was {type(network).__name__}"
        )
    if len(layers(network)) == 1:
        raise ValueError("network must have a hidden layer, had none")
    if isinstance(network, FeedForward) and network.residual:
        raise ValueError("network must have no skips, whose layers would lose their equal widths, had residual=True")
    return network


def require_homogeneous(network: Layered) -> None:
    """Raises ValueError for a network with biases or normalised layers."""
    if isinstance(network, FeedForward) and network.biases is not None:
        raise ValueError("network must have no biases, had bias=True")
    if isinstance(network, FeedForward) and network.normalise:
        raise ValueError("network must not normalise its layers, had normalise=True")


def index(name: str, value: object, count: int) -> int:
    """`value` as one of 0 … count − 1. Raises TypeError or ValueError."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be an integer from 0 to {count - 1}, was {value!r}")
    if not 0 <= int(value) < count:
        raise ValueError(f"{name} must be an integer from 0 to {count - 1}, was {value}")
    return int(value)


def layers(network: Layered) -> list[PyTree]:
    """The weights of every layer: axis 0 holds the units they lead to, the next the units they come from.

    The readout of `TwoLayer`, a single unit, has no axis for it.
    """
    # Not list[Array], because the leaves may be numpy's, or what eqx.tree_at puts in their place.
    return [network.w, network.a] if isinstance(network, TwoLayer) else list(network.weights)


def widths(network: Layered) -> list[int]:
    """The number of units of every hidden layer."""
    return [w.shape[0] for w in layers(network)[:-1]]


def activation_degree(network: Layered) -> int | None:
    """p with σ(cx) = c^p σ(x) for c ≥ 0, where the activation declares one; 1 for a deep linear network."""
    return 1 if isinstance(network, DeepLinear) else getattr(network.activation, "degree", None)


def _copied(network: Layered, layer: int, unit: np.ndarray, incoming: np.ndarray, outgoing: np.ndarray) -> Layered:
    *into, out_of = _around(network, layer)
    wide = [_take(array, unit, incoming, axis=0) for array in into]
    wide.append(_take(out_of, unit, outgoing, axis=min(1, out_of.ndim - 1)))
    return eqx.tree_at(lambda n: _around(n, layer), network, wide)


def _around(network: Layered, layer: int) -> list[PyTree]:
    # Weights and biases into a hidden layer, then the weights out of it.
    weights = layers(network)
    biases = network.biases if isinstance(network, FeedForward) else None
    into = [weights[layer]] if biases is None else [weights[layer], biases[layer]]
    return [*into, weights[layer + 1]]


def _take(array: np.ndarray, unit: np.ndarray, factors: np.ndarray, axis: int) -> np.ndarray:
    along = [1] * array.ndim
    along[axis] = -1
    return np.take(array, unit, axis=axis) * factors.reshape(along)


def _flat(network: Layered) -> Array:
    return jnp.asarray(np.concatenate([leaf.ravel() for leaf in jax.tree.leaves(network)]))


def _check_shape(name: str, vector: Array, size: int) -> None:
    if vector.shape != (size,):
        raise ValueError(f"{name} must have shape ({size},), was {vector.shape}")
