"""Embeddings of narrow networks into wide ones under which trajectories of gradient flow stay the same."""

import math
from collections.abc import Sequence
from typing import NamedTuple, final

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from gfsim.checks import positive_integer
from gfsim.landscape.copies import (
    Copies,
    CopyMap,
    Layered,
    activation_degree,
    copy_one,
    index,
    require_homogeneous,
    require_layered,
    widen,
    widths,
)
from gfsim.problems import Problem
from gfsim.problems.networks import AbstractNetwork
from gfsim.types import Array, Scalar, Theta

Coefficients = Sequence[float] | Float[Array | np.ndarray, "copies"]

# How far the squares of the coefficients may be from summing to one.
_TOLERANCE = 1e-12


class Violation(NamedTuple):
    """By how much each promise of a `Split` fails at one θ, relative to the size of what is promised."""

    isometry: float
    output: float
    gradient: float


@final
class Split(eqx.Module):
    """A wide network, and the linear map T that takes a narrow θ ∈ R^P to a wide η = Tθ ∈ R^Q, with its clock τ.

    With 𝓛 and 𝓛̃ the losses of narrow and wide network on the same data, for every θ, every loss of the outputs and,
    at a kink of the activation, for the derivative that JAX takes there (of all subgradients T∂f ⊆ ∂f̃):

        f̃(x; Tθ) = f(x; θ),   ∇𝓛̃(Tθ) = τT∇𝓛(θ),   ‖Tθ‖² = ‖θ‖²/τ.

    Hence gradient flow from Tθ(0) is η(t) = Tθ(τt); gradient descent with step s on the wide network is gradient
    descent with step τs on the narrow one; critical points stay critical; and a KKT point of min ½‖θ‖² subject to
    q_i ≥ 1 with multipliers λ_i becomes one with multipliers λ_i/τ.

    `network` is the wide one at Tθ, θ being the narrow network's own parameters. Vectors are in the order of
    `Problem.theta`, all floating-point arrays trainable. `lift(theta)` is Tθ; `lift`, `project` and `distance` cost
    O(Q), may be traced and mapped, and raise ValueError for a wrong shape.

    Source: Zhang, Luo & Zhang, arXiv 2505.12419, Thms 4.8 and 5.2 (τ = 1); τ ≠ 1 is derived.
    """

    network: Layered
    lift: CopyMap
    tau: float = eqx.field(static=True)

    def project(self, eta: Float[Array, "Q"]) -> Theta:
        """T⁺η = τTᵀη, the θ for which Tθ is nearest to η, so that T⁺Tθ = θ."""
        return self.lift.project(eta)

    def distance(self, eta: Float[Array, "Q"]) -> Scalar:
        """‖η − TT⁺η‖, how far η is from the image of T."""
        return self.lift.distance(eta)

    def wide_problem(self, problem: Problem) -> Problem:
        """The wide network on the data, with loss and batch of `problem`, which is the narrow network's."""
        return Problem(self.network, problem.data, problem.criterion, getattr(problem.objective, "batch", None))

    def violation(self, problem: Problem, theta: Theta) -> Violation:
        """What is left of ‖Tθ‖² = ‖θ‖²/τ, f̃(x_i; Tθ) = f(x_i; θ) and ∇𝓛̃(Tθ) = τT∇𝓛(θ) at θ: rounding, or after
        `force` the failure.

        Each is the norm of the difference over that of the promised value. `problem` is the narrow network's.
        Raises ValueError for a problem or a θ of another size.
        """
        if problem.size != self.lift.size:
            raise ValueError(f"problem must have {self.lift.size} parameters, had {problem.size}")
        wide, eta = self.wide_problem(problem), self.lift(theta)
        squares = jnp.vdot(eta, eta), jnp.vdot(theta, theta) / self.tau
        outputs = wide.outputs(eta), problem.outputs(theta)
        gradients = wide.grad(eta), self.tau * self.lift(problem.grad(theta))
        return Violation(*(_distance(*pair) for pair in (squares, outputs, gradients)))

    def then(self, other: "Split") -> "Split":
        """This split followed by a split of its network: maps are composed, clocks multiplied.

        Raises ValueError if `other` starts from another number of parameters.
        """
        return Split(other.network, self.lift.then(other.lift), self.tau * other.tau)


