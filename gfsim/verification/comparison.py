"""Gradient descent beside the continuous models of it, over a ladder of step sizes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gfsim.checks import positive_integer, real_number
from gfsim.dynamics import CentralFlow, GradientDescent, GradientFlow, ModifiedFlow
from gfsim.landscape.spectrum import largest_eigenvalue
from gfsim.problems import Problem
from gfsim.simulation import Outcome, Trajectory, every_step, observables, simulate
from gfsim.simulation.save import SaveAt
from gfsim.verification.scaling import fit_power_law

if TYPE_CHECKING:
    import xarray

REGIMES = ("flow", "modified", "alternating", "edge of stability")
# Values of ηλ_max at which one regime ends and the next begins.
BOUNDS = (0.1, 1.0, 2.0)


def compare(
    problem: Problem,
    theta0: Float[Array, "P"],
    t1: float,
    step_sizes: Sequence[float],
    models: Sequence[str] = ("flow", "modified-1", "modified-2"),
    *,
    rows: int = 60,
    rtol: float = 1e-10,
) -> "xarray.Dataset":
    """Gradient descent with each of `step_sizes` (increasing) from `theta0` to `t1`, and every model beside it.

    Models: `flow`, `modified-k` (order k), `modified-quadratic`, `central` and `central-k` (k directions, 3 if not
    said). Distances are taken at iterates, the first after one step and the others evenly spaced up to `t1`:

    - `t`, `loss`, `sharpness` λ_max, `regime` (step_size, row) of the descent; `regime` by ηλ_max: flow below 0.1,
      modified below 1, alternating below 2, edge of stability above.
    - `distance` ‖θ_GD − θ_model‖, `function_distance`, the root mean square over samples of ‖f_GD − f_model‖ (absent
      for a problem from a function), and `loss_gap` L(θ_GD) − L(θ_model): (step_size, model, row).
    - `valid` (step_size, model, row): False where descent or model has ended; the last valid value is then repeated.
      `outcome` (step_size,) and `model_outcome` (step_size, model) say how they ended.
    - `local_order`, `order` (model,): slopes in log η of the distance after one step and at the end, from the step
      sizes at which descent and model reached it; NaN where that leaves fewer than two. Theory: k + 2 and k + 1.

    Raises ValueError for step sizes that are not positive, finite and increasing or do not leave two steps up to t1,
    for unknown models, rows that are no positive integer, and where the series of a modified flow diverges at theta0;
    TypeError for arguments of another type.
    """
    import xarray

    sizes = _checked_sizes(step_sizes, t1)
    if isinstance(models, str) or not isinstance(models, Sequence):
        raise TypeError(f"models must be a sequence of names, was {models!r}")
    names = tuple(dict.fromkeys(models))
    if not names:
        raise ValueError("models must name one or more, was empty")
    for name in names:
        model_of(name, problem, sizes[0])
    rows = max(2, min(positive_integer("rows", rows), round(t1 / sizes[-1])))
    cells: list[dict[str, Any]] = []
    for eta in sizes:
        counts = np.concatenate([[0, 1], np.rint(np.linspace(1, round(t1 / eta), rows))[1:]])
        save, end = SaveAt(counts * eta), float(counts[-1] * eta)
        observe = {"loss": observables.loss, "sharpness": largest_eigenvalue}
        descent = simulate(GradientDescent(problem, eta), theta0, end, save=save, observe=observe)
        runs = [_followed(model_of(name, problem, eta), theta0, end, save, rtol) for name in names]
        cells.append(_cell(problem, descent, runs, counts * eta))
    per_step = {"t", "loss", "sharpness", "regime"}
    data: dict[str, Any] = {
        name: (("step_size", "row") if name in per_step else ("step_size", "model", "row"), np.stack(values))
        for name, values in _columns(cells).items()
        if name not in ("outcome", "model_outcome")
    }
    data["outcome"] = ("step_size", [cell["outcome"] for cell in cells])
    data["model_outcome"] = (("step_size", "model"), [cell["model_outcome"] for cell in cells])
    record = xarray.Dataset(data, {"step_size": list(sizes), "model": list(names)})
    record["local_order"] = ("model", [_slope(record, name, 1) for name in names])
    record["order"] = ("model", [_slope(record, name, -1) for name in names])
    return record


def balance_drift(problem: Problem, step_size: float, t1: float) -> "xarray.Dataset":
    """‖w_j‖² − a_j² of a two-layer ReLU network along descent, and what the gradients at its iterates say it must be.

    The flow conserves it; a step changes it by η²(‖∇_{w_j}L‖² − (∇_{a_j}L)²). `drift` and `drift_predicted`
    (moment, neuron) from the start, at every tenth step, `drift_time`.
    """
    import xarray

    observe = {"balance": observables.balancedness, "push": _push}
    run = simulate(GradientDescent(problem, step_size), problem.theta, t1, save=every_step(), observe=observe)
    balance, push = np.asarray(run.observed["balance"]), np.asarray(run.observed["push"])
    predicted = step_size**2 * np.concatenate([np.zeros((1, push.shape[1])), np.cumsum(push[:-1], axis=0)])
    shown = slice(None, None, 10)
    return xarray.Dataset(
        {
            "drift_time": ("moment", np.asarray(run.t)[shown]),
            "drift": (("moment", "neuron"), (balance - balance[0])[shown]),
            "drift_predicted": (("moment", "neuron"), predicted[shown]),
        }
    )


def _push(problem: Problem, theta: Array) -> Array:
    gradient = problem.network_at(problem.grad(theta))
    return jnp.sum(gradient.w**2, axis=1) - gradient.a**2


def model_of(name: str, problem: Problem, step_size: float) -> GradientFlow | ModifiedFlow | CentralFlow:
    """The dynamics that a model's name stands for. Raises ValueError for any other name."""
    kind, _, detail = str(name).partition("-")
    if name == "flow":
        return GradientFlow(problem)
    if kind == "modified" and (detail.isdecimal() or detail == "quadratic"):
        return ModifiedFlow(problem, step_size, int(detail) if detail.isdecimal() else "quadratic")
    if name == "central" or (kind == "central" and detail.isdecimal()):
        return CentralFlow(problem, step_size, int(detail or 3))
    raise ValueError(f"models must be flow, modified-k, modified-quadratic, central or central-k, was {name!r}")


