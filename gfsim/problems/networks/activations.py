"""Activations: scalar functions applied to every preactivation, with their degree of homogeneity.

An activation has degree p if σ(cx) = c^p σ(x) for every c ≥ 0, and degree None if there is no such p.
"""

import abc
from numbers import Real
from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Float

from gfsim.checks import positive_integer
from gfsim.types import Array


class AbstractActivation(eqx.Module):
    """σ: R → R, applied elementwise."""

    @property
    @abc.abstractmethod
    def degree(self) -> int | None:
        """p with σ(cx) = c^p σ(x) for all c ≥ 0, or None."""

    @abc.abstractmethod
    def __call__(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        """σ(x), elementwise."""


@final
class ReLUPower(AbstractActivation):
    """σ(x) = max(x, slope·x)^p, homogeneous of degree p.

    p = 1: (leaky) ReLU, with σ'(0) = slope. p ≥ 2: p − 1 times continuously differentiable at 0.
    slope = 1 gives the monomial x^p.

    Raises TypeError or ValueError unless p is a positive integer and 0 ≤ slope ≤ 1.
    """

    p: int = eqx.field(static=True)
    slope: float = eqx.field(static=True)

    def __init__(self, p: int = 1, slope: float = 0.0):
        if isinstance(slope, bool) or not isinstance(slope, Real):
            raise TypeError(f"slope must be a number between 0 and 1, was {slope!r}")
        if not 0.0 <= slope <= 1.0:
            raise ValueError(f"slope must be a number between 0 and 1, was {slope}")
        self.p = positive_integer("p", p)
        self.slope = float(slope)

    @property
    def degree(self) -> int:
        """p."""
        return self.p

    def __call__(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        """max(x, slope·x)^p."""
        # A select, because the derivative of jnp.maximum at a tie is the mean of both slopes.
        return jnp.where(x > 0.0, x, self.slope * x) ** self.p


@final
class Identity(AbstractActivation):
    """σ(x) = x, homogeneous of degree 1."""

    @property
    def degree(self) -> int:
        """1."""
        return 1

    def __call__(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        """x."""
        return x


@final
class Tanh(AbstractActivation):
    """σ(x) = tanh x. Not homogeneous."""

    @property
    def degree(self) -> None:
        """None."""
        return None

    def __call__(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        """tanh x."""
        return jnp.tanh(x)


@final
class Swish(AbstractActivation):
    """σ(x) = x/(1 + e^{−x}), also called SiLU. Not homogeneous."""

    @property
    def degree(self) -> None:
        """None."""
        return None

    def __call__(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        """x/(1 + e^{−x})."""
        return jax.nn.silu(x)


@final
class GELU(AbstractActivation):
    """σ(x) = x·Φ(x), Φ the standard normal distribution function (by erf, exact). Not homogeneous."""

    @property
    def degree(self) -> None:
        """None."""
        return None

    def __call__(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        """x·Φ(x)."""
        return jax.nn.gelu(x, approximate=False)


@final
class Softplus(AbstractActivation):
    """σ(x) = log(1 + e^x). Not homogeneous."""

    @property
    def degree(self) -> None:
        """None."""
        return None

    def __call__(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        """log(1 + e^x)."""
        return jax.nn.softplus(x)
