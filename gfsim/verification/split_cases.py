"""Narrow networks of every kind, each with a split of it."""

import math
from collections.abc import Callable, Sequence

import jax.numpy as jnp

from gfsim.landscape import Split, kronecker_split, split_neuron
from gfsim.landscape.copies import Layered
from gfsim.problems import Dataset, Problem
from gfsim.problems.losses import AbstractLoss
from gfsim.problems.networks import Convolutional, DeepLinear, FeedForward, ReLUPower, TwoLayer
from gfsim.types import Key
from gfsim.verification.shadow import Shadow

UNEQUAL, THREE, EQUAL = (0.6, 0.8), (0.3, 0.5, math.sqrt(0.66)), (math.sqrt(0.5), math.sqrt(0.5))
# The leak of the published experiment, and of the others.
SMALL_LEAK, LEAK = 0.01, 0.5

MakesSplit = Callable[[Layered], Split]


def _one(layer: int, neuron: int, coefficients: Sequence[float]) -> MakesSplit:
    return lambda network: split_neuron(network, layer, neuron, coefficients)


def _all(*copies: int) -> MakesSplit:
    return lambda network: kronecker_split(network, copies)


def _two(width: int, p: int, slope: float = LEAK) -> Callable[[Key], Layered]:
    return lambda key: TwoLayer(2, width, ReLUPower(p, slope), key=key)


def _deep(p: int, *sizes: int, slope: float = LEAK) -> Callable[[Key], Layered]:
    return lambda key: FeedForward(sizes, ReLUPower(p, slope), key=key)


def _channels(p: int) -> Callable[[Key], Layered]:
    return lambda key: Convolutional(8, (2, 3), ReLUPower(p, LEAK), key=key)


# The network of a key; then splits, each of the network before it.
KINDS: dict[str, tuple[Callable[[Key], Layered], tuple[MakesSplit, ...]]] = {
    "p = 1": (_two(3, 1), (_one(0, 1, THREE),)),
    "three layers": (_deep(1, 2, 3, 2, 1), (_one(0, 1, UNEQUAL), _one(1, 0, THREE))),
    "p = 2": (_two(4, 2), (_all(3),)),
    "p = 3": (_two(3, 3), (_all(2),)),
    "published": (_deep(1, 2, 1, 1, slope=SMALL_LEAK), (_one(0, 0, EQUAL),)),
    "one neuron": (_two(1, 1, SMALL_LEAK), (_one(0, 0, UNEQUAL),)),
    "split of a split": (_two(1, 1, SMALL_LEAK), (_one(0, 0, UNEQUAL), _one(0, 1, UNEQUAL))),
    "three layers, p = 2": (_deep(2, 2, 3, 2, 1), (_all(2, 3),)),
    "deep linear": (lambda key: DeepLinear((2, 3, 2, 1), key=key), (_one(1, 1, THREE),)),
    "channels": (_channels(1), (_one(0, 1, UNEQUAL), _one(1, 2, THREE))),
    "channels, p = 2": (_channels(2), (_all(2, 2),)),
}


def shadow(kind: str, data: Dataset, loss: AbstractLoss, key: Key) -> Shadow:
    """One of `KINDS` on data with two inputs, or 64 for channels; the narrow network's largest output is 1."""
    make, (first, *others) = KINDS[kind]
    problem = Problem(make(key), data, loss)
    assert problem.degree is not None
    theta = problem.theta / jnp.max(jnp.abs(problem.outputs(problem.theta))) ** (1 / problem.degree)
    network = problem.network_at(theta)
    split = first(network)
    for other in others:
        split = split.then(other(split.network))
    return Shadow(Problem(network, data, loss), split)
