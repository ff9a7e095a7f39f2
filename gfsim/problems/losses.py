"""Losses ℓ(f, y) of the outputs f of a network, also in the log domain, where they never underflow.

Every loss acts on all samples at once: outputs (n,) or (n, K), targets (n,) or (n, K), values (n,).
"""

import abc
import math
from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from gfsim.placement import on_host
from gfsim.types import Array, Outputs, PerSample, Scalar, Targets

_REDUCTIONS = ("mean", "sum")

# Taylor coefficients of log(log(1 + x)/x) from x¹ on. Its derivative is 1/((1 + x) log(1 + x)) − 1/x, the
# generating function of the Adams–Bashforth coefficients with alternating signs.
_LOG_OF_LOG1P_OVER_X = (
    -1 / 2,
    5 / 24,
    -1 / 8,
    251 / 2880,
    -19 / 288,
    19087 / 362880,
    -751 / 17280,
    1070017 / 29030400,
)


class AbstractLoss(eqx.Module):
    """𝓛 = Σ_i ℓ(f_i, y_i), divided by n if `reduction` is "mean".

    Raises ValueError if `reduction` is neither "mean" nor "sum".
    """

    reduction: eqx.AbstractVar[str]

    def __check_init__(self):
        if self.reduction not in _REDUCTIONS:
            raise ValueError(f'reduction must be "mean" or "sum", was {self.reduction!r}')

    @abc.abstractmethod
    def values(self, outputs: Outputs, targets: Targets) -> PerSample:
        """ℓ(f_i, y_i)."""

    @abc.abstractmethod
    def log_values(self, outputs: Outputs, targets: Targets) -> PerSample:
        """log ℓ(f_i, y_i), with its derivatives, also where ℓ itself is below the smallest float64."""

    @abc.abstractmethod
    def margins(self, outputs: Outputs, targets: Targets) -> PerSample:
        """y_i f_i for labels ±1; f_{y_i} − max_{j≠y_i} f_j for K classes.

        Raises ValueError for a loss without classes.
        """

    @abc.abstractmethod
    def check(self, targets: Targets, output_shape: tuple[int, ...]) -> None:
        """Raises ValueError unless `targets` fit this loss and one sample's output of `output_shape`."""

    def scale(self, n: int) -> float:
        """The factor of Σ_i ℓ_i in 𝓛: 1/n or 1."""
        return 1.0 / n if self.reduction == "mean" else 1.0

    def reduce(self, values: PerSample) -> Scalar:
        """𝓛 from ℓ_i."""
        return self.scale(values.shape[0]) * jnp.sum(values)

    def log_reduce(self, log_values: PerSample) -> Scalar:
        """log 𝓛 from log ℓ_i."""
        return jax.nn.logsumexp(log_values) + math.log(self.scale(log_values.shape[0]))

    def pull(self, outputs: Outputs, targets: Targets) -> Outputs:
        """z = −∂𝓛/∂f at `outputs`, in their shape.

        At outputs 0 these are the coefficients of the neural correlation function N(u) = Σ_i z_i·H(x_i; u):
        z_i = y_i (Square), y_i/2 (Logistic), y_i (Exponential), e_{y_i} − 1/K (CrossEntropy), each divided by
        n for the mean.
        """
        return -jax.grad(lambda f: self.reduce(self.values(f, targets)))(outputs)


@final
class Square(AbstractLoss):
    """ℓ = ½‖f − y‖² over the outputs of a sample; targets have the shape of the outputs."""

    reduction: str = eqx.field(static=True, default="mean")

    def values(self, outputs: Outputs, targets: Targets) -> PerSample:
        """½‖f_i − y_i‖²."""
        return 0.5 * jnp.sum(_rows(outputs - targets) ** 2, axis=1)

    def log_values(self, outputs: Outputs, targets: Targets) -> PerSample:
        """log(½‖f_i − y_i‖²); −∞ with zero derivative where f_i = y_i."""
        residuals = _rows(outputs - targets)
        # The scale is there for residuals below 1e-154, whose squares underflow; it cancels between the two
        # logarithms and so is a constant to differentiation. Zero residuals must reach no logarithm at all.
        largest = jax.lax.stop_gradient(jnp.max(jnp.abs(residuals), axis=1))
        fits = largest == 0.0
        scale = jnp.where(fits, 1.0, largest)
        squared = jnp.where(fits, 1.0, jnp.sum((residuals / scale[:, None]) ** 2, axis=1))
        return jnp.where(fits, -jnp.inf, jnp.log(squared) + 2.0 * jnp.log(scale) - math.log(2.0))

    def margins(self, outputs: Outputs, targets: Targets) -> PerSample:
        """Raises ValueError: targets are values, not classes."""
        raise ValueError("margins: need a loss with classes, Logistic, Exponential or CrossEntropy, was Square")

    def check(self, targets: Targets, output_shape: tuple[int, ...]) -> None:
        """Raises ValueError unless a sample's target has the shape of its output."""
        if targets.shape[1:] != output_shape:
            needed = (targets.shape[0], *output_shape)
            raise ValueError(
                f"targets: Square needs one per output of the network, shape {needed}, was {targets.shape}"
                f"{_scalar_hint(output_shape)}"
            )


