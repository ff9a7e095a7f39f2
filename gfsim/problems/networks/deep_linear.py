"""Deep linear networks."""

from collections.abc import Sequence
from typing import final

import jax.numpy as jnp
from jaxtyping import Float

from gfsim.problems.checks import layer_sizes, prng_key
from gfsim.problems.networks.base import AbstractNetwork
from gfsim.problems.networks.start import gaussian_layers
from gfsim.types import Array, Input, Key, Output


@final
class DeepLinear(AbstractNetwork):
    """f(x) = W_m ⋯ W_1 x, homogeneous of degree m.

    `sizes` = (d, hidden sizes …, K); `weights[l]` has shape (sizes[l+1], sizes[l]). The output has shape ()
    if K = 1, else (K,). Starts from W_jk ~ N(0, 1/fan-in).

    Raises TypeError or ValueError for fewer than two sizes, sizes that are not positive integers, or a `key`
    that is no random key.
    """

    weights: list[Float[Array, "_ _"]]

    def __init__(self, sizes: Sequence[int], *, key: Key):
        sizes = layer_sizes(sizes)
        shapes = list(zip(sizes[1:], sizes[:-1], strict=True))
        self.weights = gaussian_layers(prng_key("key", key), shapes, sizes[:-1])

    @property
    def in_size(self) -> int:
        """d."""
        return self.weights[0].shape[1]

    @property
    def degree(self) -> int:
        """The number of layers m."""
        return len(self.weights)

    def balancedness(self) -> Float[Array, "invariants"] | None:
        """The upper triangles of W_l W_lᵀ − W_{l+1}ᵀ W_{l+1}, l = 1 … m−1, row by row; None for one layer.

        Source: Arora, Cohen & Hazan 2018, arXiv:1802.06509, Thm 1 (proof).
        """
        if len(self.weights) == 1:
            return None
        differences = [w @ w.T - v.T @ v for w, v in zip(self.weights[:-1], self.weights[1:], strict=True)]
        return jnp.concatenate([d[jnp.triu_indices(d.shape[0])] for d in differences])

    def __call__(self, x: Input) -> Output:
        """f(x): shape () if the last size is 1, else (K,)."""
        h = x
        for w in self.weights:
            h = w @ h
        return h[0] if h.shape == (1,) else h