def _followed(model: Any, theta0: Array, end: float, save: SaveAt, rtol: float) -> Trajectory:
    if isinstance(model, CentralFlow):
        return simulate(model, theta0, end, save=save)
    return simulate(model, theta0, end, save=save, rtol=rtol)


def _cell(problem: Problem, descent: Trajectory, runs: list[Trajectory], times: np.ndarray) -> dict[str, Any]:
    """One step size: every quantity at every row, rows beyond an end repeated."""
    alive = _alive(descent, times)
    own = np.where(alive, np.arange(times.size), max(int(np.sum(alive)) - 1, 0))
    eta = times[1]
    sharpness = np.asarray(descent.observed["sharpness"])[own]
    cell: dict[str, Any] = {
        "t": times,
        "loss": np.asarray(descent.observed["loss"])[own],
        "sharpness": sharpness,
        "regime": np.array(REGIMES)[np.searchsorted(BOUNDS, eta * sharpness, side="right")],
        "outcome": str(descent.outcome),
        "model_outcome": [str(run.outcome) for run in runs],
    }
    parts = []
    for run in runs:
        both = alive & _alive(run, times)
        kept = np.where(both, np.arange(times.size), max(int(np.sum(both)) - 1, 0))
        ours, theirs = descent.theta[kept], run.theta[kept]
        distances = {key: np.asarray(value) for key, value in _distances(problem, ours, theirs).items()}
        parts.append({"valid": both, **distances})
    return cell | {name: np.stack(values) for name, values in _columns(parts).items()}


def _alive(run: Trajectory, times: np.ndarray) -> np.ndarray:
    """Which of `times` are rows of the run; a run that ended before one of them has fewer rows, and its own last."""
    count = int(np.sum(times <= float(run.t[-1]) * (1 + 1e-12)))
    # What diverged is finite to the end, but says nothing about a model any more.
    return np.arange(times.size) < (count - 1 if run.outcome == Outcome.diverged else count)


@eqx.filter_jit
def _distances(problem: Problem, ours: Float[Array, "rows P"], theirs: Float[Array, "rows P"]) -> dict[str, Array]:
    loss = jax.vmap(problem.loss)
    found = {"distance": jnp.linalg.norm(ours - theirs, axis=1), "loss_gap": loss(ours) - loss(theirs)}
    if hasattr(problem.objective, "data"):
        outputs = jax.vmap(problem.outputs)
        squares = (outputs(ours) - outputs(theirs)) ** 2
        found["function_distance"] = jnp.sqrt(jnp.sum(squares, axis=tuple(range(1, squares.ndim))) / problem.data.n)
    return found


def _columns(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    return {name: [row[name] for row in rows] for name in rows[0]} if rows else {}


def _slope(record: "xarray.Dataset", model: str, row: int) -> float:
    chosen = record.sel(model=model).isel(row=row)
    reached = chosen["valid"].values & (chosen["distance"].values > 0)
    if np.sum(reached) < 2:
        return float("nan")
    return fit_power_law(record["step_size"].values[reached], chosen["distance"].values[reached]).exponent


def _checked_sizes(step_sizes: Sequence[float], t1: float) -> tuple[float, ...]:
    if isinstance(step_sizes, str) or np.ndim(step_sizes) != 1:
        raise TypeError(f"step_sizes must be a sequence of numbers, was {step_sizes!r}")
    sizes = tuple(real_number("step_sizes", eta) for eta in step_sizes)
    if not 0 < real_number("t1", t1) < np.inf:
        raise ValueError(f"t1 must be a positive finite number, was {t1}")
    if not sizes or not all(0 < eta < np.inf for eta in sizes) or list(sizes) != sorted(set(sizes)):
        raise ValueError(f"step_sizes must be positive, finite and increasing, was {sizes}")
    if round(t1 / sizes[-1]) < 2:
        raise ValueError(f"step_sizes must leave two steps up to t1 = {t1:g}, was {sizes[-1]:g}")
    return sizes
