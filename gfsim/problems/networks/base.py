"""What every gfsim network offers beside its values."""

import abc

import equinox as eqx
from jaxtyping import Float

from gfsim.types import Array, Input, Output


class AbstractNetwork(eqx.Module):
    """x ↦ f(x; θ) on one sample, θ the module's arrays; `jax.vmap` over x turns it into matrix products."""

    @property
    @abc.abstractmethod
    def in_size(self) -> int:
        """d, the number of input coordinates."""

    @property
    @abc.abstractmethod
    def degree(self) -> int | None:
        """L with f(x; cθ) = c^L f(x; θ) for all c ≥ 0, all parameters together; None where there is none."""

    @abc.abstractmethod
    def balancedness(self) -> Float[Array, "invariants"] | None:
        """What θ' = −∇𝓛(θ) conserves exactly for every loss of the outputs; None where nothing is known."""

    @abc.abstractmethod
    def __call__(self, x: Input) -> Output:
        """f(x; θ): shape () for scalar networks, (K,) for K outputs."""
