"""One neuron at its exact KKT point of the max-margin problem, its splits, and what is claimed of them."""

from typing import TYPE_CHECKING

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from gfsim import landscape
from gfsim.problems import Dataset, Problem
from gfsim.problems.losses import Exponential
from gfsim.problems.networks import ReLUPower, TwoLayer
from gfsim.verification.claims import Claim
from gfsim.verification.shadow import Shadow, shadow_error

if TYPE_CHECKING:
    import xarray

PAPER, DERIVED = "arXiv 2505.12419", "[derived] for arXiv 2505.12419"
SLOPE = 0.5
COPIES = (1, 2, 4)


def at_kkt(data: Dataset, p: int) -> Problem:
    """One neuron of degree p at its KKT point; of the samples those with label 1 where p is even."""
    if p % 2 == 0:
        data = Dataset(data.inputs[data.targets > 0], data.targets[data.targets > 0])
    activation = ReLUPower(p, SLOPE)
    point = landscape.one_neuron_kkt(data, activation)
    network = TwoLayer(data.d, 1, activation, key=jax.random.key(0))
    network = eqx.tree_at(lambda n: (n.w, n.a), network, (jnp.asarray(point.w)[None], jnp.array([point.a])))
    return Problem(network, data, Exponential())


def split_points(data: Dataset, degrees: tuple[int, ...] = (1, 2, 3)) -> "xarray.Dataset":
    """KKT points of one neuron as 1, 2 and 4 copies (two splits, one of the other), with multipliers λ/τ.

    Over (degree, copies): the `residual` of `landscape.kkt_residual`, `least_margin`, how far τ times its multipliers
    are from the exact ones (`multiplier_error`, relative), the `lowest` eigenvalue of `landscape.max_margin_polish`,
    how many are `negative` and how many `flat` (within 1e-9 of 0).

    `machine_error`: how far scikit-learn's SVM without intercept is from `landscape.hard_margin`, relative; `opposite`:
    for p = 1, ‖η‖² of the best pair of neurons (w, a), (−w, −a) over that of the split.
    """
    import xarray
    from sklearn.svm import SVC

    names = ("residual", "least_margin", "multiplier_error", "lowest", "negative", "flat")
    table = np.empty((len(degrees), len(COPIES), len(names)))
    for i, p in enumerate(degrees):
        problem = at_kkt(data, p)
        network = problem.network_at(problem.theta)
        exact = landscape.one_neuron_kkt(problem.data, network.activation).multipliers
        split = landscape.kronecker_split(network, [1])
        for j in range(len(COPIES)):
            wide, eta = split.wide_problem(problem), split.lift(problem.theta)
            found, point = landscape.kkt_residual(wide, eta), landscape.max_margin_polish(wide, eta)
            off = np.linalg.norm(found.multipliers * split.tau - exact) / np.linalg.norm(exact)
            values = point.eigenvalues if point.refined else np.array([np.nan])
            counts = np.sum(values < -1e-9), np.sum(np.abs(values) < 1e-9)
            table[i, j] = found.stationarity, jnp.min(wide.margins(eta)), off, values[0], *counts
            split = split.then(landscape.kronecker_split(split.network, [2]))
    x, y = np.asarray(data.inputs), np.asarray(data.targets)
    signed = np.where(y[:, None] > 0, x, -SLOPE * x)
    machine = SVC(kernel="linear", C=1e10, tol=1e-10).fit(np.vstack([signed, -signed]), np.repeat([1, -1], len(x)))
    u, _ = landscape.hard_margin(signed)
    # The pair is linear, f = (1 + slope)·a·w·x, and best where a² = ‖w‖² = ‖line‖/(1 + slope).
    line, _ = landscape.hard_margin(y[:, None] * x)
    return xarray.Dataset(
        {
            **{name: (("degree", "copies"), table[..., k]) for k, name in enumerate(names)},
            "machine_error": np.linalg.norm(machine.coef_[0] - u) / np.linalg.norm(u),
            "opposite": 2 * np.linalg.norm(line) / (1 + SLOPE) / np.linalg.norm(u),
        },
        {"degree": list(degrees), "copies": list(COPIES)},
    )


