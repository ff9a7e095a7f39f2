"""Leaving a saddle: escape times, unstable manifolds, and the critical set where each of their paths ends."""

from typing import TYPE_CHECKING, NamedTuple

import diffrax as dfx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from gfsim.dynamics import GradientDescent, GradientFlow
from gfsim.landscape.branches import Stratum, stratum
from gfsim.landscape.critical import CriticalPoint, polish
from gfsim.landscape.spectrum import spectrum
from gfsim.problems import Problem
from gfsim.problems.networks import TwoLayer
from gfsim.simulation import Trajectory, events, every_step, log_spaced, observables, simulate
from gfsim.types import Theta
from gfsim.verification.escape_plane import escape_plane

if TYPE_CHECKING:
    import xarray

# Weights that agree to this, of the largest, are one neuron's; it is far above the distance left by a polished end.
_MERGED = 1e-5
_ROWS = 400


def unstable_directions(problem: Problem, point: CriticalPoint) -> Float[np.ndarray, "n_minus P"]:
    """Unit eigenvectors u_i of the negative eigenvalues, the most negative first, each with its largest entry > 0."""
    columns = np.linalg.eigh(np.asarray(problem.hessian(point.theta)))[1][:, : point.inertia.minus]
    largest = columns[np.argmax(np.abs(columns), axis=0), np.arange(columns.shape[1])]
    return (columns * np.sign(largest)).T


def escape_times(
    problem: Problem, point: CriticalPoint, epsilons: ArrayLike, drop: float, step_size: float | None = None
) -> Float[np.ndarray, "epsilons"]:
    """Times at which the flow from θ* + ε u_min has lowered 𝓛 by `drop`; with a step size, gradient descent's, t = kη.

    As ε → 0 their slope in ln(1/ε) is 1/|λ_min|, and η/ln(1 + η|λ_min|) for gradient descent, whose time between two
    iterates is interpolated in the logarithm of the drop.

    Raises ValueError where the point has no negative eigenvalue, or `drop` is not positive.
    """
    if not point.inertia.minus:
        raise ValueError("point must be a strict saddle, had no negative eigenvalue")
    if not drop > 0:
        raise ValueError(f"drop must be positive, was {drop}")
    epsilons, u = np.asarray(epsilons, float), jnp.asarray(unstable_directions(problem, point)[0])
    latest = 20 * (1 + np.log(1 / epsilons.min())) / abs(float(point.eigenvalues[0]))
    until = events.loss_below(point.loss - drop)
    times = []
    for epsilon in epsilons:
        start = point.theta + epsilon * u
        if step_size is None:
            run = simulate(GradientFlow(problem), start, latest, until=until, solver=dfx.Dopri8(), rtol=1e-11)
            times.append(float(run.t[-1]))
        else:
            flow = GradientDescent(problem, step_size)
            run = simulate(flow, start, latest, save=every_step(), observe={"loss": observables.loss}, until=until)
            before, after = np.log(point.loss - np.asarray(run.observed["loss"])[-2:])
            times.append(float(run.t[-1]) - step_size * (after - np.log(drop)) / (after - before))
    return np.array(times)


def shoot(
    problem: Problem, point: CriticalPoint, coefficients: Float[np.ndarray, "paths k"], radius: float, clock: float
) -> Trajectory:
    """The flows from θ* + radius·Σ_i c_i u_i, one for each row c, until `clock` or ‖∇𝓛‖ = 1e-9.

    u_i are the first k unstable directions: one direction and its opposite are the unstable manifold of a saddle with
    n₋ = 1, a circle of c those of a two-dimensional family. An ensemble, with `loss` observed.
    """
    directions = unstable_directions(problem, point)[: coefficients.shape[1]]
    starts = point.theta[None] + radius * jnp.asarray(coefficients @ directions)
    return simulate(
        GradientFlow(problem),
        starts,
        clock,
        save=log_spaced(clock * 1e-4, clock, _ROWS),
        observe={"loss": observables.loss},
        until=events.gradient_below(1e-9),
        rtol=1e-8,
    )


