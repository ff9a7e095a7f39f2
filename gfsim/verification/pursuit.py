"""Beyond the origin: neuron pursuit, and the flow from a small start that it imitates."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from gfsim.dynamics import GradientFlow
from gfsim.landscape.correlation import CorrelationPoint, correlation_kkt
from gfsim.problems import Dataset, Problem
from gfsim.problems.networks import TwoLayer
from gfsim.simulation import events, simulate
from gfsim.types import Theta

# How large the added neuron starts, and the gradient at which the network counts as fitted.
_ADDED, _FITTED = 1e-3, 1e-7


class Pursued(NamedTuple):
    """One round: the KKT point of the residual's correlation that was added, and θ and 𝓛 after fitting."""

    added: CorrelationPoint
    theta: Theta
    loss: float


def residual_problem(problem: Problem, theta: Theta) -> Problem:
    """One neuron on the residual y − f(x; θ) of a `TwoLayer` network: its correlation is that of every small neuron."""
    network = problem.network_at(theta)
    neuron = TwoLayer(network.in_size, 1, network.activation, key=jax.random.key(0))
    data = Dataset(problem.data.inputs, problem.data.targets - problem.outputs(theta))
    return Problem(neuron, data, problem.criterion)


def best_neuron(problem: Problem, theta: Theta, starts: int = 24, seed: int = 0) -> CorrelationPoint:
    """The KKT point of largest N found from random neurons (w, ±a) on the residual at θ.

    Raises ValueError where none has N > 0.
    """
    single = residual_problem(problem, theta)
    found = None
    for start in jnp.asarray(np.random.default_rng(seed).standard_normal((starts, single.size))):
        value = single.correlation(start)
        point = correlation_kkt(single, start if value > 0 else start.at[-1].multiply(-1.0))
        if point.refined and point.value > 0 and (found is None or point.value > found.value):
            found = point
    if found is None:
        raise ValueError(f"theta: no neuron correlates with its residual, from {starts} starts")
    return found


def pursue(problem: Problem, count: int, clock: float = 1e4, seed: int = 0) -> list[Pursued]:
    """Greedy training of a `TwoLayer` network: maximise the residual's correlation over one neuron, add it, minimise.

    Neurons that are not yet there have zero weights, which gradient flow leaves zero for activations of degree p ≥ 2.
    The minimisation is gradient flow from the added neuron at norm 1e-3 until ‖∇𝓛‖ = 1e-7 or `clock`.

    Source: arXiv 2509.12154.
    """
    theta, rounds = jnp.zeros(problem.size), []
    for k in range(count):
        added = best_neuron(problem, theta, seed=seed)
        network = problem.network_at(theta)
        w, a = network.w.at[k].set(_ADDED * added.direction[:-1]), network.a.at[k].set(_ADDED * added.direction[-1])
        start = flat(eqx.tree_at(lambda n: (n.w, n.a), network, (w, a)))
        # At the start the gradient is small as well.
        fitting = simulate(
            GradientFlow(problem), start, clock, until=events.loss_below(0.9 * float(problem.loss(theta)))
        )
        end = simulate(GradientFlow(problem), fitting.theta[-1], clock, until=events.gradient_below(_FITTED))
        theta = end.theta[-1]
        rounds.append(Pursued(added, theta, float(problem.loss(theta))))
    return rounds


def flat(network: TwoLayer) -> Theta:
    """θ of a two-layer network, in the order of `Problem.theta`."""
    return jnp.concatenate([jnp.ravel(network.w), network.a])


def neurons(problem: Problem, thetas: Float[np.ndarray, "times P"]) -> Float[np.ndarray, "times width d+1"]:
    """(w_k, a_k) of every neuron at every time."""
    width = problem.network_at(problem.theta).a.size
    w, a = np.split(np.asarray(thetas), [problem.size - width], axis=1)
    return np.concatenate([w.reshape(len(w), width, -1), a[:, :, None]], axis=2)
