"""A narrow network and its split, run independently from matching starts and compared on the narrow one's clock."""

import dataclasses
import functools
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Float

from gfsim import landscape
from gfsim.dynamics import GradientDescent, GradientFlow, MarginFlow
from gfsim.dynamics.descent import AbstractDescent
from gfsim.dynamics.optax_descent import OptaxDescent
from gfsim.landscape import Split
from gfsim.landscape.copies import CopyMap
from gfsim.problems import Dataset, Problem
from gfsim.simulation import Trajectory, events, every_step, log_spaced, simulate
from gfsim.simulation.save import SaveAt
from gfsim.types import Theta
from gfsim.verification.claims import Claim

if TYPE_CHECKING:
    import xarray

PAPER, DERIVED = "arXiv 2505.12419, Thm 5.2", "[derived] for arXiv 2505.12419"


@dataclasses.dataclass(frozen=True)
class Shadow:
    """`problem` is the narrow one; the wide one runs from Tθ0, its clock slower by τ."""

    problem: Problem
    split: Split

    @functools.cached_property
    def wide(self) -> Problem:
        """The wide network on the same data."""
        return self.split.wide_problem(self.problem)

    def descents(
        self, theta0: Theta, step_size: float, steps: int, tau: float | None = None
    ) -> tuple[Trajectory, Trajectory]:
        """Narrow and wide gradient descent, every iterate kept: step s on the narrow network, s/τ on the wide one.

        `tau` puts another clock in place of the split's own.
        """
        own = step_size / (self.split.tau if tau is None else tau)
        return self.follow(GradientDescent(self.problem, step_size), GradientDescent(self.wide, own), theta0, steps)

    def follow(
        self, narrow: AbstractDescent, wide: AbstractDescent, theta0: Theta, steps: int
    ) -> tuple[Trajectory, Trajectory]:
        """`steps` steps of any two descents on the two problems, every iterate kept."""
        pair = (narrow, theta0), (wide, self.split.lift(theta0))
        first, second = (simulate(d, start, float(d.step_size) * steps, save=every_step()) for d, start in pair)
        return first, second

    def flows(
        self, theta0: Theta, rtol: float, fall: float, tau: float | None = None, rows: int = 200
    ) -> tuple[Trajectory, Trajectory]:
        """Narrow and wide gradient flow, each with steps of its own, until the narrow loss fell to `fall` of its start.

        The rows are log-spaced narrow times t and the wide times t/τ; `tau` as in `descents`.
        """
        until = events.loss_below(fall * float(self.problem.loss(theta0)))
        save = log_spaced(1e-2, 1e12, rows)
        narrow = simulate(GradientFlow(self.problem), theta0, 1e12, save=save, until=until, rtol=rtol)
        times = np.asarray(narrow.t) / (self.split.tau if tau is None else tau)
        flow = GradientFlow(self.wide)
        wide = simulate(flow, self.split.lift(theta0), float(times[-1]), save=SaveAt(times), rtol=rtol)
        return narrow, wide


def shadow_error(lift: CopyMap, narrow: Trajectory, wide: Trajectory) -> Float[np.ndarray, "times"]:
    """‖η − Tθ‖ at every row, absolute: how far the wide run is from the lifted narrow one.

    Raises ValueError for different numbers of rows, as after an early end.
    """
    if narrow.theta.shape[0] != wide.theta.shape[0]:
        counts = narrow.theta.shape[0], wide.theta.shape[0]
        raise ValueError(f"wide must have the {counts[0]} rows of narrow, had {counts[1]}")
    return np.linalg.norm(np.asarray(wide.theta) - np.asarray(jax.vmap(lift)(narrow.theta)), axis=-1)


def outputs_on_grid(
    shadow: Shadow, narrow: Trajectory, wide: Trajectory, side: Float[np.ndarray, "points"]
) -> Float[np.ndarray, "2 points points"]:
    """Outputs of the narrow and the wide network at the ends of two runs, at the inputs (side[j], side[i])."""
    inputs = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    grid = Dataset(inputs, np.ones(len(inputs)))
    ends = (shadow.problem, narrow.theta[-1]), (shadow.wide, wide.theta[-1])
    values = [Problem(problem.network_at(end), grid, problem.criterion).outputs(end) for problem, end in ends]
    return np.stack(values).reshape(2, side.size, side.size)


def compare_limits(shadow: Shadow, theta0: Theta, log_loss: float, rtol: float) -> "xarray.Dataset":
    """Directions of narrow and wide `MarginFlow`, run independently until log 𝓛 fell to `log_loss`.

    `limit_error`: ‖η/‖η‖ − Tθ/‖Tθ‖‖; `limit` (parameter,): θ/‖θ‖. Of `landscape.kkt_residual` at θ and Tθ:
    `stationarity` (width,), and `multiplier_apart`, ‖τλ̃ − λ‖/‖λ‖.
    """
    import xarray

    until = events.log_loss_below(log_loss)
    pair = (shadow.problem, theta0), (shadow.wide, shadow.split.lift(theta0))
    theta, eta = (simulate(MarginFlow(p), start, 1e12, until=until, rtol=rtol).theta[-1] for p, start in pair)
    theta, image = theta / jnp.linalg.norm(theta), shadow.split.lift(theta)
    narrow, wide = (landscape.kkt_residual(p, x) for p, x in ((shadow.problem, theta), (shadow.wide, image)))
    apart = shadow.split.tau * wide.multipliers - narrow.multipliers
    return xarray.Dataset(
        {
            "limit": ("parameter", np.asarray(theta)),
            "limit_error": float(jnp.linalg.norm(eta / jnp.linalg.norm(eta) - image / jnp.linalg.norm(image))),
            "stationarity": ("width", np.array([narrow.stationarity, wide.stationarity])),
            "multiplier_apart": np.linalg.norm(apart) / np.linalg.norm(narrow.multipliers),
        },
        {"width": ["narrow", "wide"]},
    )