class Destination(NamedTuple):
    """Where a path ends: a critical point and its stratum, or None and None where it leaves for infinity or goes on."""

    point: CriticalPoint | None
    stratum: Stratum | None

    def __str__(self) -> str:
        if self.point is None or self.stratum is None:
            return "infinity"
        return f"C^({self.stratum.r},{self.stratum.l}) at 𝓛 = {self.point.loss:.4g}"


def destination(problem: Problem, theta: Theta) -> Destination:
    """The critical set at the end θ of a path of a `TwoLayer` network: polished within 1 % of 1 + ‖θ‖, then merged.

    Along a channel to infinity no critical point is near, however small the gradient.
    """
    try:
        point = polish(problem, jnp.asarray(theta), reach=0.01)
    except ValueError:
        return Destination(None, None)
    return Destination(point, stratum(problem.network_at(point.theta), _MERGED))


def distance_to_branch(problem: Problem, theta: Theta, narrow: TwoLayer) -> float:
    """The distance of a two-layer network's θ from the branches over `narrow`, dead neurons where they are.

    Every neuron is a copy of the narrow one it is nearest to (±, for the odd tanh) or dead, whichever is nearer:
    √(Σ‖w_k − w̄_j‖² over copies + Σ a_k² over dead + Σ_j (Σ_{B_j} a_k − ā_j)²/|B_j|).
    """
    network = problem.network_at(theta)
    w, a = np.asarray(network.w), np.asarray(network.a)
    centres, outputs = np.asarray(narrow.w), np.asarray(narrow.a)
    gaps = np.linalg.norm(w[:, None] - centres, axis=2)
    # Each narrow neuron needs a copy, its nearest; another neuron is a copy where that costs less than being dead.
    owners = np.full(a.size, -1)
    for j in np.argsort(gaps.min(axis=0)):
        free = np.where(owners < 0, gaps[:, j], np.inf)
        owners[np.argmin(free)] = j
    for k in np.flatnonzero(owners < 0):
        if gaps[k].min() < abs(a[k]):
            owners[k] = int(np.argmin(gaps[k]))
    squared = np.sum(a[owners < 0] ** 2)
    for j in range(outputs.size):
        own = owners == j
        squared += np.sum(gaps[own, j] ** 2) + (a[own].sum() - outputs[j]) ** 2 / own.sum()
    return float(np.sqrt(squared))


def follow_unstable(
    problem: Problem, point: CriticalPoint, narrow: TwoLayer, radius: float = 1e-3, clock: float = 1e5
) -> "tuple[xarray.Dataset, list[Destination]]":
    """Both ways out of a saddle of a two-layer network along u_min, and where they end.

    `path_time`, `path_loss`, `path_eigenvalues` (all of them) and `path_distance` to the branches over `narrow`, all
    (side, row); the portrait of the plane through the saddle and both ends (`escape_plane`); `end_neurons` (−1 at
    infinity) and `end_gradient` (side,); `saddle_loss`, `saddle_inertia`.
    """
    import xarray

    runs = shoot(problem, point, np.array([[1.0], [-1.0]]), radius, clock)
    ends = [destination(problem, theta) for theta in runs.theta[:, -1]]
    spectra = np.array([[spectrum(problem, theta).values for theta in run] for run in runs.theta])
    away = [[distance_to_branch(problem, theta, narrow) for theta in run] for run in runs.theta]
    record = xarray.Dataset(
        {
            "path_time": (("side", "row"), np.asarray(runs.t)),
            "path_loss": (("side", "row"), np.asarray(runs.observed["loss"])),
            "path_eigenvalues": (("side", "row", "eigenvalue"), spectra),
            "path_distance": (("side", "row"), np.array(away)),
            "end_neurons": ("side", [-1 if end.stratum is None else end.stratum.r for end in ends]),
            "end_gradient": ("side", [np.nan if end.point is None else end.point.gradient_norm for end in ends]),
            "saddle_loss": point.loss,
            "saddle_inertia": ("sign", np.array(point.inertia)),
        },
        {"sign": ["+", "-", "0"]},
    )
    return record.merge(escape_plane(problem, point, runs, [end.point for end in ends])), ends
