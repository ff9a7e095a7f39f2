"""Gradient flow from a small start δu0 beside the correlation flow that it follows."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import diffrax as dfx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gfsim import landscape
from gfsim.dynamics import CorrelationFlow, GradientFlow
from gfsim.problems import Problem
from gfsim.simulation import Trajectory, events, every_step, observables, simulate

if TYPE_CHECKING:
    import xarray

# Where δρ is so small that the loss is its own linearisation to rounding, the flow of s = θ/δ is u' = ∇N(u).
LINEAR = 2.0**-40


@dataclasses.dataclass(frozen=True)
class SmallStart:
    """Flows of s = θ/δ over τ = tδ^{L−2} from one direction u0, for as many δ as are asked for.

    The correlation flow u is run as the member δ = 2⁻⁴⁰ of the same family: it then shares the compiled solver, and
    most of its steps and errors, with the flows that it is compared with.
    """

    problem: Problem
    u0: Float[Array, "P"]
    rtol: float
    solver: dfx.AbstractSolver = dataclasses.field(default_factory=dfx.Dopri8)

    def flow(self, delta: float, tau: float, norm: float = 1e9) -> Trajectory:
        """θ of every step until τ or ‖θ‖ = norm; one compilation serves every δ, τ and norm."""
        return simulate(
            GradientFlow(self.problem, scale=delta),
            self.u0,
            tau,
            save=every_step(),
            observe={"correlation": observables.correlation},
            until=events.norm_reaches(norm),
            solver=self.solver,
            rtol=self.rtol,
        )

    def later(self, norm: float) -> "SmallStart":
        """The same from the direction that the correlation flow has at ‖u‖ = norm."""
        return dataclasses.replace(self, u0=unit(self.flow(LINEAR, 1e9, norm * LINEAR).theta[-1]))

    def turn(self, direction: Array, norm: float) -> "xarray.Dataset":
        """`turn` (step, quantity): clock, norm and 1 − cos to `direction` along u on its own clock, up to ‖u‖ = norm.

        `own_blow_up` is T* from this solve, to which the τ clock's T* must agree.
        """
        import xarray

        flow = CorrelationFlow(self.problem, polar=True)
        until = events.norm_reaches(norm)
        # Near û nothing errs, and steps grow to several e-folds of the norm: those of order 5 at a tight tolerance are
        # short enough to show the decay, of which a step's end alone is as precise.
        rtol = min(self.rtol, 1e-11)
        run = simulate(flow, self.u0, 1e9, save=every_step(), until=until, solver=dfx.Tsit5(), rtol=rtol)
        blow_up = float(jnp.exp(run.log_t[-1]) + landscape.time_to_blow_up(self.problem, run.theta[-1]))
        path = approach(run, 1.0, direction, 1000)
        return xarray.Dataset({"turn": (("step", "quantity"), path), "own_blow_up": blow_up})

    def compare(
        self, ladder: Sequence[float], deltas: Sequence[float], escape_norm: float
    ) -> "tuple[xarray.Dataset, landscape.CorrelationPoint]":
        """What the laws of early convergence speak of (L > 2), and the KKT point û that u0 leads to.

        - `error` (rung,): ‖s − u‖ when ‖u‖ = 1.5, for δ in `ladder`; `escape_time` (escape,): τ at ‖θ‖ = escape_norm,
          for δ in `deltas`; `path` (flow, row, quantity): τ, ‖s‖ and 1 − cos to û along u and each of `deltas`.
        - `blow_up`: T*, the time at which u becomes infinite, from the flow to ‖u‖^{L−2} = 10⁸ and the KKT ray beyond.
        - `start_value` N(u0), `kkt_value` N*, `stationarity`, `decay_rates` (the two smallest κ), `split_error` of the
          layers' norms², `rank_ratio` σ₂/σ₁ at û; NaN in place of N* and κ where û could not be refined.
        - `largest_fall` of N along u; `drift` of the conserved quantities, in units of rtol·max‖θ‖².

        Source: Kumar & Haupt, arXiv 2403.08121, for the setting; the laws are derived from it.
        """
        import xarray

        problem, degree = self.problem, self.problem.degree
        assert degree is not None
        start_value = float(problem.correlation(self.u0))
        latest = 2 / (degree * (degree - 2) * start_value)
        limit = self.flow(LINEAR, latest, LINEAR * 1e8 ** (1 / (degree - 2)))
        blow_up = float(limit.t[-1] + landscape.time_to_blow_up(problem, limit.theta[-1] / LINEAR))
        kkt = landscape.correlation_kkt(problem, limit.theta[-1])

        reference = self.flow(LINEAR, latest, 1.5 * LINEAR)
        beside = [self.flow(delta, float(reference.t[-1])) for delta in ladder]
        away = [s.theta[-1] / delta - reference.theta[-1] / LINEAR for s, delta in zip(beside, ladder, strict=True)]
        escapes = [self.flow(delta, 2 * blow_up, escape_norm) for delta in deltas]
        runs = zip((limit, *escapes), (LINEAR, *deltas), strict=True)
        # The trajectories' drift is absolute and θ = δs.
        drifts = [
            run.stats.get("invariant_drift", np.nan) / float(jnp.max(jnp.sum(run.theta**2, axis=1))) for run in escapes
        ]
        layers = landscape.layer_shares(problem, kkt.direction)
        activation = problem.network_at(self.u0).activation
        record = xarray.Dataset(
            {
                "degree": degree,
                "start_value": start_value,
                "kkt_value": kkt.value if kkt.refined else np.nan,
                "stationarity": kkt.stationarity,
                "decay_rates": ("mode", -kkt.eigenvalues[:-3:-1]),
                "split_error": np.max(np.abs(layers - landscape.layer_split(activation.degree, layers.size))),
                "rank_ratio": float(jnp.max(observables.weight_rank(problem, kkt.direction))),
                "blow_up": blow_up,
                "largest_fall": max(0.0, float(np.max(-np.diff(limit.observed["correlation"])))),
                "drift": max(drifts) / self.rtol,
                "ladder": ("rung", np.array(ladder)),
                "error": ("rung", [float(jnp.linalg.norm(difference)) for difference in away]),
                "escape_norm": escape_norm,
                "delta": ("escape", np.array(deltas)),
                "escape_time": ("escape", [float(run.t[-1]) for run in escapes]),
                "path": (("flow", "row", "quantity"), np.stack([approach(r, d, kkt.direction) for r, d in runs])),
            }
        )
        return record, kkt

    def train(self, delta: float, loss: float, norms: Sequence[float]) -> "xarray.Dataset":
        """Gradient flow of a two-layer network from δu0 until the loss fell to `loss`.

        `weights` (moment, neuron, pixel): the input weights where ‖θ‖ is nearest to each of `norms`, `moment_norm` its
        value there. `flow_gradients`: what the run cost, a Hessian product counting two; `descent_gradients`: the steps
        of gradient descent at 1.9/λ_max over the same time.
        """
        import xarray

        run = simulate(
            GradientFlow(self.problem),
            delta * self.u0,
            1e6,
            save=every_step(),
            observe={"curvature": landscape.largest_eigenvalue},
            until=events.loss_below(loss),
            rtol=1e-6,
        )
        sizes = np.linalg.norm(run.theta, axis=1)
        moments = [int(np.argmin(np.abs(np.log(sizes / norm)))) for norm in norms]
        networks = [self.problem.network_at(run.theta[moment]) for moment in moments]
        return xarray.Dataset(
            {
                "descent_gradients": float(run.t[-1] * run.observed["curvature"].max() / 1.9),
                "flow_gradients": run.stats["gradients"] + 2 * run.stats["hessian_products"],
                "weights": (("moment", "neuron", "pixel"), np.stack([net.w for net in networks])),
                "moment_norm": ("moment", sizes[moments]),
            }
        )


def scatter(
    problem: Problem, starts: Float[Array, "members P"], clock: float, rtol: float, rounds: int = 4
) -> tuple["xarray.Dataset", landscape.Basins]:
    """Where the correlation flow takes many directions: an ensemble on the clock dσ = ρ^{L−2}dτ, sorted by KKT point.

    It runs for `clock`, and again up to `rounds` times in all while a direction is unresolved.

    `label` (member,) as in `landscape.Basins`, `initial_value` N(u0), and `balance` (member, quantities), the conserved
    quantities at the start.
    """
    import xarray

    starts = jax.vmap(unit)(starts)
    flow, at = CorrelationFlow(problem, polar=True), starts
    # The norm overflows if the clock runs on; the flow is the same from the direction alone.
    while True:
        run = simulate(flow, at, clock, solver=dfx.Tsit5(), rtol=rtol)
        found, rounds = landscape.basins(problem, run.theta[:, -1]), rounds - 1
        if rounds < 1 or found.share(landscape.UNRESOLVED) == 0:
            break
        at = jax.vmap(unit)(run.theta[:, -1] / jnp.max(jnp.abs(run.theta[:, -1]), axis=1, keepdims=True))
    record = xarray.Dataset(
        {
            "label": ("member", found.labels),
            "initial_value": ("member", np.asarray(jax.lax.map(problem.correlation, starts))),
            "balance": (("member", "conserved"), np.asarray(jax.lax.map(problem.balancedness, starts))),
        }
    )
    return record, found


def escapes(
    problem: Problem, directions: Float[Array, "members P"], deltas: Sequence[float], norm: float, rtol: float
) -> "list[xarray.Dataset]":
    """`escape_time`, the physical time at which ‖θ‖ = norm, from δ·u0 for each of `directions` with its own δ (L > 2).

    One ensemble of gradient flows. u0 is the direction with the sign of its last layer turned so that N(u0) > 0
    (`start_value`), without which the start need not escape at all. `degree` is L.
    """
    import xarray

    degree = problem.degree
    assert degree is not None
    outer = jax.tree.leaves(problem.network_at(problem.theta))[-1].size
    signs = jnp.sign(jax.lax.map(problem.correlation, directions))
    starts = jax.vmap(unit)(directions.at[:, -outer:].multiply(signs[:, None]))
    values = np.asarray(jax.lax.map(problem.correlation, starts))
    scales = np.asarray(deltas, float)
    # N does not fall along the flow, so that the slowest is no later than it would be at its first value.
    latest = 2 / np.min(degree * (degree - 2) * values * scales ** (degree - 2))
    until = events.norm_reaches(norm)
    run = simulate(
        GradientFlow(problem),
        jnp.asarray(scales)[:, None] * starts,
        float(latest),
        until=until,
        solver=dfx.Dopri8(),
        rtol=rtol,
    )
    times = np.where(np.asarray(run.outcome) == "event:norm_reaches", np.asarray(run.t)[:, -1], np.nan)
    parts = zip(times, values, strict=True)
    return [xarray.Dataset({"escape_time": time, "start_value": value, "degree": degree}) for time, value in parts]


def training(start: SmallStart, direction: Array) -> "xarray.Dataset":
    """`SmallStart.train` from δ = 0.01 to loss 0.05, and a start that is not small.

    `large_misalignment`: 1 − cos to `direction` at ‖θ‖ = 2 from δ = 1.
    """
    large = start.flow(1.0, 1e4, 2.0)
    trained = start.train(0.01, 0.05, (0.01, 0.1, 1.0))
    return trained.assign(large_misalignment=approach(large, 1.0, direction)[-1, 2])


def approach(run: Trajectory, scale: float, direction: Array, rows: int = 400) -> Float[np.ndarray, "rows 3"]:
    """Clock, ‖θ‖/scale and 1 − cos between θ and `direction` = ½‖θ/‖θ‖ − direction‖², at `rows` of the kept states."""
    kept = np.linspace(0, run.t.size - 1, rows).round().astype(int)
    theta = np.asarray(run.theta)[kept]
    norm = np.linalg.norm(theta, axis=1)
    misalignment = 0.5 * np.sum((theta / norm[:, None] - np.asarray(direction)) ** 2, axis=1)
    return np.stack([np.asarray(run.t)[kept], norm / scale, misalignment], axis=1)


def unit(theta: Float[Array, "P"]) -> Float[Array, "P"]:
    """θ/‖θ‖."""
    return theta / jnp.linalg.norm(theta)
