"""The problem: a loss to be minimised over a flat vector of parameters."""

from collections.abc import Callable
from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Float, PyTree

from gfsim.checks import positive_integer
from gfsim.problems.checks import float64_vector, require_x64, tracing
from gfsim.problems.data import Dataset
from gfsim.problems.losses import AbstractLoss
from gfsim.problems.objectives import AbstractObjective, FunctionObjective, NetworkObjective
from gfsim.problems.parameters import Trainable, fill, flatten, has_frozen
from gfsim.types import Array, HessianMatrix, Outputs, PerSample, Scalar, Theta

# Bounds the memory of a Hessian to this many gradients at once.
_HESSIAN_COLUMNS = 64


@final
class Problem(eqx.Module):
    """𝓛(θ) = Σ_i ℓ(f(x_i; θ), y_i), times 1/n for the mean, over θ ∈ R^P in float64.

    θ is the concatenation of the network's trainable arrays, in the order of its fields, each in row-major
    order; `problem.theta` holds the network's own values.

    `network`: a gfsim network, or any Equinox model of one input (d,) with an output () or (K,).
    `batch`: take the samples in chunks of this many instead of all at once: the same full-batch quantities to
    rounding, in fixed order, with the memory of one chunk.
    `trainable`: an Equinox filter, a function of a leaf or a pytree of booleans, that selects what θ holds;
    by default every floating-point array.

    A problem may be an argument of compiled functions: only the structure of network and loss and the shape
    of the data are static, so that a problem with other data or parameters does not compile again.

    Raises ValueError if JAX is not set to float64, if the labels or the outputs do not fit the loss, if the
    network does not take the inputs, or if nothing is trainable; TypeError for an argument of another kind.
    """

    theta: Theta
    objective: AbstractObjective

    def __init__(
        self,
        network: PyTree,
        data: Dataset,
        loss: AbstractLoss,
        batch: int | None = None,
        trainable: Trainable | None = None,
    ):
        require_x64()
        if not callable(network):
            raise TypeError(f"network must be a network, an Equinox model of one input, was {network!r}")
        if not isinstance(data, Dataset):
            raise TypeError(f"data must be a gf.Dataset, was {type(data).__name__}")
        if not isinstance(loss, AbstractLoss):
            raise TypeError(f"loss must be one of gf.losses, such as Logistic(), was {loss!r}")
        if batch is not None:
            batch = min(positive_integer("batch", batch), data.n)
        trainable = eqx.is_inexact_array if trainable is None else trainable
        self.theta, template = flatten("network", network, trainable)
        loss.check(data.targets, _output_shape(template, self.theta, data))
        self.objective = NetworkObjective(template, data, loss, None if batch == data.n else batch)

    @classmethod
    def from_loss(cls, fn: Callable[[PyTree], Scalar], params: PyTree) -> "Problem":
        """The problem of minimising `fn(params)`, a float64 scalar, over the floats of the pytree `params`.

        Floats and arrays of lower precision become float64; leaves that are no numbers (functions, flags)
        stay as they are. Pass the same `fn` object again to reuse its compilation. `log_loss` is log(loss),
        which underflows with it; what needs data or a network raises ValueError.

        Raises ValueError if JAX is not set to float64, if a parameter is NaN or infinite, or if `fn` fails or does not
        return shape (); TypeError if it does not return float64, if a leaf is an integer or complex, or if `fn` cannot
        be called.
        """
        require_x64()
        theta, template = flatten("params", params, _is_number)
        with tracing("fn", fn, "a function of params"):
            value = eqx.filter_eval_shape(fn, fill(template, theta))
        if getattr(value, "shape", None) != ():
            raise ValueError(f"fn must return one scalar of shape (), returned {_describe(value)}")
        if value.dtype != jnp.float64:
            raise TypeError(f"fn must return a float64 scalar, returned {value.dtype}")
        # __init__ takes a network; this is the other way to the same two fields.
        problem = object.__new__(cls)
        object.__setattr__(problem, "theta", theta)
        object.__setattr__(problem, "objective", FunctionObjective(template, fn))
        return problem

    @property
    def size(self) -> int:
        """P."""
        return self.theta.shape[-1]

    @property
    def data(self) -> Dataset:
        """The data set. Raises ValueError for a problem from a function."""
        return self._network_objective("data").data

    @property
    def criterion(self) -> AbstractLoss:
        """The loss object. Raises ValueError for a problem from a function."""
        return self._network_objective("criterion").criterion

    @property
    def degree(self) -> int | None:
        """L with f(x; cθ) = c^L f(x; θ) for c ≥ 0.

        None where the network declares none or has frozen parameters, and for a problem from a function.
        """
        return getattr(self.network_at(self.theta), "degree", None) if self._is_whole_network() else None

    def network_at(self, theta: Theta) -> PyTree:
        """The network with parameters θ; for a problem from a function, its params."""
        return fill(self.objective.template, self._checked("theta", theta))

    @eqx.filter_jit
    def loss(self, theta: Theta) -> Scalar:
        """𝓛(θ)."""
        return self.objective.loss(self._checked("theta", theta))

    @eqx.filter_jit
    def log_loss(self, theta: Theta) -> Scalar:
        """log 𝓛(θ), finite with its derivatives where 𝓛 itself underflows; from a function, log(loss), −∞ for 𝓛 ≤ 0."""
        return self.objective.log_loss(self._checked("theta", theta))

    @eqx.filter_jit
    def grad(self, theta: Theta) -> Theta:
        """∇𝓛(θ)."""
        return self.objective.grad(self._checked("theta", theta))

    @eqx.filter_jit
    def hvp(self, theta: Theta, v: Theta) -> Theta:
        """∇²𝓛(θ)·v."""
        return self.objective.hvp(self._checked("theta", theta), self._checked("v", v))

    @eqx.filter_jit
    def hessian(self, theta: Theta) -> HessianMatrix:
        """∇²𝓛(θ), exactly symmetric."""
        theta = self._checked("theta", theta)
        basis = jnp.eye(self.size)
        columns = jax.lax.map(lambda v: self.objective.hvp(theta, v), basis, batch_size=_HESSIAN_COLUMNS)
        return 0.5 * (columns + columns.T)

    @eqx.filter_jit
    def outputs(self, theta: Theta) -> Outputs:
        """f(x_i; θ), shape (n,) or (n, K). Raises ValueError for a problem from a function."""
        return self._network_objective("outputs").outputs(self._checked("theta", theta))

    @eqx.filter_jit
    def margins(self, theta: Theta) -> PerSample:
        """y_i f(x_i; θ), or f_{y_i} − max_{j≠y_i} f_j for K classes.

        Raises ValueError for the square loss and for a problem from a function.
        """
        objective = self._network_objective("margins")
        outputs = objective.outputs(self._checked("theta", theta))
        return objective.criterion.margins(outputs, objective.data.targets)

    @eqx.filter_jit
    def correlation(self, theta: Theta) -> Scalar:
        """The neural correlation function N(θ) = Σ_i ⟨z_i, f(x_i; θ)⟩ with z = −∂𝓛/∂f at f = 0.

        Raises ValueError for a problem from a function. Source: Kumar & Haupt, arXiv 2403.08121.
        """
        objective = self._network_objective("correlation")
        outputs = objective.outputs(self._checked("theta", theta))
        pull = objective.criterion.pull(jnp.zeros_like(outputs), objective.data.targets)
        return jnp.vdot(pull, outputs)

    def balancedness(self, theta: Theta) -> Float[Array, "invariants"] | None:
        """The network's conserved quantities at θ.

        None where the network declares none or has frozen parameters, and for a problem from a function.
        """
        network = self.network_at(theta)
        if not self._is_whole_network() or not hasattr(network, "balancedness"):
            return None
        return network.balancedness()

    def _is_whole_network(self) -> bool:
        return isinstance(self.objective, NetworkObjective) and not has_frozen(self.objective.template)

    def _network_objective(self, wanted: str) -> NetworkObjective:
        if not isinstance(self.objective, NetworkObjective):
            raise ValueError(f"{wanted} needs Problem(network, data, loss), problem was Problem.from_loss(…)")
        return self.objective

    def _checked(self, name: str, theta: Theta) -> Theta:
        return float64_vector(name, theta, self.size)