def compare_clocks(shadow: Shadow, step_size: float, steps: int, rtol: float, rows: int = 100) -> "xarray.Dataset":
    """Descents on shared steps, and independent flows until the loss fell to 1e-6, on the clock τ and on τ = 1.

    `descent_error` (clock, iterate) absolute; `flow_error` (clock, row) over the largest ‖η‖, at the narrow time
    `flow_time`; `descent_largest` and `flow_largest` (clock,) of every iterate and every row; `flow_estimate`, what the
    runs on the clock τ themselves estimate their errors to add up to, the largest over all rows, over the same ‖η‖;
    `tau`; `loss_fall`, the narrow loss at the end over that at the start.
    """
    import xarray

    start, lift = shadow.problem.theta, shadow.split.lift
    descents, flows = [], []
    for tau in (1.0, shadow.split.tau):
        descents.insert(0, shadow_error(lift, *shadow.descents(start, step_size, steps, tau)))
        narrow, wide = shadow.flows(start, rtol, 1e-6, tau)
        size = np.max(np.linalg.norm(wide.theta, axis=1))
        flows.insert(0, shadow_error(lift, narrow, wide) / size)
    estimate = sum(np.max(np.asarray(run.error_estimate)) for run in (narrow, wide)) / size
    chosen = np.linspace(0, flows[0].size - 1, rows).round().astype(int)
    return xarray.Dataset(
        {
            "descent_error": (("clock", "descent_step"), np.stack(descents)[:, :: max(1, steps // rows)]),
            "flow_error": (("clock", "row"), np.stack(flows)[:, chosen]),
            "flow_time": ("row", np.asarray(narrow.t)[chosen]),
            "descent_largest": ("clock", np.max(descents, axis=1)),
            "flow_largest": ("clock", np.max(flows, axis=1)),
            "flow_estimate": estimate,
            "tau": shadow.split.tau,
            "loss_fall": float(narrow.potential[-1] / shadow.problem.loss(start)),
        },
        {"clock": ["own", "narrow"], "descent_step": np.arange(0, steps + 1, max(1, steps // rows))},
    )


def compare_batches(shadow: Shadow, step_size: float, steps: int, rows: int = 300) -> "xarray.Dataset":
    """Gradient descent on both networks, and SGD of ten samples a batch, drawn alike and drawn apart.

    `error` (algorithm, iterate): ‖η − Tθ‖ at log-spaced iterates; `largest` (algorithm,) of all; `norm` (iterate,):
    ‖η‖ of gradient descent.
    """
    import xarray

    start, lift = shadow.problem.theta, shadow.split.lift
    narrow, wide = shadow.descents(start, step_size, steps)
    errors = {"descent": shadow_error(lift, narrow, wide)}
    for name, key in (("same batches", 1), ("other batches", 2)):
        sgd = functools.partial(OptaxDescent, transformation=optax.sgd(step_size), step_size=step_size, batch_size=10)
        first, second = sgd(shadow.problem, key=jax.random.key(1)), sgd(shadow.wide, key=jax.random.key(key))
        errors[name] = shadow_error(lift, *shadow.follow(first, second, start, steps))
    kept = np.unique(np.geomspace(1, steps, rows).round().astype(int))
    record = {
        "error": (("algorithm", "iterate"), np.stack([error[kept] for error in errors.values()])),
        "largest": ("algorithm", [np.max(error) for error in errors.values()]),
        "norm": ("iterate", np.linalg.norm(wide.theta, axis=1)[kept]),
    }
    return xarray.Dataset(record, {"algorithm": list(errors), "iterate": kept})


def clock_claims(record: "xarray.Dataset") -> list[Claim]:
    """Claims on `compare_clocks` of several cases: both errors with the clock τ, and without it where τ ≠ 1.

    Flows are solved apart, and may differ by what they estimate their errors to be, or three times that.
    """
    claims = []
    for case in record["case"].values:
        own = record.sel(case=case)
        descent, flow = (own[name].values for name in ("descent_largest", "flow_largest"))
        source, estimate = PAPER if own["tau"] == 1 else DERIVED, float(own["flow_estimate"])
        claims += [
            Claim(f"{case}: descents on shared steps, error", source, 0, descent[0], 1e-12, scale="absolute"),
            Claim(f"{case}: flows, error/estimate", source, 0, flow[0] / estimate, 3, scale="absolute"),
            Claim(f"{case}: flows, estimate/‖θ‖", "numerics", 0, estimate, 1e-4, scale="absolute"),
            Claim(f"{case}: flows, loss at the end/start", "counted", 1e-6, own["loss_fall"], 1e-3),
        ]
        if own["tau"] != 1:
            claims += [
                Claim(f"control, {case}, no clock: descents", DERIVED, 0.1, descent[1], 0, "at_least"),
                Claim(f"control, {case}, no clock: flows /‖θ‖", DERIVED, 0.01, flow[1], 0, "at_least"),
            ]
    return claims
