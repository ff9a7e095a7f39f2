"""Quasi-homogeneity: f(x; e^{αΛ}θ) = e^α f(x; θ) with a diagonal Λ ⪰ 0 that need not be a multiple of the identity."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from gfsim.problems.networks.base import AbstractNetwork
from gfsim.problems.networks.feed_forward import FeedForward
from gfsim.types import Theta


def exponents(network: AbstractNetwork, shares: Sequence[float | int] | None = None) -> Theta:
    """The diagonal of Λ in the order of θ, with f(x; e^{αΛ}θ) = e^α f(x; θ) for every x and α.

    Λ is not unique. For a `FeedForward` network it follows from the exponents of the weight matrices: with σ of degree
    p, λ_{b_l} = λ_{W_l} + s_{l−1} is the exponent of the preactivations of layer l and s_l = p λ_{b_l} that of its
    activations, s_0 = 0, and the last layer has λ_{b_m} = 1. A layer that is normalised ignores the scale of its
    parameters, which get 0; a residual layer needs s_l = s_{l−1}, for p = 1 by λ_{W_l} = 0. `shares` gives the weight
    matrices' exponents up to a factor (one per layer, 0 where a layer is bound to 0); by default those that are free
    are equal. Every other homogeneous network of degree L has Λ = I/L, and a network with a method `exponents()` its
    own.

    Raises ValueError where the network is not quasi-homogeneous in this way (an activation without a degree, a
    residual layer of degree p ≥ 2), and for shares that are negative, of the wrong number, or not allowed.

    Source: Kunin, Yamamura, Ma & Ganguli, arXiv 2210.03820.
    """
    if not isinstance(network, FeedForward):
        if shares is not None:
            raise ValueError(f"shares needs a FeedForward network, was given for {type(network).__name__}")
        if hasattr(network, "exponents"):
            return network.exponents()  # pyright: ignore[reportAttributeAccessIssue]
        degree = getattr(network, "degree", None)
        if degree is None:
            raise ValueError(f"network must be quasi-homogeneous, {type(network).__name__} has no degree")
        return jnp.full(sum(x.size for x in jax.tree.leaves(network) if hasattr(x, "size")), 1.0 / degree)
    weights, biases = _layers(network, shares)
    pieces = [jnp.full(w.size, own) for w, own in zip(network.weights, weights, strict=True)]
    if network.biases is not None:
        pieces += [jnp.full(b.size, own) for b, own in zip(network.biases, biases, strict=True)]
    return jnp.concatenate(pieces)


def _layers(network: FeedForward, shares: Sequence[float | int] | None) -> tuple[list[float], list[float]]:
    """λ of every weight matrix and of every bias."""
    m = len(network.weights)
    p = getattr(network.activation, "degree", None)
    if p is None and m > 1:
        raise ValueError(f"network must be quasi-homogeneous, {type(network.activation).__name__} has no degree")
    skips = [network.skips(l) for l in range(m)]
    bound = [l < m - 1 and (network.normalise or skips[l]) for l in range(m)]
    if any(skips) and p != 1 and not network.normalise:
        raise ValueError(f"network must be quasi-homogeneous, a residual layer of degree {p} is not")
    if shares is None:
        shares = [0.0 if b else 1.0 for b in bound]
    own = np.asarray(shares, float)
    if own.shape != (m,) or np.any(own < 0) or not np.all(np.isfinite(own)) or own.sum() == 0:
        raise ValueError(f"shares must be {m} numbers ≥ 0, not all of them zero, was {shares}")
    if any(own[l] != 0 for l in range(m) if bound[l]):
        raise ValueError(
            f"shares must be 0 for the normalised and residual layers {np.flatnonzero(bound)}, was {shares}"
        )
    before, inner = 0.0, []
    for l in range(m):
        inner.append(own[l] + before)
        before = 0.0 if network.normalise else before if skips[l] else (p or 1) * inner[l]
    scale = inner[-1]
    if scale == 0:
        raise ValueError(f"shares must give the output a positive exponent, was {shares}")
    return [float(x / scale) for x in own], [float(x / scale) for x in inner]
