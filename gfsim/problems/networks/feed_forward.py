"""Networks of any depth."""

from collections.abc import Callable, Sequence
from typing import final

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Shaped

from gfsim.problems.checks import layer_sizes, prng_key
from gfsim.problems.networks.base import AbstractNetwork
from gfsim.problems.networks.start import gaussian_layers
from gfsim.types import Array, Input, Key, Output


@final
class FeedForward(AbstractNetwork):
    """f(x) = W_m h_{m−1} (+ b_m) over hidden layers h_l, l = 1 … m−1, h_0 = x.

    g_l = σ(W_l h_{l−1} + b_l)      the bias b_l only with `bias=True`;
    s_l = h_{l−1} + g_l             with `residual=True`, where l ≥ 2 and h_{l−1}, g_l have equal size
                                    (the input itself is never skipped); else s_l = g_l;
    h_l = s_l/‖s_l‖₂                with `normalise=True`, the norm over the layer's neurons with no constant
                                    added, and 0 where s_l = 0; else h_l = s_l.

    `sizes` = (d, hidden sizes …, K); `weights[l]` has shape (sizes[l+1], sizes[l]) and `biases[l]`
    (sizes[l+1],). The output has shape () if K = 1, else (K,). Starts from W_jk ~ N(0, 1/fan-in), b = 0.

    Raises TypeError or ValueError for fewer than two sizes, sizes that are not positive integers, an
    activation that cannot be called, or a `key` that is no random key.
    """

    weights: list[Float[Array, "_ _"]]
    biases: list[Float[Array, "_"]] | None
    activation: Callable[[Array], Array]
    residual: bool = eqx.field(static=True)
    normalise: bool = eqx.field(static=True)

    def __init__(
        self,
        sizes: Sequence[int],
        activation: Callable[[Array], Array],
        *,
        key: Key,
        bias: bool = False,
        residual: bool = False,
        normalise: bool = False,
    ):
        sizes = layer_sizes(sizes)
        if not callable(activation):
            raise TypeError(f"activation must be callable, such as ReLUPower(2), was {activation!r}")
        shapes = list(zip(sizes[1:], sizes[:-1], strict=True))
        self.weights = gaussian_layers(prng_key("key", key), shapes, sizes[:-1])
        self.biases = [jnp.zeros(rows) for rows in sizes[1:]] if bias else None
        self.activation = activation
        self.residual = bool(residual)
        self.normalise = bool(normalise)

    @property
    def in_size(self) -> int:
        """d."""
        return self.weights[0].shape[1]

    def skips(self, l: int) -> bool:
        """Whether hidden layer l (from 0) adds its input to its activations."""
        rows, columns = self.weights[l].shape
        return self.residual and 0 < l < len(self.weights) - 1 and rows == columns

    def _rescaling_degree(self) -> int | None:
        # The degree p of σ where scaling a whole hidden layer scales its activations by c^p, else None.
        if any(self.skips(l) for l in range(len(self.weights))):
            return None
        return getattr(self.activation, "degree", None)

    @property
    def degree(self) -> int | None:
        """L = Σ_{k<m} p^k for an activation of degree p, with neither biases nor skips.

        1 for a single (affine) layer, and with `normalise` and no skips: each hidden layer then ignores the
        scale of its own parameters, biases included. None otherwise.
        """
        if len(self.weights) == 1:
            return 1
        p = self._rescaling_degree()
        if p is None:
            return None
        if self.normalise:
            return 1
        if self.biases is not None:
            return None
        return sum(p**k for k in range(len(self.weights)))

    def neuron_parameters(self) -> tuple[Shaped[Array | np.ndarray, "neurons _"], ...] | None:
        """The parameters of each hidden neuron, one row each, side by side, where f is a sum over neurons.

        None with another number of hidden layers than one, with several outputs, and with `normalise`.
        """
        if len(self.weights) != 2 or self.weights[1].shape[0] != 1 or self.normalise:
            return None
        into, out = self.weights
        return (into, out.T) if self.biases is None else (into, self.biases[0][:, None], out.T)

    def balancedness(self) -> Float[Array, "invariants"] | None:
        """For activations of degree p and no skips; else None, and None without hidden layers.

        Without `normalise`: ‖W_l[j, :]‖² + b_l[j]² − p‖W_{l+1}[:, j]‖² for every hidden neuron j, layer by
        layer [Du, Hu & Lee 2018, arXiv:1806.00900, Thm 2.1 for p = 1]. With it: ‖W_l‖² + ‖b_l‖² for every
        hidden layer, because a normalised layer ignores the scale of its parameters.
        """
        p = self._rescaling_degree()
        if p is None or len(self.weights) == 1:
            return None
        incoming = [jnp.sum(w**2, axis=1) for w in self.weights]
        if self.biases is not None:
            incoming = [rows + b**2 for rows, b in zip(incoming, self.biases, strict=True)]
        if self.normalise:
            return jnp.stack([jnp.sum(rows) for rows in incoming[:-1]])
        outgoing = [jnp.sum(w**2, axis=0) for w in self.weights[1:]]
        return jnp.concatenate([rows - p * columns for rows, columns in zip(incoming[:-1], outgoing, strict=True)])

    def _affine(self, l: int, h: Float[Array, "fan_in"]) -> Float[Array, "fan_out"]:
        z = self.weights[l] @ h
        return z if self.biases is None else z + self.biases[l]

    def features(self, x: Input) -> Float[Array, "fan_in"]:
        """h_{m−1}(x), what the last layer takes in; x itself without hidden layers."""
        h = x
        for l in range(len(self.weights) - 1):
            s = self.activation(self._affine(l, h))
            if self.skips(l):
                s = h + s
            h = _unit(s) if self.normalise else s
        return h

    def __call__(self, x: Input) -> Output:
        """f(x): shape () if the last size is 1, else (K,)."""
        y = self._affine(len(self.weights) - 1, self.features(x))
        return y[0] if y.shape == (1,) else y


def _unit(s: Float[Array, "m"]) -> Float[Array, "m"]:
    # Both selects are needed: one alone would leave 0·∞ in the derivative of the root at 0.
    squared_norm = s @ s
    alive = squared_norm > 0.0
    return s * jnp.where(alive, 1.0 / jnp.sqrt(jnp.where(alive, squared_norm, 1.0)), 0.0)
