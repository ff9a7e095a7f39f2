"""What a problem minimises: the loss of a network on data, or any scalar function of a pytree."""

import abc
from collections.abc import Callable
from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Float, PyTree

from gfsim.problems.data import Dataset
from gfsim.problems.losses import AbstractLoss
from gfsim.problems.parameters import fill
from gfsim.types import Array, Inputs, Outputs, PerSample, Scalar, Targets, Theta


class AbstractObjective(eqx.Module):
    """𝓛: R^P → R with derivatives; `template` is the pytree whose slots θ fills."""

    template: eqx.AbstractVar[PyTree]

    @abc.abstractmethod
    def loss(self, theta: Theta) -> Scalar:
        """𝓛(θ)."""

    @abc.abstractmethod
    def log_loss(self, theta: Theta) -> Scalar:
        """log 𝓛(θ)."""

    @abc.abstractmethod
    def grad(self, theta: Theta) -> Theta:
        """∇𝓛(θ)."""

    @abc.abstractmethod
    def hvp(self, theta: Theta, v: Theta) -> Theta:
        """∇²𝓛(θ)·v."""


@final
class FunctionObjective(AbstractObjective):
    """𝓛(θ) = function(the template filled with θ)."""

    template: PyTree
    function: Callable[[PyTree], Scalar]

    def loss(self, theta: Theta) -> Scalar:
        """𝓛(θ)."""
        return self.function(fill(self.template, theta))

    def log_loss(self, theta: Theta) -> Scalar:
        """log 𝓛(θ); underflows with 𝓛, and −∞ where 𝓛 ≤ 0, which is below every bound."""
        return jnp.log(jnp.maximum(self.loss(theta), 0.0))

    def grad(self, theta: Theta) -> Theta:
        """∇𝓛(θ)."""
        return jax.grad(self.loss)(theta)

    def hvp(self, theta: Theta, v: Theta) -> Theta:
        """∇²𝓛(θ)·v, forward over reverse."""
        return jax.jvp(self.grad, (theta,), (v,))[1]


@final
class NetworkObjective(AbstractObjective):
    """𝓛(θ) = Σ_i ℓ(f(x_i; θ), y_i), times 1/n for the mean; the template is the network.

    With `batch` = k the samples are taken in chunks of k, in order, one chunk after the other; no more than
    one chunk's activations are alive at a time, under differentiation too.
    """

    template: PyTree
    data: Dataset
    criterion: AbstractLoss
    batch: int | None = eqx.field(static=True)

    def outputs(self, theta: Theta) -> Outputs:
        """f(x_i; θ) for every sample."""
        if self.batch is None:
            return self._chunk_outputs(theta, self.data.inputs)
        # Without the checkpoint, reverse mode through the scan would keep the activations of every chunk.
        chunk_outputs = jax.checkpoint(lambda th, inputs: self._chunk_outputs(th, inputs))
        chunks = _chunked(self.data.inputs, self.batch)
        _, outputs = jax.lax.scan(lambda _, inputs: (None, chunk_outputs(theta, inputs)), None, chunks)
        return outputs.reshape(-1, *outputs.shape[2:])[: self.data.n]

    def loss(self, theta: Theta) -> Scalar:
        """𝓛(θ)."""
        return self.criterion.reduce(self.criterion.values(self.outputs(theta), self.data.targets))

    def log_loss(self, theta: Theta) -> Scalar:
        """log 𝓛(θ), never through 𝓛 itself."""
        return self.criterion.log_reduce(self.criterion.log_values(self.outputs(theta), self.data.targets))

    def grad(self, theta: Theta) -> Theta:
        """∇𝓛(θ)."""
        if self.batch is None:
            return jax.grad(self.loss)(theta)
        return self._sum_over_chunks(self.batch, theta, jax.grad(self._chunk_loss))

    def hvp(self, theta: Theta, v: Theta) -> Theta:
        """∇²𝓛(θ)·v, forward over reverse."""
        if self.batch is None:
            return jax.jvp(self.grad, (theta,), (v,))[1]

        def chunk_hvp(th: Theta, *chunk: Array) -> Theta:
            return jax.jvp(lambda w: jax.grad(self._chunk_loss)(w, *chunk), (th,), (v,))[1]

        return self._sum_over_chunks(self.batch, theta, chunk_hvp)

    def _chunk_outputs(self, theta: Theta, inputs: Inputs) -> Outputs:
        return jax.vmap(fill(self.template, theta))(inputs)

    def _chunk_loss(self, theta: Theta, inputs: Inputs, targets: Targets, counts: PerSample) -> Scalar:
        return counts @ self.criterion.values(self._chunk_outputs(theta, inputs), targets)

    def _sum_over_chunks(self, batch: int, theta: Theta, term: Callable[..., Theta]) -> Theta:
        inputs, targets = _chunked(self.data.inputs, batch), _chunked(self.data.targets, batch)
        counts = (jnp.arange(inputs.shape[0] * batch) < self.data.n).astype(theta.dtype)

        def add(total: Theta, chunk: tuple[Array, Array, Array]) -> tuple[Theta, None]:
            return total + term(theta, *chunk), None

        total, _ = jax.lax.scan(add, jnp.zeros_like(theta), (inputs, targets, counts.reshape(-1, batch)))
        return self.criterion.scale(self.data.n) * total


def _chunked(rows: Float[Array, "n *rest"], batch: int) -> Float[Array, "chunks batch *rest"]:
    # Filled up with copies of the last sample, where everything is as finite as on the data themselves.
    padding = [(0, -rows.shape[0] % batch)] + [(0, 0)] * (rows.ndim - 1)
    return jnp.pad(rows, padding, mode="edge").reshape(-1, batch, *rows.shape[1:])
