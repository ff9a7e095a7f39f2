"""Neural collapse: how far last-layer features and classifier are from a simplex, as observables and numbers."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from gfsim.problems import Problem, data
from gfsim.problems.losses import CrossEntropy
from gfsim.problems.networks import FeedForward, Identity
from gfsim.simulation import observables
from gfsim.simulation.trajectory import Trajectory
from gfsim.types import Key, Scalar, Theta

if TYPE_CHECKING:
    import xarray


def nc1(problem: Problem, theta: Theta) -> Scalar:
    """tr(Σ_W Σ_B⁺)/K: scatter of the features within classes, in units of that of the class means.

    Σ_W is the mean over classes of their covariances, Σ_B that of (μ_k − μ)(μ_k − μ)ᵀ with μ the mean of the μ_k.
    Singular values of the centred means below ε·σ₁·max(K, d) are nil: class means on a line leave one direction.

    Raises ValueError for another network, targets that are no labels and, where the data are known while it is traced,
    a class without samples.

    Source of this and the other three: Papyan, Han & Donoho, arXiv 2008.08186.
    """
    features, members, means = _classes(problem, theta)
    classes = means.shape[0]
    centred = means - jnp.mean(means, axis=0, keepdims=True)
    # Σ_B = Mᵀ M/K: the K − 1 singular values of M that need not be nil.
    _, sizes, axes = jnp.linalg.svd(centred, full_matrices=False)
    rank = min(classes - 1, means.shape[1])
    nil = (sizes <= jnp.finfo(float).eps * max(centred.shape) * sizes[0])[None, :rank]
    off = (features - members @ means) @ axes[:rank].T
    off = jnp.where(nil, 0.0, off / jnp.where(nil, 1.0, sizes[None, :rank]))
    per_class = (members / jnp.sum(members, axis=0, keepdims=True)).T @ jnp.sum(off**2, axis=1)
    return jnp.mean(per_class)


def nc2(problem: Problem, theta: Theta) -> Scalar:
    """max_{k≠l} |cos(μ_k − μ, μ_l − μ) + 1/(K−1)|: the angles between class means against those of a simplex."""
    _, _, means = _classes(problem, theta)
    classes = means.shape[0]
    centred = means - jnp.mean(means, axis=0, keepdims=True)
    unit = centred / jnp.linalg.norm(centred, axis=1, keepdims=True)
    apart = ~jnp.eye(classes, dtype=bool)
    return jnp.max(jnp.abs(jnp.where(apart, unit @ unit.T + 1 / (classes - 1), 0.0)))


def nc3(problem: Problem, theta: Theta) -> Scalar:
    """‖W/‖W‖ − M/‖M‖‖ (Frobenius): the classifier's rows against the centred class means, the rows of M."""
    _, _, means = _classes(problem, theta)
    centred = means - jnp.mean(means, axis=0, keepdims=True)
    classifier = _network(problem, theta).weights[-1]
    return jnp.linalg.norm(classifier / jnp.linalg.norm(classifier) - centred / jnp.linalg.norm(centred))


def nc4(problem: Problem, theta: Theta) -> Scalar:
    """The fraction of samples that the network puts into another class than that of the nearest class mean."""
    features, _, means = _classes(problem, theta)
    squared = jnp.sum(means**2, axis=1)[None, :] - 2 * features @ means.T
    return jnp.mean(jnp.argmin(squared, axis=1) != jnp.argmax(problem.outputs(theta), axis=1))


def classifier_norm(problem: Problem, theta: Theta) -> Scalar:
    """‖W‖ (Frobenius) of the last layer."""
    return jnp.linalg.norm(_network(problem, theta).weights[-1])


OBSERVED = {
    "log_loss": observables.log_loss,
    "margin": observables.margin,
    "classifier_norm": classifier_norm,
    "nc1": nc1,
    "nc2": nc2,
    "nc3": nc3,
    "nc4": nc4,
}