def split_neuron(
    network: AbstractNetwork, layer: int, neuron: int, coefficients: Coefficients, force: bool = False
) -> Split:
    """One hidden neuron, or channel, as copies of itself: incoming row ↦ c_i·row, outgoing column ↦ c_i·column.

    For activations of degree p = 1, c_i ≥ 0 and Σ c_i² = 1; then τ = 1, and T is an isometry as exactly as Σ c_i² is 1.
    `layer` and `neuron` count from 0, `layer` 0 being the first hidden layer; the copies take the neuron's place, in
    the order of `coefficients`.

    `force` drops the conditions on p and on Σ c_i²; what `Split` promises then fails, by as much as `violation` says,
    except that `project` stays the least-squares inverse T⁺.

    Biases and normalised layers are refused as outside the source's definition, not as counterexamples. Skips are:
    a split changes the equal widths that a skip needs.

    Raises TypeError or ValueError for a network of another kind, with biases, skips or normalised layers, or with an
    activation of another degree; for a layer or neuron that is not there; for coefficients that are not as above.

    Source: Zhang, Luo & Zhang, arXiv 2505.12419, Def. 4.6.
    """
    narrow = require_layered(network)
    require_homogeneous(narrow)
    degree = activation_degree(narrow)
    if degree != 1 and not force:
        had = "none" if degree is None else f"degree {degree}"
        remedy = "embed_neuron takes any activation" if degree is None else "kronecker_split takes every degree"
        reason = "its copies would not move on the other neurons' clock"
        raise ValueError(
            f"network: to split one neuron its activation must have degree 1, or {reason} ({remedy}; force=True and "
            f".violation measure the failure), had {had}"
        )
    layer = index("layer", layer, len(widths(narrow)))
    width = widths(narrow)[layer]
    neuron = index("neuron", neuron, width)
    c = _coefficients(coefficients, force)
    wide, lift = widen(narrow, {layer: copy_one(width, neuron, c, c)})
    return Split(wide, lift, 1.0)


def kronecker_split(network: AbstractNetwork, copies: Sequence[int]) -> Split:
    """Every unit of hidden layer l as k_l equal copies: W_l ↦ c_l (W_l ⊗ 1_{k_l × k_{l−1}}), l = 1 … m, k_0 = k_m = 1.

    For activations of any degree p. With c_l = (τ k_l k_{l−1})^{−1/2} all blocks of T have norm τ^{−1/2}, and the
    output is preserved if Π_l (c_l k_{l−1})^{p^{m−l}} = 1, that is

        τ = Π_{l<m} k_l^{−(p−1) p^{m−1−l}/L},   L = Σ_{k<m} p^k.

    τ = 1 for p = 1, below 1 for p > 1: the wide network is slower. Two layers: c_1 = c_2 = k^{−1/(p+1)}.
    `copies` holds k_1 … k_{m−1}; the copies of a unit are neighbours.

    Raises TypeError or ValueError for a network of another kind, with biases, skips or normalised layers, or whose
    activation has no degree, and for copies that are not one positive integer per hidden layer.

    Source: derived; for p = 1 a composition of the splits of arXiv 2505.12419, Def. 4.6.
    """
    narrow = require_layered(network)
    require_homogeneous(narrow)
    p = activation_degree(narrow)
    if p is None:
        raise ValueError("network: its activation must have a degree (embed_neuron takes any activation), had none")
    units = widths(narrow)
    k = _copies(copies, len(units))
    degree = sum(p**j for j in range(len(k) + 1))
    tau = math.prod(k_l ** ((1 - p) * p ** (len(k) - 1 - l) / degree) for l, k_l in enumerate(k))
    # c_l is a factor of the weights into layer l; the readout's is the factor out of the last hidden layer.
    c = [1.0 / math.sqrt(tau * into * out_of) for into, out_of in zip([*k, 1], [1, *k], strict=True)]
    outgoing = [1.0] * (len(k) - 1) + [c[-1]]
    layer_copies = {
        l: Copies(np.repeat(np.arange(n), k[l]), np.full(n * k[l], c[l]), np.full(n * k[l], outgoing[l]))
        for l, n in enumerate(units)
    }
    wide, lift = widen(narrow, layer_copies)
    return Split(wide, lift, tau)


def _distance(actual: Array, promised: Array) -> float:
    return float(jnp.linalg.norm(actual - promised) / jnp.linalg.norm(promised))


def _coefficients(coefficients: Coefficients, force: bool) -> Float[np.ndarray, "copies"]:
    c = np.asarray(coefficients, float)
    if c.ndim != 1 or c.size == 0:
        raise ValueError(f"coefficients must be a list of one or more numbers, had shape {c.shape}")
    if not (np.isfinite(c) & (c >= 0.0)).all():
        raise ValueError(f"coefficients must be finite and not negative, were {c.tolist()}")
    total = float(c @ c)
    if total == 0.0 or (abs(total - 1.0) > _TOLERANCE and not force):
        raise ValueError(f"coefficients: their squares must sum to 1 within {_TOLERANCE:g}, summed to {total!r}")
    return c


def _copies(copies: Sequence[int], hidden: int) -> list[int]:
    if not isinstance(copies, Sequence) or isinstance(copies, str):
        raise TypeError(f"copies must hold one positive integer per hidden layer ({hidden}), was {copies!r}")
    if len(copies) != hidden:
        raise ValueError(f"copies must hold one positive integer per hidden layer ({hidden}), held {len(copies)}")
    return [positive_integer(f"copies[{l}]", count) for l, count in enumerate(copies)]
