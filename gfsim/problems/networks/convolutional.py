"""Convolutional networks."""

import math
from collections.abc import Callable, Sequence
from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Float

from gfsim.checks import positive_integer
from gfsim.problems.checks import prng_key
from gfsim.problems.networks.base import AbstractNetwork
from gfsim.problems.networks.start import gaussian_layers
from gfsim.types import Array, Input, Key, Scalar

_WINDOW = 3
_STRIDE = 2


@final
class Convolutional(AbstractNetwork):
    """f(x) = ⟨W_m, h_{m−1}⟩ with h_l = σ(W_l ∗ h_{l−1}), h_0 the square image x; a scalar output without biases.

    ∗ is a 3×3 convolution of stride 2 with one pixel of zeros around the image, so that a side s becomes ⌈s/2⌉.
    `channels` = the numbers of channels of h_1 … h_{m−1}. `weights[l]` has shape (channels out, channels in, 3, 3), the
    last one (1, channels in, side, side): it covers the whole image that is left. The input has shape (side²,), in
    row-major order. Starts from W_jk ~ N(0, 1/fan-in).

    Raises TypeError or ValueError for a side that is no positive integer, channels that are not a sequence of one or
    more of them, an activation that cannot be called, or a `key` that is no random key.
    """

    weights: list[Float[Array, "_ _ _ _"]]
    activation: Callable[[Array], Array]
    side: int = eqx.field(static=True)

    def __init__(self, side: int, channels: Sequence[int], activation: Callable[[Array], Array], *, key: Key):
        self.side = positive_integer("side", side)
        if not isinstance(channels, Sequence) or isinstance(channels, str) or len(channels) == 0:
            raise TypeError(f"channels must be a sequence of one or more positive integers, was {channels!r}")
        if not callable(activation):
            raise TypeError(f"activation must be callable, such as ReLUPower(2), was {activation!r}")
        shapes, inputs, left = [], 1, self.side
        for l, count in enumerate(channels):
            count = positive_integer(f"channels[{l}]", count)
            shapes.append((count, inputs, _WINDOW, _WINDOW))
            inputs, left = count, -(-left // _STRIDE)
        shapes.append((1, inputs, left, left))
        fans = [math.prod(shape[1:]) for shape in shapes]
        self.weights = gaussian_layers(prng_key("key", key), shapes, fans)
        self.activation = activation

    @property
    def in_size(self) -> int:
        """side²."""
        return self.side**2

    @property
    def degree(self) -> int | None:
        """L = Σ_{k<m} p^k for an activation of degree p, else None."""
        p = getattr(self.activation, "degree", None)
        return None if p is None else sum(p**k for k in range(len(self.weights)))

    def balancedness(self) -> Float[Array, "invariants"] | None:
        """‖W_l[j]‖² − p‖W_{l+1}[:, j]‖² for every hidden channel j, layer by layer, σ of degree p; else None.

        f is unchanged by W_l[j] → c·W_l[j], W_{l+1}[:, j] → c^{−p}·W_{l+1}[:, j], as for the neurons of Du, Hu & Lee
        2018, arXiv:1806.00900, Thm 2.1.
        """
        p = getattr(self.activation, "degree", None)
        if p is None:
            return None
        incoming = [jnp.sum(w**2, axis=(1, 2, 3)) for w in self.weights[:-1]]
        outgoing = [jnp.sum(w**2, axis=(0, 2, 3)) for w in self.weights[1:]]
        return jnp.concatenate([rows - p * columns for rows, columns in zip(incoming, outgoing, strict=True)])

    def __call__(self, x: Input) -> Scalar:
        """f(x)."""
        h = x.reshape(1, self.side, self.side)
        for w in self.weights[:-1]:
            h = self.activation(jax.lax.conv_general_dilated(h[None], w, (_STRIDE, _STRIDE), ((1, 1), (1, 1)))[0])
        return jnp.vdot(self.weights[-1], h)