def free_features(counts: Sequence[int], d: int, scale: float, key: Key) -> Problem:
    """The normalised-features model: f(x_i) = W s_i/‖s_i‖ with s_i ∈ R^d a parameter of its own for every sample.

    `counts` holds the samples of each class; cross-entropy. ‖s_i‖ = scale at the start, and ever after under the flow,
    which moves the features faster the smaller it is.

    At separation the margin of the hard-margin problem, q_min/‖W‖, is at most √K/(K−1), attained for d ≥ K − 1 by the
    simplex μ_k·μ_l = −1/(K−1), W ∝ M, whatever the counts. For K = 4, d = 2 the square with W ∝ M is a KKT point of
    margin ½ [derived].
    """
    labels = np.repeat(np.arange(len(counts)), counts)
    network = FeedForward((labels.size, d, len(counts)), Identity(), key=key, normalise=True)
    columns = network.weights[0] / jnp.linalg.norm(network.weights[0], axis=0, keepdims=True)
    network = eqx.tree_at(lambda n: n.weights[0], network, scale * columns)
    return Problem(network, data.orthogonal(labels), CrossEntropy())


def simplex_margin(classes: int) -> float:
    """√K/(K−1)."""
    return classes**0.5 / (classes - 1)


def described(problem: Problem, run: Trajectory, rows: int = 60) -> "xarray.Dataset":
    """A run that kept every step with `OBSERVED`: steps about evenly spaced in log|log 𝓛|, from 𝓛 = 1/e on.

    Beside what was observed there and `log_time`: `classes`, `mean_row` = √K‖w̄‖ with w̄ the mean of W's rows at the
    start, and `mean_row_moved`, how far √K w̄ is from there at the end. The flow of cross-entropy conserves w̄, to which
    class means have no counterpart: NC3·‖W‖ → √K‖w̄‖ where all else collapses faster [derived].
    """
    import xarray

    depth = -np.asarray(run.observed["log_loss"])
    wanted = np.geomspace(1.0, depth[-1], rows)
    chosen = np.minimum(np.searchsorted(depth, wanted * (1 - 1e-9)), depth.size - 1)
    first, last = (np.asarray(_network(problem, theta).weights[-1]) for theta in (run.theta[0], run.theta[-1]))
    root = len(first) ** 0.5
    return xarray.Dataset(
        {
            **{name: ("row", np.asarray(value, float)[chosen]) for name, value in run.observed.items()},
            "log_time": ("row", np.asarray(run.log_t)[chosen]),
            "classes": len(first),
            "mean_row": root * np.linalg.norm(first.mean(axis=0)),
            "mean_row_moved": root * np.linalg.norm(last.mean(axis=0) - first.mean(axis=0)),
        }
    )


def _network(problem: Problem, theta: Theta) -> FeedForward:
    network = problem.network_at(theta)
    if not isinstance(network, FeedForward) or network.weights[-1].shape[0] < 2:
        raise ValueError(
            f"problem must have a FeedForward network of two or more outputs, had {type(network).__name__}"
        )
    return network


def _classes(problem: Problem, theta: Theta) -> tuple[Float[Array, "n d"], Float[Array, "n K"], Float[Array, "K d"]]:
    """Features, indicators of the classes, and class means."""
    network = _network(problem, theta)
    features = jax.vmap(network.features)(problem.data.inputs)
    classes = network.weights[-1].shape[0]
    if problem.data.targets.ndim != 1:
        raise ValueError(f"problem must have labels 0 … K−1 as targets, had shape {problem.data.targets.shape}")
    members = (problem.data.targets[:, None] == jnp.arange(float(classes))[None, :]).astype(float)
    counts = jnp.sum(members, axis=0, keepdims=True)
    if not isinstance(counts, Tracer) and not jnp.all(counts > 0):
        raise ValueError(
            f"problem must have samples of each of {classes} classes, had {counts[0].astype(int).tolist()}"
        )
    return features, members, (members / counts).T @ features
