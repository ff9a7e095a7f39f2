"""Diagonal linear networks."""

import math
from typing import final

import jax.numpy as jnp
from jaxtyping import Float

from gfsim.checks import positive_integer
from gfsim.problems.networks.base import AbstractNetwork
from gfsim.types import Array, Input, Scalar


@final
class DiagonalLinear(AbstractNetwork):
    """f(x) = β·x with β = u ⊙ v, homogeneous of degree 2; u and v of shape (d,).

    Starts from u = √2·(1, …, 1), v = 0, so that β = 0 without being critical. In the other usual form
    β = ½(w₊² − w₋²), u = (w₊ + w₋)/√2 and v = (w₊ − w₋)/√2, this is w₊ = w₋ = 1; α·θ starts from w₊ = w₋ = α.

    Raises TypeError or ValueError unless `size` is a positive integer.
    """

    u: Float[Array, "d"]
    v: Float[Array, "d"]

    def __init__(self, size: int):
        size = positive_integer("size", size)
        self.u = jnp.full(size, math.sqrt(2.0))
        self.v = jnp.zeros(size)

    @property
    def in_size(self) -> int:
        """d."""
        return self.u.shape[0]

    @property
    def degree(self) -> int:
        """2."""
        return 2

    def balancedness(self) -> Float[Array, "d"]:
        """u_k² − v_k² per coordinate."""
        return self.u**2 - self.v**2

    def __call__(self, x: Input) -> Scalar:
        """(u ⊙ v)·x."""
        return (self.u * self.v) @ x