@final
class Logistic(AbstractLoss):
    """ℓ = log(1 + e^{−q}), q = y·f, labels y = ±1, one scalar output."""

    reduction: str = eqx.field(static=True, default="mean")

    def values(self, outputs: Outputs, targets: Targets) -> PerSample:
        """log(1 + e^{−q_i})."""
        return jax.nn.softplus(-self.margins(outputs, targets))

    def log_values(self, outputs: Outputs, targets: Targets) -> PerSample:
        """log log(1 + e^{−q_i})."""
        return log_softplus_minus(self.margins(outputs, targets))

    def margins(self, outputs: Outputs, targets: Targets) -> PerSample:
        """q_i = y_i·f_i."""
        return targets * outputs

    def check(self, targets: Targets, output_shape: tuple[int, ...]) -> None:
        """Raises ValueError unless the output is a scalar and every label is −1 or +1."""
        _check_signs("Logistic", targets, output_shape)


@final
class Exponential(AbstractLoss):
    """ℓ = e^{−q}, q = y·f, labels y = ±1, one scalar output."""

    reduction: str = eqx.field(static=True, default="mean")

    def values(self, outputs: Outputs, targets: Targets) -> PerSample:
        """e^{−q_i}."""
        return jnp.exp(-self.margins(outputs, targets))

    def log_values(self, outputs: Outputs, targets: Targets) -> PerSample:
        """−q_i."""
        return -self.margins(outputs, targets)

    def margins(self, outputs: Outputs, targets: Targets) -> PerSample:
        """q_i = y_i·f_i."""
        return targets * outputs

    def check(self, targets: Targets, output_shape: tuple[int, ...]) -> None:
        """Raises ValueError unless the output is a scalar and every label is −1 or +1."""
        _check_signs("Exponential", targets, output_shape)


@final
class CrossEntropy(AbstractLoss):
    """ℓ = −log softmax(f)_y = log(1 + e^{−q}) with q = −log Σ_{j≠y} e^{f_j − f_y}, K ≥ 2 outputs.

    Labels y = 0 … K−1 are integers held in float64, as every target is.
    """

    reduction: str = eqx.field(static=True, default="mean")

    def values(self, outputs: Outputs, targets: Targets) -> PerSample:
        """log(1 + e^{−q_i})."""
        return jax.nn.softplus(jax.nn.logsumexp(_class_differences(outputs, targets), axis=1))

    def log_values(self, outputs: Outputs, targets: Targets) -> PerSample:
        """log log(1 + e^{−q_i})."""
        return log_softplus_minus(-jax.nn.logsumexp(_class_differences(outputs, targets), axis=1))

    def margins(self, outputs: Outputs, targets: Targets) -> PerSample:
        """f_{y_i} − max_{j≠y_i} f_j."""
        return -jnp.max(_class_differences(outputs, targets), axis=1)

    def check(self, targets: Targets, output_shape: tuple[int, ...]) -> None:
        """Raises ValueError unless there are K ≥ 2 outputs and every label is one of 0 … K−1."""
        if len(output_shape) != 1 or output_shape[0] < 2:
            raise ValueError(f"network: CrossEntropy needs two or more outputs, output shape was {output_shape}")
        classes = output_shape[0]
        _check_labels("CrossEntropy", f"the integers 0 … {classes - 1}", targets, np.arange(classes))


def log_softplus_minus(q: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """log log(1 + e^{−q}) for |q| up to 1e9 and beyond, with its derivatives.

    With x = e^{−q}: −q + log(log(1 + x)/x), where the second term is taken from its Taylor series for q > 5
    (relative remainder below 1e-18), so that neither it nor its derivatives cancel or underflow.
    """
    far = q > 5.0
    near_value = jnp.log(jax.nn.softplus(-jnp.where(far, 5.0, q)))
    x = jnp.exp(-jnp.where(far, q, 5.0))
    series = jnp.zeros_like(x)
    for coefficient in reversed(_LOG_OF_LOG1P_OVER_X):
        series = (series + coefficient) * x
    return jnp.where(far, series - q, near_value)


def _rows(residuals: Outputs) -> Float[Array, "n _"]:
    return residuals.reshape(residuals.shape[0], -1)


def _class_differences(outputs: Float[Array, "n K"], targets: PerSample) -> Float[Array, "n K"]:
    # f_j − f_y, and −∞ at j = y, which drops out of every maximum and sum of exponentials.
    is_label = jnp.arange(outputs.shape[1], dtype=targets.dtype)[None, :] == targets[:, None]
    labelled = jnp.sum(jnp.where(is_label, outputs, 0.0), axis=1)
    return jnp.where(is_label, -jnp.inf, outputs - labelled[:, None])


def _check_signs(loss: str, targets: Targets, output_shape: tuple[int, ...]) -> None:
    if output_shape != ():
        hint = _scalar_hint(output_shape)
        raise ValueError(f"network: {loss} needs a scalar output, output shape was {output_shape}{hint}")
    _check_labels(loss, "−1 and +1", targets, np.array([-1.0, 1.0]))


def _check_labels(loss: str, expected: str, targets: Targets, allowed: np.ndarray) -> None:
    if targets.ndim != 1:
        raise ValueError(f"targets: {loss} needs one label per sample, shape (n,), was {targets.shape}")
    labels = np.unique(on_host(targets))
    if not np.isin(labels, allowed).all():
        shown = ", ".join(f"{label:g}" for label in labels[:6]) + (", …" if labels.size > 6 else "")
        raise ValueError(f"targets: {loss} needs labels {expected}, labels were {shown}")


def _scalar_hint(output_shape: tuple[int, ...]) -> str:
    return ' (for a scalar output of an Equinox model, out_size="scalar")' if output_shape == (1,) else ""
