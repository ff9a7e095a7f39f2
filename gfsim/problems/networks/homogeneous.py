"""Networks that are homogeneous in their input under a linear dilation."""

from collections.abc import Callable
from typing import final

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from gfsim.problems.networks.base import AbstractNetwork
from gfsim.problems.networks.dilation import Dilation
from gfsim.types import Array, ArrayLike, Input, Output, Scalar


@final
class HomogeneousNetwork(AbstractNetwork):
    """h(x) = ‖x‖_d^ν N(π_d(x)): any network N made homogeneous of degree ν, h(d(s)x) = e^{νs}h(x), d(s) = e^{sG}.

    With `field=True` N has as many outputs as inputs and h is a vector field of degree ν,
    h(x) = ‖x‖_d^ν d(ln‖x‖_d)N(π_d(x)), whose flow obeys x(t; d(s)x0) = d(s)x(e^{νs}t; x0): it comes to rest in finite
    time (ν < 0), exponentially (ν = 0) or algebraically (ν > 0) where it does so at all.

    `generator` G (d, d) and `P` are those of `gf.networks.Dilation`, which this keeps as `dilation`; norm and sphere
    are its own. h is determined by N on the sphere xᵀPx = 1, so that the error of h against a homogeneous f is
    ‖x‖_d^ν times that of N at π_d(x): train on the sphere, with targets y/‖x‖_d^ν. h(0) = N(0)·0^ν.

    `degree` and `balancedness` are those of N: they speak of the parameters, ν (`nu`) of the input.

    Raises ValueError as `Dilation` does, for a degree that is not finite, and for a generator or a field whose size
    is not that of N's input; TypeError if `network` cannot be called.

    Source: Polyakov, homogeneous artificial neural networks.
    """

    network: Callable[[Array], Array]
    dilation: Dilation
    nu: float = eqx.field(static=True)
    field: bool = eqx.field(static=True)

    def __init__(
        self,
        network: Callable[[Array], Array],
        generator: ArrayLike | list,
        degree: float | int,
        P: ArrayLike | list | None = None,
        *,
        field: bool = False,
    ):
        if not callable(network):
            raise TypeError(f"network must be a network, an Equinox model of one input, was {network!r}")
        if not np.isfinite(degree):
            raise ValueError(f"degree must be a finite number, was {degree}")
        self.network = network
        self.dilation = Dilation(generator, P)
        self.nu = float(degree)
        self.field = bool(field)
        d = getattr(network, "in_size", self.dilation.size)
        if d != self.dilation.size:
            raise ValueError(f"generator must have the network's input size {d}, was {self.dilation.size}")
        if field:
            shape = eqx.filter_eval_shape(network, jnp.zeros(d)).shape
            if shape != (d,):
                raise ValueError(f"network must return shape {(d,)} for field=True, returned {shape}")

    @property
    def in_size(self) -> int:
        """d."""
        return self.dilation.size

    @property
    def degree(self) -> int | None:
        """L of N, as of its parameters."""
        return getattr(self.network, "degree", None)

    def balancedness(self) -> Float[Array, "invariants"] | None:
        """That of N."""
        own = getattr(self.network, "balancedness", None)
        return None if own is None else own()

    def norm(self, x: Input) -> Scalar:
        """‖x‖_d."""
        return self.dilation.norm(x)

    def project(self, x: Input) -> Input:
        """π_d(x)."""
        return self.dilation.project(x)

    def __call__(self, x: Input) -> Output:
        """h(x), in the shape of N's outputs."""
        inner = self.network(self.project(x))
        # ‖x‖^0 is 1 at 0 too, but its derivative is not 0 there.
        scaled = inner if self.nu == 0 else self.norm(x) ** self.nu * inner
        if not self.field:
            return scaled
        rests = jnp.all(x == 0)
        moved = self.dilation(jnp.where(rests, 0.0, self.dilation.log_norm(jnp.where(rests, 1.0, x))), scaled)
        return jnp.where(rests, 0.0, moved) if self.nu >= 0 else moved