def checked_problem(problem: object) -> Problem:
    """`problem`, where it is one. Raises TypeError."""
    if not isinstance(problem, Problem):
        raise TypeError(f"problem must be a gf.Problem, was {type(problem).__name__}")
    return problem


def checked_theta(problem: object, theta: Theta) -> Theta:
    """`theta`, where it is a float64 array of shape (P,) of a `problem` that is one. Raises TypeError."""
    return checked_problem(problem)._checked("theta", theta)


def _output_shape(template: PyTree, theta: Theta, data: Dataset) -> tuple[int, ...]:
    try:
        output = eqx.filter_eval_shape(lambda theta, inputs: fill(template, theta)(inputs[0]), theta, data.inputs)
    except (TypeError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"network must take inputs of shape ({data.d},), did not: {reason}") from error
    shape = getattr(output, "shape", None)
    if shape is None or len(shape) > 1:
        raise ValueError(f"network must return shape () or (K,) for one input, returned {_describe(output)}")
    if output.dtype != jnp.float64:
        raise TypeError(f"network must return float64 for a float64 input, returned {output.dtype}")
    return shape


def _is_number(leaf: object) -> bool:
    dtype = getattr(leaf, "dtype", None)
    if dtype is None:
        return isinstance(leaf, int | float | complex) and not isinstance(leaf, bool)
    return jnp.issubdtype(dtype, jnp.number)


def _describe(value: PyTree) -> str:
    shape = getattr(value, "shape", None)
    return type(value).__name__ if shape is None else f"shape {shape}"
