"""Which dilation makes a function homogeneous."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from gfsim.types import ArrayLike


class Identified(NamedTuple):
    """G with trace d, ν, and how well they are determined: the two smallest singular values over the largest."""

    generator: Float[np.ndarray, "d d"]
    degree: float
    residual: float
    next_residual: float


def identify(inputs: ArrayLike, values: ArrayLike, gradients: ArrayLike | None = None) -> Identified:
    """(G, ν) of a homogeneous f from its values (n,) and gradients (n, d) at inputs (n, d).

    Euler's identity ⟨∇f, Gx⟩ = νf makes (vec G, ν) the null vector of the rows [vec(∇f xᵀ), −f], each divided by its
    length. It is determined up to a factor, here by trace G = d. A second singular value as small as the first means
    that f has more than one such pair, as when a rotation leaves it as it is.

    Without gradients they are those of a quadratic fitted to the d(d + 3)/2 + 1 nearest neighbours and half as many
    again; the residual then says how well that did.

    Raises ValueError for shapes that do not fit, fewer than d² + 1 samples (without gradients twice a fit's number),
    and where the null vector has trace 0.

    Source: [derived] from Euler's identity of homogeneous functions.
    """
    x, f = np.asarray(inputs, float), np.asarray(values, float)
    if x.ndim != 2 or f.shape != x.shape[:1]:
        raise ValueError(f"values must be one per input, inputs (n, d) and values (n,), were {x.shape}, {f.shape}")
    n, d = x.shape
    neighbours = 3 * ((d + 1) * (d + 2) // 2) // 2
    least = d * d + 1 if gradients is not None else max(d * d + 1, 2 * neighbours)
    if n < least:
        raise ValueError(f"inputs must hold at least {least} samples, held {n}")
    g = _fitted_gradients(x, f, neighbours) if gradients is None else np.asarray(gradients, float)
    if g.shape != x.shape:
        raise ValueError(f"gradients must have the shape of the inputs, {x.shape}, was {g.shape}")
    rows = np.concatenate([np.einsum("ni,nj->nij", g, x).reshape(n, d * d), -f[:, None]], axis=1)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    _, singular, right = np.linalg.svd(rows / np.where(lengths > 0, lengths, 1.0))
    generator, degree = right[-1, :-1].reshape(d, d), right[-1, -1]
    trace = np.trace(generator)
    if abs(trace) < 1e-8:
        raise ValueError(f"values must belong to a homogeneous function, the generator found has trace {trace:.2g}")
    scale = d / trace
    return Identified(scale * generator, float(scale * degree), *(singular[[-1, -2]] / singular[0]).tolist())


def _fitted_gradients(
    x: Float[np.ndarray, "n d"], f: Float[np.ndarray, "n"], neighbours: int
) -> Float[np.ndarray, "n d"]:
    """∇f(x_i) of the quadratic through the nearest neighbours of x_i, by least squares."""
    from scipy.spatial import KDTree  # heavy

    d = x.shape[1]
    _, near = KDTree(x).query(x, neighbours)
    upper = np.triu_indices(d)
    gradients = np.empty_like(x)
    for i, own in enumerate(np.asarray(near)):
        step = x[own] - x[i]
        scale = np.max(np.abs(step))
        step = step / scale
        squares = np.einsum("ni,nj->nij", step, step)[:, upper[0], upper[1]]
        columns = np.concatenate([np.ones((len(own), 1)), step, squares], axis=1)
        gradients[i] = np.linalg.lstsq(columns, f[own])[0][1 : d + 1] / scale
    return gradients
