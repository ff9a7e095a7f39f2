"""The correlation flow of one neuron on two inputs, whose directions are points of a sphere."""

from typing import TYPE_CHECKING

import diffrax as dfx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from gfsim.dynamics import CorrelationFlow
from gfsim.portraits import Portrait, destinations, spherical
from gfsim.problems import Dataset, Problem, losses, networks
from gfsim.simulation import simulate

if TYPE_CHECKING:
    import xarray

# Directions and amplitudes of the two neurons to learn.
_TEACHER = ((np.array([1.0, 0.0]), 1.0), (np.array([-0.53, 0.85]), -0.8))
# Of dσ = ρ dτ: every direction off a separatrix has come to rest.
_CLOCK = 300.0


def one_neuron(seed: int) -> Problem:
    """θ = (w, a) ∈ R³, f(x) = a·max(w·x, 0)², on 40 Gaussian inputs of the plane with targets of two such neurons."""
    inputs = np.random.default_rng(seed).standard_normal((40, 2))
    targets = sum(amplitude * np.maximum(inputs @ w, 0) ** 2 for w, amplitude in _TEACHER)
    network = networks.TwoLayer(2, 1, networks.ReLUPower(2), key=jax.random.key(seed))
    return Problem(network, Dataset(jnp.asarray(inputs), jnp.asarray(targets)), losses.Square())


def correlation_sphere(seed: int, directions: int) -> "xarray.Dataset":
    """The portrait `sphere` of u' = (I − uuᵀ)∇N(u), and uniformly drawn directions with where they go.

    `sphere_start` (direction, 3); `sphere_label` and `sphere_solved` (direction,): the place in the portrait's points
    by `destinations` and by the correlation flow itself, solved as one ensemble (`reached`).
    """
    import xarray

    problem = one_neuron(seed)
    portrait = spherical(problem, parts=("streamlines", "points", "basins"), spacing=0.14, resolution=40)
    starts = np.random.default_rng(seed + 1).standard_normal((directions, 3))
    starts /= np.linalg.norm(starts, axis=1, keepdims=True)
    flow = CorrelationFlow(problem, polar=True)
    run = simulate(flow, jnp.asarray(starts), _CLOCK, solver=dfx.Tsit5(), rtol=1e-8)
    drawn = xarray.Dataset(
        {
            "sphere_start": (("direction", "sphere_axis"), starts),
            "sphere_label": ("direction", destinations(problem, portrait, starts)),
            "sphere_solved": ("direction", reached(portrait, np.asarray(run.theta[:, -1]))),
        }
    )
    return portrait.to_xarray("sphere").merge(drawn)


def reached(portrait: Portrait, ends: Float[np.ndarray, "rows 3"]) -> Int[np.ndarray, "rows"]:
    """The place of the minimum at which each vector's direction has come to rest, to 1e-3; −1 at other points.

    −2 away from all of the portrait's points.
    """
    directions = ends / np.max(np.abs(ends), axis=1, keepdims=True)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    apart = np.linalg.norm(directions[:, None] - portrait.points, axis=2)
    labels = np.where(np.array(portrait.kind) == "minimum", np.arange(len(portrait.kind)), -1)
    return np.where(apart.min(axis=1) < 1e-3, labels[np.argmin(apart, axis=1)], -2)


def of_cell(portrait: Portrait, directions: Float[np.ndarray, "rows 3"]) -> tuple[np.ndarray, np.ndarray]:
    """The basin at the grid point next to each direction, and whether all grid points within one cell have the same."""
    count = portrait.basin.shape[-1]
    half = (directions[:, 2] < 0).astype(int)
    place = directions[:, :2] / np.sqrt(1 + np.abs(directions[:, 2:]))
    column, row = ((place + 1) / 2 * (count - 1)).T
    steps = np.arange(-1, 3)
    rows = np.clip(np.floor(row).astype(int)[:, None] + steps, 0, count - 1)
    columns = np.clip(np.floor(column).astype(int)[:, None] + steps, 0, count - 1)
    around = portrait.basin[half[:, None, None], rows[:, :, None], columns[:, None, :]].reshape(len(directions), -1)
    own = portrait.basin[half, np.rint(row).astype(int), np.rint(column).astype(int)]
    return own, np.all(around == own[:, None], axis=1)


def sphere_laws(record: "xarray.Dataset", source: str) -> list[tuple]:
    """Claims on what `correlation_sphere` left: name, source, predicted and measured value, absolute tolerance.

    Directions within one cell of the portrait's grid of a basin's boundary are left out of the first comparison.
    """
    portrait = Portrait.from_xarray(record, "sphere")
    solved, labels = record["sphere_solved"].values, record["sphere_label"].values
    basin, clear = of_cell(portrait, record["sphere_start"].values)
    return [
        ("sphere: ‖∇N‖ along it at its points", source, 0, float(np.max(portrait.gradient_norm)), 1e-10),
        ("sphere: solved flows off their basin", source, 0, int(np.sum((solved != basin)[clear])), 0),
        ("the same: share of directions compared", "counted", 0.5, float(np.mean(clear)), 0, "at_least"),
        ("sphere: solved flows, another label", source, 0, int(np.sum(solved != labels)), 0),
    ]
