"""What the theory of late training says of a run to infinity, as observables and numbers."""

import itertools
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
import xarray
from jaxtyping import Array, Float
from numpy.typing import ArrayLike

from gfsim.dynamics import MarginFlow
from gfsim.landscape.kkt import kkt_residual
from gfsim.landscape.max_margin import max_margin_polish
from gfsim.problems.problem import Problem
from gfsim.simulation import Trajectory, events, every_step, observables, simulate
from gfsim.simulation.simulate import Observable
from gfsim.types import Scalar, Theta

# No clock of a margin flow comes near it.
ENDLESS = 1e9


def alignment(problem: Problem, theta: Theta) -> Scalar:
    """1 − β with β = cos(θ, −∇𝓛), by the chord between the two directions."""
    pull = -jax.grad(problem.log_loss)(theta)
    return 0.5 * jnp.sum((theta / jnp.linalg.norm(theta) - pull / jnp.linalg.norm(pull)) ** 2)


def explicit_kkt(problem: Problem, theta: Theta) -> Float[Array, "2"]:
    """(‖θ̃ − Σ λ_i ∇q_i(θ̃)‖, Σ λ_i (q_i(θ̃) − 1)) at θ̃ = θ/q_min^{1/L} with λ_i = q_min^{1−2/L} ρ e^{−q_i}/‖∇𝓛‖.

    For the exponential loss of a scalar network [Lyu & Li, arXiv 1906.05890, Thm 4.4]. At most (ε, δ) with
    ε = √2 γ̃(t0)^{−1/L} √(1 − β) and δ = n/(e L γ̃^{2/L} log(1/𝓛)), for any t0 at which 𝓛 < 1 [derived].
    """
    degree = problem.degree
    assert degree is not None
    q = problem.margins(theta)
    least = jnp.min(q)
    point = theta / least ** (1 / degree)
    # e^{−q_i}/‖∇𝓛‖ = softmax(−q)_i/‖∇log 𝓛‖.
    weights = jax.nn.softmax(-q) / jnp.linalg.norm(jax.grad(problem.log_loss)(theta))
    multipliers = least ** (1 - 2 / degree) * jnp.linalg.norm(theta) * weights
    pull = jax.vjp(problem.margins, point)[1](multipliers)[0]
    return jnp.stack([jnp.linalg.norm(point - pull), jnp.sum(multipliers * (q / least - 1))])


def run_to(problem: Problem, depth: float, rtol: float, observe: Mapping[str, Observable]) -> Trajectory:
    """The margin flow from the network's own parameters to log-loss −depth, every step kept.

    A run that does not get there, as on data that are not separable, ends after 50,000 steps.
    """
    return simulate(
        MarginFlow(problem),
        problem.theta,
        ENDLESS,
        save=every_step(),
        observe=observe,
        until=events.log_loss_below(-depth),
        rtol=rtol,
        max_steps=50_000,
    )


OBSERVED = {
    "log_loss": observables.log_loss,
    "norm": observables.norm,
    "margin": observables.normalised_margin,
    "smoothed": observables.smoothed_margin,
    "misaligned": alignment,
    "kkt": explicit_kkt,
}


def largest_fall(smoothed: ArrayLike, log_loss: ArrayLike) -> float:
    """The largest relative decrease of γ̃ in one step after 𝓛 < 1, or 0, from values at every step, shape (steps,)."""
    values = np.asarray(smoothed)[np.asarray(log_loss) < 0]
    return float(np.max(-np.diff(values) / values[1:], initial=0.0))


def turning(theta: np.ndarray, log_loss: ArrayLike) -> np.ndarray:
    """How far the direction turns (radians) while |log 𝓛| grows from 10^k to 10^{k+1}, k = 1, 2, …, last decade last.

    A direction that settles like |log 𝓛|^{−a} turns 10^{−a} times as far in every further decade. One that never
    settles has no such a, however slowly it moves: a small turn alone shows nothing.
    """
    depth = -np.asarray(log_loss)
    u = np.asarray(theta) / np.linalg.norm(theta, axis=1, keepdims=True)
    # The last row may fall short of its decade by rounding.
    last = int(np.floor(np.log10(depth[-1]) + 1e-6))
    marks = [u[np.argmin(np.abs(np.log(np.maximum(depth, 1e-300)) - d * np.log(10.0)))] for d in range(1, last + 1)]
    chords = [np.linalg.norm(b - a) for a, b in itertools.pairwise(marks)]
    return 2 * np.arcsin(np.minimum(np.array(chords) / 2, 1.0))


def described(problem: Problem, run: Trajectory, rows: int = 60) -> xarray.Dataset:
    """A run of the margin flow that kept every step with `OBSERVED`, and the KKT point that it goes to.

    The rows are steps about evenly spaced in log|log 𝓛|, from 𝓛 = 1/e on: beside what was observed there, `residual`,
    the larger one of `kkt_residual`, and `away`, the angle to the polished point (its chord, in radians).
    `limit_rate` is the least eigenvalue e ≠ 0 there, at most L: along the constraints u − û ∝ ρ^{−e} ∝ |log 𝓛|^{−e/L}
    [derived], while the multipliers' own approach is like 1/|log 𝓛|.
    """
    depth, theta, degree = -np.asarray(run.observed["log_loss"]), np.asarray(run.theta), problem.degree
    assert degree is not None
    wanted = np.geomspace(1.0, depth[-1], rows)
    chosen = np.minimum(np.searchsorted(depth, wanted * (1 - 1e-9)), depth.size - 1)
    measured = [kkt_residual(problem, run.theta[i]) for i in chosen]
    point = max_margin_polish(problem, run.theta[-1])
    u = np.asarray(point.theta) / np.linalg.norm(point.theta)
    directions = theta[chosen] / np.linalg.norm(theta[chosen], axis=1, keepdims=True)
    turned = turning(theta, run.observed["log_loss"])
    observed = {
        name: (("row", "part")[: value.ndim], np.asarray(value)[chosen]) for name, value in run.observed.items()
    }
    return xarray.Dataset(
        {
            **observed,
            "log_time": ("row", np.asarray(run.log_t)[chosen]),
            "residual": ("row", [max(k.stationarity, k.complementarity) for k in measured]),
            "kinks": max(k.kinks for k in measured),
            "away": ("row", np.linalg.norm(directions - u, axis=1)),
            "limit": ("parameter", u),
            "degree": degree,
            "samples": problem.data.n,
            "largest_fall": largest_fall(run.observed["smoothed"], run.observed["log_loss"]),
            "settling": turned[-1] / turned[-2],
            "limit_margin": point.margin,
            "limit_residual": max(point.stationarity, point.infeasibility),
            "limit_type": point.type,
            "limit_rate": np.min(point.eigenvalues[np.abs(point.eigenvalues) > 1e-8], initial=degree),
        }
    )
