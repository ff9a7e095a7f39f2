"""Whether only parameters with a large Λ_max-part separate the data."""

import functools
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gfsim.landscape.kkt import checked_exponents
from gfsim.problems.problem import Problem
from gfsim.types import Scalar, Theta

_STARTS, _ITERATIONS = 8, 300
# Draws at which outputs that are not nil somewhere are nil all the same only where units are dead: for one unit on one
# sample, one in two.
_DRAWS = 256


class ConditionalSeparability(NamedTuple):
    """Whether every separating θ needs the parameters with the largest exponent.

    - `holds`: False with a `witness`, a θ that has none of them and separates the data: the theory of the limit then
      does not apply. True where the network is nil without them. None where the search found no witness: not refuted,
      not proved.
    - `best`: the smallest margin of the best direction found without them (of unit norm), NaN where the network is nil.
    - `text`: the same in words.
    """

    holds: bool | None
    witness: Theta | None
    best: float
    text: str


def conditional_separability(problem: Problem, exponents: Theta, seed: int = 0) -> ConditionalSeparability:
    """Looks for a θ with θ_i = 0 wherever λ_i = λmax that separates the data, by descent on log 𝓛 from random starts.

    The condition is that some κ > 0 exists with ‖θ̂‖_{Λmax} ≥ κ for every separating θ, θ̂ = θ scaled to ‖θ̂‖_Λ = 1.

    Raises ValueError for exponents that are negative or of another shape, and a loss without classes.

    Source: Kunin, Yamamura, Ma & Ganguli, arXiv 2210.03820, the assumption of conditional separability.
    """
    own = checked_exponents(problem, exponents, "conditional_separability")
    free = own < own.max()
    starts = np.random.default_rng(seed).standard_normal((_DRAWS, problem.size)) * free
    outputs, losses = (np.asarray(x) for x in _outputs_and_losses(problem, jnp.asarray(starts)))
    if not np.any(outputs):
        return ConditionalSeparability(True, None, float("nan"), "the network is nil without the Λmax parameters")
    best = -np.inf
    # From a start with dead units nothing leads on.
    for start in starts[np.argsort(losses)[:_STARTS]]:
        # The descent of data that a start separates has no end.
        for find in (lambda x: x, functools.partial(_descended, problem, free)):
            theta = find(start)
            witness = jnp.asarray(theta / max(np.linalg.norm(theta), 1e-300))
            best = max(best, float(jnp.min(problem.margins(witness))))
            if best > 0:
                text = "fails: the data are separated without the Λmax parameters"
                return ConditionalSeparability(False, witness, best, text)
    return ConditionalSeparability(
        None, None, best, f"no separation found without the Λmax parameters in {_STARTS} starts"
    )


def _descended(problem: Problem, free: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Where descent on log 𝓛 of the `free` parameters ends, the others being zero."""
    from scipy.optimize import minimize  # heavy

    mask = jnp.asarray(free.astype(float))
    found = minimize(
        lambda x: tuple(np.asarray(v, float) for v in _value_and_slope(problem, mask, jnp.asarray(x))),
        start,
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": _ITERATIONS},
    )
    return found.x * free


@eqx.filter_jit
def _outputs_and_losses(
    problem: Problem, thetas: Float[Array, "draws P"]
) -> tuple[Float[Array, "draws ..."], Float[Array, " draws"]]:
    return jax.lax.map(lambda theta: (problem.outputs(theta), problem.log_loss(theta)), thetas)


@eqx.filter_jit
def _value_and_slope(problem: Problem, mask: Theta, x: Theta) -> tuple[Scalar, Theta]:
    return jax.value_and_grad(lambda th: problem.log_loss(mask * th))(x)
