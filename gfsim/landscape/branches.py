"""The branches of critical points of a two-layer network: critical embedding, critical reduction, strata.

f(x) = Σ_k a_k σ(w_k·x). Source of the structure: arXiv 2405.17501; dimensions are derived.
"""

from collections.abc import Sequence
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from gfsim.problems.networks import AbstractNetwork, TwoLayer
from gfsim.types import Array

Shares = Sequence[Sequence[float]]
Dead = Sequence[Sequence[float]] | Float[np.ndarray | Array, "l d"]

# How far the shares of a neuron may be from summing to one.
_TOLERANCE = 1e-12
_PROBES = np.array([0.0, 0.1, 0.7, 1.3, 2.9, -0.1, -0.7, -1.3, -2.9])


class Stratum(NamedTuple):
    """C^{r,l}: the function of r neurons with l dead neurons of zero output weight, on `dimension` free parameters."""

    r: int
    l: int
    dimension: int


def critical_embedding(network: AbstractNetwork, shares: Shares, dead: Dead | None = None) -> TwoLayer:
    """The wide network (B_1, …, B_r, Z): neuron j as copies that share its output weight, and dead neurons.

    `shares[j]` holds the fractions s_k of a_j, with Σ_k s_k = 1, that the copies k ∈ B_j carry: a_k = s_k a_j,
    w_k = w_j. `dead`, of shape (l, d), holds the input weights v_k of neurons with output weight zero. Function and
    loss stay the same. For a critical point of the loss Σ_i ℓ(f(x_i), y_i) the wide point is critical if and only if
    φ(v_k) = Σ_i e_i σ(v_k·x_i) = 0 for every dead neuron, e_i = ∂ℓ.

    Raises TypeError or ValueError for a network that is not a `TwoLayer` or not irreducible (a zero output weight, or
    two neurons of equal weights), for shares that do not cover every neuron or do not sum to one, and for dead weights
    of another shape.
    """
    narrow = _require_two_layer(network)
    _require_irreducible(narrow)
    r, d = narrow.w.shape
    if len(shares) != r:
        raise ValueError(f"shares must hold one list for each of the {r} neurons, held {len(shares)}")
    fractions = [np.asarray(list(own), float) for own in shares]
    for j, own in enumerate(fractions):
        if own.size == 0:
            raise ValueError(f"shares[{j}] must hold at least one fraction, was empty")
        if not (np.all(np.isfinite(own)) and abs(own.sum() - 1) <= _TOLERANCE * max(1.0, np.abs(own).max())):
            raise ValueError(f"shares[{j}] must sum to one, was {own.tolist()}, which sum to {own.sum()}")
    v = np.zeros((0, d)) if dead is None else np.asarray(dead, float)
    if v.ndim != 2 or v.shape[1] != d or not np.all(np.isfinite(v)):
        raise ValueError(f"dead must have shape (l, {d}) and be finite, was of shape {v.shape}")
    copies = np.repeat(np.arange(r), [own.size for own in fractions])
    w = np.concatenate([np.asarray(narrow.w)[copies], v])
    a = np.concatenate([np.concatenate(fractions) * np.asarray(narrow.a)[copies], np.zeros(len(v))])
    return _with_neurons(narrow, w, a)


def critical_reduction(network: AbstractNetwork, tolerance: float = 1e-10) -> TwoLayer:
    """The irreducible network of the same function: equal neurons merged, their outputs summed, zero sums dropped.

    Where σ is odd or even, w and −w count as equal. Weights are equal to within `tolerance`·max‖w‖, sums are zero to
    within `tolerance`·max|a|; where σ(0) = 0, neurons with w = 0 are dropped as well. The first of equal neurons keeps
    its place and sign.

    Raises TypeError for a network that is not a `TwoLayer`, ValueError where nothing is left.
    """
    wide = _require_two_layer(network)
    merged = _merge(wide, tolerance)
    alive = [(w, a) for w, a, _ in merged if a is not None]
    if not alive:
        raise ValueError("network must have a neuron that contributes, had none (its function is zero)")
    return _with_neurons(wide, np.stack([w for w, _ in alive]), np.array([a for _, a in alive]))


def stratum(network: AbstractNetwork, tolerance: float = 1e-10) -> Stratum:
    """The stratum of a critical point: r of its reduction, l dead neurons, dimension (m − l − r) + (d − 1)l.

    Dead are neurons whose output weight is zero and whose input weights are no other's, and so count equal ones whose
    output weights sum to zero. The dimension is that of C^{r,l} over one narrow point. Raises as `critical_reduction`.
    """
    wide = _require_two_layer(network)
    m, d = wide.w.shape
    merged = _merge(wide, tolerance)
    r = sum(a is not None for _, a, _ in merged)
    l = sum(members for _, a, members in merged if a is None)
    return Stratum(r, l, m - l - r + (d - 1) * l)


def _merge(network: TwoLayer, tolerance: float) -> list[tuple[np.ndarray, float | None, int]]:
    """Groups of equal neurons: input weights, summed output weight (None where it is zero), and how many they are."""
    w, a = np.asarray(network.w), np.asarray(network.a)
    near = tolerance * float(np.linalg.norm(w, axis=1).max())
    sign, silent = _symmetry(network)
    groups: list[list[tuple[int, int]]] = []
    for k in range(a.size):
        for group in groups:
            first = w[group[0][0]]
            same = np.linalg.norm(w[k] - first) <= near
            if same or (sign and np.linalg.norm(w[k] + first) <= near):
                # An odd function of −w has the opposite output weight.
                group.append((k, 1 if same or sign == 1 else -1))
                break
        else:
            groups.append([(k, 1)])
    merged = []
    for group in groups:
        own = w[group[0][0]]
        total = float(sum(orientation * a[k] for k, orientation in group))
        gone = abs(total) <= tolerance * np.abs(a).max() or (silent and np.linalg.norm(own) <= near)
        merged.append((own, None if gone else total, len(group)))
    return merged


def _symmetry(network: TwoLayer) -> tuple[int, bool]:
    """1 where σ is even, −1 where it is odd, 0 where it is neither, and whether σ(0) = 0; judged at a few points."""
    at_zero, *values = np.asarray(network.activation(jnp.asarray(_PROBES)))
    there, mirrored = np.split(np.array(values), 2)
    for sign in (1, -1):
        if np.allclose(mirrored, sign * there, rtol=1e-12, atol=1e-12):
            return sign, bool(at_zero == 0)
    return 0, bool(at_zero == 0)


def _require_two_layer(network: object) -> TwoLayer:
    if not isinstance(network, TwoLayer):
        raise TypeError(f"network must be a gf.networks.TwoLayer, was {type(network).__name__}")
    return network


def _require_irreducible(network: TwoLayer) -> None:
    a = np.asarray(network.a)
    if np.any(a == 0):
        raise ValueError(f"network must have no zero output weight, had one at neuron {int(np.argmin(np.abs(a)))}")
    if len(_merge(network, 1e-10)) < a.size:
        raise ValueError("network must be irreducible (gf.landscape.critical_reduction), had two equal neurons")


def _with_neurons(network: TwoLayer, w: np.ndarray, a: np.ndarray) -> TwoLayer:
    return eqx.tree_at(lambda n: (n.w, n.a), network, (jnp.asarray(w), jnp.asarray(a)))