def projected_paths(shadow: Shadow, axis: Float[np.ndarray, "2"], starts: int, rtol: float) -> "xarray.Dataset":
    """Flows of one neuron and of its split from `starts` starts around `axis`, to a loss 1e-6 of the first one's.

    `path` (start, narrow or projected wide, point, (w·axis, a)) at the times `path_time` (start, point), and
    `start_error` (start,), max ‖η − Tθ‖/‖η‖.
    """
    import xarray

    across = np.array([-axis[1], axis[0]])
    paths, times, errors = [], [], []
    for turn, size in zip(np.linspace(-1.2, 1.2, starts), np.geomspace(0.3, 3, starts), strict=True):
        start = np.append(size * (np.cos(turn) * axis + np.sin(turn) * across), 0.5)
        narrow, wide = shadow.flows(jnp.asarray(start), rtol, 1e-6)
        errors.append(np.max(shadow_error(shadow.split.lift, narrow, wide)) / np.linalg.norm(wide.theta[-1]))
        rows = np.linspace(0, narrow.t.size - 1, 150).round().astype(int)
        pair = np.asarray(narrow.theta)[rows], np.asarray(jax.vmap(shadow.split.project)(wide.theta))[rows]
        paths.append([np.stack([theta[:, :2] @ axis, theta[:, 2]], axis=1) for theta in pair])
        times.append(np.asarray(narrow.t)[rows])
    return xarray.Dataset(
        {
            "path": (("start", "width", "point", "coordinate"), np.array(paths)),
            "path_time": (("start", "point"), np.array(times)),
            "start_error": ("start", np.array(errors)),
        }
    )


def forced_violations(data: Dataset) -> list[landscape.Violation]:
    """Of two splits that the theorem does not cover: Σc² = ½ at p = 1, and c = (0.6, 0.8) at p = 2.

    The output of one neuron becomes Σc^{p+1} times what it was: relative errors of ½ and of 1 − 0.6³ − 0.8³ = 0.272.
    """
    violations = []
    for p, c in ((1, (0.5, 0.5)), (2, (0.6, 0.8))):
        problem = at_kkt(data, p)
        split = landscape.split_neuron(problem.network_at(problem.theta), 0, 0, c, force=True)
        violations.append(split.violation(problem, problem.theta))
    return violations


def point_claims(record: "xarray.Dataset") -> list[Claim]:
    """Claims on `split_points`: KKT points map to KKT points, with a lowest curvature of 1 − p.

    Along an exchange of weight between copies the curvature is 1 − (L − 1) = 1 − p, by Euler's identity for the
    gradient of Σλ_i q_i: a split is an optimum for p = 1, flat in the k − 1 directions that change the coefficients,
    and a saddle for p > 1.
    """
    split = record.sel(copies=[2, 4])
    flat = float(record["flat"].sel(degree=1, copies=4))
    claims = [
        Claim("exact KKT points, split: residual", PAPER, 0, _worst(record["residual"]), 1e-12, scale="absolute"),
        Claim("the same: least margin − 1", PAPER, 0, _worst(abs(record["least_margin"] - 1)), 1e-12, scale="absolute"),
        Claim("the same: multipliers·τ − λ", PAPER, 0, _worst(record["multiplier_error"]), 1e-10, scale="absolute"),
        Claim("hard margin, difference from SVC", "numerics", 0, record["machine_error"], 1e-6, scale="absolute"),
        Claim(
            "split, p = 1: curvatures < 0", DERIVED, 0, _worst(record["negative"].sel(degree=1)), 0, scale="absolute"
        ),
        Claim("4 copies, p = 1: flat directions k − 1", DERIVED, 3, flat, 0),
        Claim("p = 1: a better optimum's norm²/split's", DERIVED, 1, record["opposite"], 0, "at_most"),
    ]
    for p in (2, 3):
        off = _worst(abs(split["lowest"].sel(degree=p) - (1 - p)))
        claims.append(Claim(f"split, p = {p}: lowest curvature − (1 − p)", DERIVED, 0, off, 1e-9, scale="absolute"))
    return claims


def _worst(values: "xarray.DataArray") -> float:
    return float(values.max(skipna=False))
