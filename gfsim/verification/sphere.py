"""The correlation flow of one neuron on two inputs, whose directions are points of a sphere."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from gfsim.portraits import Portrait, destinations, spherical
from gfsim.problems import Dataset, Problem, losses, networks

if TYPE_CHECKING:
    import xarray

# Directions and amplitudes of the two neurons to learn.
_TEACHER = ((np.array([1.0, 0.0]), 1.0), (np.array([-0.53, 0.85]), -0.8))


def one_neuron(seed: int) -> Problem:
    """θ = (w, a) ∈ R³, f(x) = a·max(w·x, 0)², on 40 Gaussian inputs of the plane with targets of two such neurons."""
    inputs = np.random.default_rng(seed).standard_normal((40, 2))
    targets = sum(amplitude * np.maximum(inputs @ w, 0) ** 2 for w, amplitude in _TEACHER)
    network = networks.TwoLayer(2, 1, networks.ReLUPower(2), key=jax.random.key(seed))
    return Problem(network, Dataset(jnp.asarray(inputs), jnp.asarray(targets)), losses.Square())


def correlation_sphere(seed: int, directions: int) -> "xarray.Dataset":
    """The portrait `sphere` of u' = (I − uuᵀ)∇N(u), and uniformly drawn directions with where they go.

    `sphere_start` (direction, 3) and `sphere_label` (direction,): the place in the portrait's points, −1 for none.
    """
    import xarray

    problem = one_neuron(seed)
    portrait = spherical(problem, parts=("streamlines", "points", "basins"), spacing=0.14, resolution=40)
    starts = np.random.default_rng(seed + 1).standard_normal((directions, 3))
    starts /= np.linalg.norm(starts, axis=1, keepdims=True)
    labels = destinations(problem, portrait, starts)
    drawn = xarray.Dataset(
        {"sphere_start": (("direction", "sphere_axis"), starts), "sphere_label": ("direction", labels)}
    )
    return portrait.to_xarray("sphere").merge(drawn)


def sphere_laws(record: "xarray.Dataset", source: str) -> list[tuple[str, str, float, float, float]]:
    """Claims on what `correlation_sphere` left: name, source, predicted and measured value, absolute tolerance.

    The shares of n random directions may differ from the basins' areas by 3.4·√(¼/n), which they do once in 1,500.
    """
    portrait = Portrait.from_xarray(record, "sphere")
    side = np.linspace(-1, 1, portrait.basin.shape[-1])
    inside = side[:, None] ** 2 + side**2 <= 1
    every = np.arange(len(portrait.points))
    areas = np.mean(portrait.basin[:, inside].ravel()[:, None] == every, axis=0)
    labels = record["sphere_label"].values
    apart = np.max(np.abs(np.mean(labels[:, None] == every, axis=0) - areas))
    return [
        ("sphere: ‖∇N‖ along it at its points", source, 0, float(np.max(portrait.gradient_norm)), 1e-10),
        (
            "sphere: shares of directions − areas",
            f"[derived] for {source}",
            0,
            float(apart),
            1.7 / np.sqrt(labels.size),
        ),
    ]
