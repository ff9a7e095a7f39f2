"""Two-layer networks."""

from collections.abc import Callable
from typing import final

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Shaped

from gfsim.checks import positive_integer
from gfsim.problems.checks import prng_key
from gfsim.problems.networks.base import AbstractNetwork
from gfsim.problems.networks.start import gaussian_layers
from gfsim.types import Array, Input, Key, Scalar


@final
class TwoLayer(AbstractNetwork):
    """f(x) = Σ_j a_j σ(w_j·x), a scalar output without biases.

    Shapes: w (width, d), a (width,). With an activation of degree p the network has degree p + 1.
    Starts from w_jk ~ N(0, 1/d), a_j ~ N(0, 1/width).

    Raises TypeError or ValueError for sizes that are not positive integers, an activation that cannot be
    called, or a `key` that is no random key.
    """

    w: Float[Array, "width d"]
    a: Float[Array, "width"]
    activation: Callable[[Array], Array]

    def __init__(self, in_size: int, width: int, activation: Callable[[Array], Array], *, key: Key):
        in_size = positive_integer("in_size", in_size)
        width = positive_integer("width", width)
        if not callable(activation):
            raise TypeError(f"activation must be callable, such as ReLUPower(2), was {activation!r}")
        shapes = (width, in_size), (width,)
        self.w, self.a = gaussian_layers(prng_key("key", key), shapes, (in_size, width))
        self.activation = activation

    @property
    def in_size(self) -> int:
        """d."""
        return self.w.shape[1]

    @property
    def degree(self) -> int | None:
        """p + 1 for an activation of degree p, else None."""
        p = getattr(self.activation, "degree", None)
        return None if p is None else p + 1

    def neuron_parameters(self) -> tuple[Shaped[Array | np.ndarray, "width _"], ...]:
        """The parameters of each neuron in the sum that the network is, one row each, side by side; whatever the
        network holds in their place."""
        return self.w, self.a[:, None]

    def balancedness(self) -> Float[Array, "width"] | None:
        """‖w_j‖² − p·a_j² per neuron, for an activation of degree p; else None.

        f is unchanged by w_j → c·w_j, a_j → c^{−p}·a_j, hence ⟨w_j, ∂f/∂w_j⟩ = p·a_j ∂f/∂a_j
        [Du, Hu & Lee 2018, arXiv:1806.00900, Thm 2.1 for p = 1].
        """
        p = getattr(self.activation, "degree", None)
        return None if p is None else jnp.sum(self.w**2, axis=1) - p * self.a**2

    def __call__(self, x: Input) -> Scalar:
        """Σ_j a_j σ(w_j·x)."""
        return self.a @ self.activation(self.w @ x)
