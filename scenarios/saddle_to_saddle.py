"""From one saddle to the next: plateaus and jumps of networks that start at next to nothing."""

import dataclasses
import functools
import math

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray

import gfsim as gf
from gfsim.parallel import in_parallel
from gfsim.verification.jumps import half_times, jump_process
from gfsim.verification.plateaus import crossing, plateau

DERIVED, JACOT, BOURSIER, PESME = "[derived]", "arXiv 2106.15933", "arXiv 2206.00939", "arXiv 2304.00488"
DEPTHS = (2, 3, 4)
# Of the deep linear network, and the targets on orthonormal inputs.
SINGULAR, TARGETS = np.array([4.0, 2.0, 1.0]), np.array([2.0, 1.5, -1.0, -0.5])
# The last one, which is not small, is the control.
ALPHAS = (1e-25, 1e-50, 1e-100, 1e-1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SaddleToSaddle(gf.Scenario):
    """From a vanishing start the loss falls in steps, whose heights and times are known as ln(1/α) grows.

    Balanced scalar products of L layers against their closed forms; a deep linear network through ranks 0, 1, 2; two
    layers of ReLU on orthogonal inputs, which fit the positive samples and then the negative ones; and diagonal linear
    networks down to α = 1e-100, in their dual variable, beside the jump process. Of the deep linear network only the
    first step is a theorem. Control: α = 0.1, where jumps come at other times.

    Source: arXiv 2106.15933 (deep linear), arXiv 2206.00939 (orthogonal inputs), arXiv 2304.00488 (diagonal).
    Run time: 1 min on two cores, most of it compilation; there is no smaller configuration.
    """

    rtol: float = 1e-8
    """Tolerance of all flows but those with kinks."""
    width: int = 24
    """Hidden neurons of the ReLU network."""
    features: int = 8
    """Coordinates of the diagonal network, on 5 samples."""

    def __post_init__(self):
        super().__post_init__()
        for name, (least, most) in {"width": (12, 200), "features": (3, 60)}.items():
            if not least <= getattr(self, name) <= most:
                raise ValueError(f"{name} must lie between {least} and {most}, was {getattr(self, name)}")

    def simulate(self) -> xarray.Dataset:
        parts = (self.scalar, self.linear, self.relu, self.diagonal)
        return xarray.merge(in_parallel([functools.partial(part) for part in parts]))

    def scalar(self) -> xarray.Dataset:
        """Times for w^L = ½, which is L = 1/8, over their leading order."""
        alphas, ratios = np.array([1e-1, 1e-2, 1e-3]), np.zeros((len(DEPTHS), 3))
        for row, depth in enumerate(DEPTHS):
            network = gf.networks.DeepLinear((1,) * (depth + 1), key=jax.random.key(0))
            problem = gf.Problem(network, gf.Dataset([[1.0]], [1.0]), gf.losses.Square())
            for column, alpha in enumerate(alphas):
                flow, until = gf.GradientFlow(problem, scale=float(alpha)), gf.events.loss_below(0.125)
                run = gf.simulate(flow, jnp.ones(depth), 100.0, until=until, solver=dfx.Dopri8(), rtol=1e-11)
                leading = math.log(1 / alpha) if depth == 2 else 1 / (depth - 2)
                ratios[row, column] = float(run.t[-1]) / leading
        return xarray.Dataset({"ratio": (("depth", "alpha"), ratios)}, {"depth": list(DEPTHS), "alpha": alphas})

    def linear(self) -> xarray.Dataset:
        """Two linear layers to diag(4, 2, 1) on orthonormal inputs, from a random start."""
        scale = 1e-8
        network = gf.networks.DeepLinear((3, 3, 3), key=jax.random.key(self.seed))
        problem = gf.Problem(network, gf.data.orthogonal(np.diag(SINGULAR)), gf.losses.Square())
        run = self.steps(problem, scale, problem.theta, 140.0, dfx.Dopri8(), self.rtol)
        heights = np.cumsum((SINGULAR**2)[::-1])[::-1][1:] / 6
        middles = [plateau(run, height) for height in heights]
        halfway = crossing(run, 0.5 * (heights[0] + np.sum(SINGULAR**2) / 6))
        return xarray.Dataset(
            {
                "linear_time": ("linear_row", np.asarray(run.t)),
                "linear_loss": ("linear_row", np.asarray(run.observed["loss"])),
                "linear_predicted": ("step", heights),
                "linear_plateau": ("step", middles),
                "linear_jumps": ("jump", 3 * math.log(1 / scale) / SINGULAR),
                "linear_first": halfway,
            }
        )

    def relu(self) -> xarray.Dataset:
        """|a_j| = ‖w_j‖ = λ, as many neurons of either sign."""
        scale, random = 1e-20, np.random.default_rng(self.seed)
        w = random.standard_normal((self.width, TARGETS.size))
        # One neuron of either sign is active on all samples, as the theorem asks.
        w[:2] = np.abs(w[:2])
        w /= np.linalg.norm(w, axis=1, keepdims=True)
        network = gf.networks.TwoLayer(TARGETS.size, self.width, gf.networks.ReLUPower(1), key=jax.random.key(0))
        signs = np.where(np.arange(self.width) % 2, 1.0, -1.0)
        network = eqx.tree_at(lambda n: (n.w, n.a), network, (jnp.asarray(w), jnp.asarray(signs)))
        problem = gf.Problem(network, gf.data.orthogonal(TARGETS), gf.losses.Square())
        run = self.steps(problem, scale, problem.theta, 400.0, dfx.Tsit5(), 1e-7)
        height = np.sum(TARGETS[TARGETS < 0] ** 2) / 8
        pulls = [np.linalg.norm(TARGETS[sign * TARGETS > 0]) / 4 for sign in (1, -1)]
        end = problem.network_at(run.theta[-1])
        return xarray.Dataset(
            {
                "relu_time": ("relu_row", np.asarray(run.t)),
                "relu_loss": ("relu_row", np.asarray(run.observed["loss"])),
                "relu_predicted": height,
                "relu_plateau": plateau(run, height),
                "relu_jumps": ("side", math.log(1 / scale) / np.array(pulls)),
                "relu_norm": float(jnp.sum(jnp.abs(end.a) * jnp.linalg.norm(end.w, axis=1))),
            }
        )

    def diagonal(self) -> xarray.Dataset:
        random = np.random.default_rng(self.seed + 1)
        x, y = random.standard_normal((5, self.features)), random.standard_normal(5)
        problem = gf.Problem(gf.networks.DiagonalLinear(self.features), gf.Dataset(x, y), gf.losses.Square())
        jumps = jump_process(x, y)
        times, end = np.array([jump.time for jump in jumps]), jumps[-1].beta
        save, rows = gf.linear_spaced(0, 1.3 * times[-1], 20001), []
        for alpha in ALPHAS:
            flow, start = gf.DualFlow(problem, alpha), alpha * problem.theta
            rows.append(
                gf.simulate(flow, start, 1.3 * times[-1], save=save, solver=dfx.Dopri8(), rtol=self.rtol, atol=1e-10)
            )
        paths = [np.prod(np.split(np.asarray(run.theta), 2, axis=1), axis=0) for run in rows]
        middles = np.searchsorted(np.asarray(rows[0].t), np.append(0.5 * (times[1:] + times[:-1]), 1.25 * times[-1]))
        wrong = [np.sum((np.abs(path[middles]) > 1e-6) != ([jump.beta != 0 for jump in jumps])) for path in paths]
        halves = np.array([half_times(np.asarray(run.t), path, jumps) for run, path in zip(rows, paths, strict=True)])
        thin = slice(None, None, 20)
        return xarray.Dataset(
            {
                "jump_time": ("jumps", times),
                "jump_beta": (("jumps", "coordinate"), np.array([jump.beta for jump in jumps])),
                "first_jump": 5 / np.abs(x.T @ y).max(),
                "clock": ("diagonal_row", np.asarray(rows[0].t)[thin]),
                "beta": (("start", "diagonal_row", "coordinate"), np.array(paths)[:, thin]),
                "half": (("start", "entry", "way"), halves),
                "wrong_support": ("start", np.array(wrong)),
                "end_gap": (
                    "start",
                    [np.linalg.norm(path[-1] / np.linalg.norm(end) - end / np.linalg.norm(end)) for path in paths],
                ),
                "energy": ("start", [run.stats["energy_residual"] / float(run.start["potential"]) for run in rows]),
            },
            {"start": list(ALPHAS)},
        )

    def steps(self, problem: gf.Problem, scale: float, u0, clock: float, solver, rtol: float) -> gf.Trajectory:
        """A degree-2 network from scale·u0, kept at even times."""
        save, flow = gf.linear_spaced(0, clock, 3001), gf.GradientFlow(problem, scale=scale)
        return gf.simulate(flow, u0, clock, save=save, observe={"loss": gf.observables.loss}, solver=solver, rtol=rtol)

    def claims(self, record: xarray.Dataset) -> list[gf.Claim]:
        error = np.max(np.abs(record["half"][:, :, 1].values / record["half"][:, :, 0].values - 1), axis=1)
        deep = record["ratio"].sel(alpha=1e-3).values
        claims = [
            gf.Claim(f"L = {l}: time of w^L = ½ / law", DERIVED, 1, r, 1e-3) for l, r in zip(DEPTHS, deep, strict=True)
        ]
        steps = zip(record["linear_predicted"].values, record["linear_plateau"].values, strict=True)
        claims += [
            gf.Claim(f"deep linear: plateau of rank {k + 1}", f"{JACOT}, not a theorem" if k else JACOT, p, m, 1e-3)
            for k, (p, m) in enumerate(steps)
        ]
        norm = sum(np.linalg.norm(TARGETS[sign * TARGETS > 0]) for sign in (1, -1))
        return [
            *claims,
            gf.Claim(
                "linear: first jump / ln(1/α)n/s₁",
                JACOT,
                1,
                record["linear_first"] / record["linear_jumps"][0],
                0.1,
            ),
            gf.Claim(
                "ReLU: plateau", BOURSIER, record["relu_predicted"], record["relu_plateau"], 1e-5, scale="absolute"
            ),
            gf.Claim("ReLU: loss in the end", BOURSIER, 0, record["relu_loss"][-1], 1e-6, scale="absolute"),
            gf.Claim("ReLU: Σ|a_j|‖w_j‖ in the end", BOURSIER, norm, record["relu_norm"], 1e-2),
            gf.Claim(
                "diagonal: first jump · ‖∇L(0)‖_∞", PESME, 1, record["jump_time"][0] / record["first_jump"], 1e-12
            ),
            gf.Claim("diagonal, α = 1e-100: error of jumps", PESME, 0, error[2], 0.01, scale="absolute"),
            gf.Claim("diagonal: error·ln(1/α), next/first", PESME, 1, 2 * error[1] / error[0], 0.15),
            gf.Claim("diagonal: error·ln(1/α), last/next", PESME, 1, 2 * error[2] / error[1], 0.15),
            gf.Claim("diagonal, α = 1e-100: wrong support", PESME, 0, record["wrong_support"][2], 0),
            gf.Claim(
                "diagonal: energy identity, relative",
                "numerics",
                0,
                record["energy"].max(),
                1e-5,
                scale="absolute",
            ),
            gf.Claim("control, α = 0.1: gap of the last β", PESME, 0.1, record["end_gap"][3], 0, "at_least"),
        ]
