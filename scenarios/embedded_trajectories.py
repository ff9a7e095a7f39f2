"""Trajectories of narrow networks inside wide ones."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import xarray

import gfsim as gf
from gfsim import landscape
from gfsim.parallel import in_parallel
from gfsim.verification import Shadow, shadow_error
from gfsim.verification.neuron_plane import neuron_plane, off_saddle
from gfsim.verification.off_image import departure_claims, embedding_errors, leave_image, on_manifold
from gfsim.verification.one_neuron import at_kkt, forced_violations, point_claims, projected_paths, split_points
from gfsim.verification.shadow import clock_claims, compare_batches, compare_clocks, compare_limits, outputs_on_grid
from gfsim.verification.split_cases import KINDS, SMALL_LEAK, shadow

PAPER, DERIVED = "arXiv 2505.12419", "[derived] for arXiv 2505.12419"
PRINCIPLE = "[derived] for arXiv 2105.14573"
CASES = ("p = 1", "p = 2", "p = 3", "three layers")
# Degree, how far the copies start from equal, and the norm of the start.
BESIDE = ((1, 1e-4, 1e-2), (2, 1e-5, 1e-4), (3, 1e-6, 1e-4))


@dataclasses.dataclass(frozen=True, kw_only=True)
class EmbeddedTrajectories(gf.Scenario):
    """A wide network whose neurons are split copies of a narrow one's trains exactly as the narrow one does.

    Tθ splits neurons (Σc² = 1, degree 1) or all of them alike (any degree p, with a clock τ): η(t) = Tθ(τt) for flow
    and descent, and KKT points of the max-margin problem stay KKT points, as local optima for p = 1 and as saddles for
    p > 1, where a wide flow beside the image leaves it like ‖θ‖^p. Two and three layers, p = 1, 2, 3, the published
    experiment, and a convolutional network on digits. Controls: Σc² ≠ 1, one neuron split at p = 2, no clock, other
    batches, other rates.

    Source: Zhang, Luo & Zhang, arXiv 2505.12419, Thms 4.8, 5.2 and 5.4 (p = 1), arXiv 2105.14573 (any activation).
    Run time: 2 min on two cores, 1 min once compiled.
    """

    rtol: float = 1e-8
    """Tolerance of the flows."""
    steps: int = 100_000
    """Steps of descent in the published experiment."""
    digit_steps: int = 1000
    """Steps of descent on the digits."""
    starts: int = 6
    """Starts in the phase portrait."""
    deep: bool = True
    """Run three layers, p = 3 and every kind of split too."""

    def __post_init__(self):
        super().__post_init__()
        limits = {"rtol": (1e-12, 1e-6), "steps": (1000, 10**7), "digit_steps": (10, 10**6), "starts": (2, 100)}
        for name, (least, most) in limits.items():
            if not least <= getattr(self, name) <= most:
                raise ValueError(f"{name} must lie between {least} and {most}, was {getattr(self, name)}")

    def reduced(self):
        return dataclasses.replace(self, steps=20_000, digit_steps=50, starts=2, deep=False)

    def simulate(self) -> xarray.Dataset:
        names = CASES if self.deep else CASES[:2]
        jobs = [functools.partial(self.clock, name) for name in names]
        jobs += [self.published, self.portrait, self.limits, self.digits, self.neuron, self.principle, self.promises]
        parts = in_parallel(jobs)
        cases = xarray.concat(parts[: len(names)], dim=xarray.IndexVariable("case", list(names)))
        return xarray.merge([cases, *parts[len(names) :]]).assign_attrs(rtol=self.rtol)

    def shadow(self, kind: str) -> Shadow:
        """Narrow and wide on two Gaussians; on four with the labels of XOR for p = 2; on digits for channels."""
        key, spread = jax.random.key(self.seed), 0.8
        if kind.startswith("channels"):
            return shadow(kind, gf.data.digits((3, 5)), gf.losses.Logistic(), key)
        data = gf.data.gaussians([[2, -2], [-2, 2]], spread, 100, key)
        if kind == "p = 2":
            data = gf.data.gaussians([[2, -2], [2, 2], [-2, 2], [-2, -2]], spread / 2, 100, key)
            data = gf.Dataset(data.inputs, 1 - 2 * (data.targets % 2))
        return shadow(kind, data, gf.losses.Exponential(), jax.random.key(self.seed + 3))

    def clock(self, kind: str) -> xarray.Dataset:
        """Descents on shared steps and independent flows, with the clock τ and without."""
        self.announce(f"{kind}: descents and flows")
        return compare_clocks(self.shadow(kind), 0.05, 2000, self.rtol)

    def published(self) -> xarray.Dataset:
        """2→1→1 against 2→2→1 by descent and by SGD."""
        return compare_batches(self.shadow("published"), 0.1, self.steps)

    def portrait(self) -> xarray.Dataset:
        """One neuron's flow from several starts and its split's, in its plane; the boundaries of p = 2 on a grid."""
        both = self.shadow("one neuron")
        goal = landscape.one_neuron_kkt(both.problem.data, gf.networks.ReLUPower(1, SMALL_LEAK))
        axis = goal.w / np.linalg.norm(goal.w)
        plane = projected_paths(both, axis, self.starts, self.rtol).merge(neuron_plane(both.problem, axis))
        trained, side = self.shadow("p = 2"), np.linspace(-4, 4, 81)
        runs = trained.descents(trained.problem.theta, 0.05, 2000)
        values = outputs_on_grid(trained, *runs, side)
        record = {
            "goal": ("coordinate", np.array([np.linalg.norm(goal.w), goal.a])),
            "boundary": (("width", "y", "x"), values),
            "boundary_error": np.max(np.abs(values[1] - values[0])) / np.max(np.abs(values)),
            "sample": (("datum", "xy"), np.asarray(trained.problem.data.inputs)),
            "label": ("datum", np.asarray(trained.problem.data.targets)),
        }
        return plane.merge(xarray.Dataset(record, {"width": ["narrow", "wide"], "x": side, "y": side}))

    def limits(self) -> xarray.Dataset:
        """Directions at log 𝓛 = −1e4 from a start near one neuron's KKT point, narrow and wide, and their residuals."""
        both = self.shadow("one neuron")
        point = landscape.one_neuron_kkt(both.problem.data, gf.networks.ReLUPower(1, SMALL_LEAK))
        goal = np.append(point.w, point.a) / np.linalg.norm([*point.w, point.a])
        record = compare_limits(both, jnp.asarray(goal + np.array([0.3, 0.3, 0.2])), -1e4, self.rtol)
        return record.assign(goal_distance=np.linalg.norm(record["limit"].values - goal))

    def digits(self) -> xarray.Dataset:
        """A small convolutional network on the digits 3 and 5, one channel of each layer split."""
        both = self.shadow("channels")
        narrow, wide = both.descents(both.problem.theta, 0.5, self.digit_steps)
        return xarray.Dataset({"digit_error": np.max(shadow_error(both.split.lift, narrow, wide))})

    def neuron(self) -> xarray.Dataset:
        """One neuron: its KKT points and their splits, and the wide flow of two nearly equal copies."""
        data = self.shadow("one neuron").problem.data
        paths = [leave_image(at_kkt(data, p), delta, epsilon, self.rtol) for p, epsilon, delta in BESIDE]
        rows = [path[np.linspace(0, len(path) - 1, 200).round().astype(int)] for path in paths]
        return split_points(data).assign(beside=(("degree", "instant", "quantity"), np.stack(rows)))

    def principle(self) -> xarray.Dataset:
        """A tanh network with biases: gradients under the one-step embedding, and motion with equal copies."""
        network = gf.networks.FeedForward((2, 3, 1), gf.networks.Tanh(), key=jax.random.key(self.seed), bias=True)
        x = jax.random.normal(jax.random.key(self.seed + 1), (30, 2))
        problem = gf.Problem(network, gf.Dataset(x, jnp.sin(2 * x[:, 0]) + x[:, 1]), gf.losses.Square())
        loss, gradient = embedding_errors(problem, 0.7)
        motion = np.array(on_manifold(problem, 3, np.linspace(1, 50, 50), self.rtol))
        record = {"embedding_loss": loss, "embedding_gradient": gradient, "manifold_error": ("rates", motion)}
        return xarray.Dataset(record, {"rates": ["changed", "narrow"]})

    def promises(self) -> xarray.Dataset:
        """Isometry, outputs and gradients of every kind of split, and of two that the theorem does not cover."""
        kinds = list(KINDS) if self.deep else [*CASES[:2], "published", "channels"]
        kept = [self.shadow(kind) for kind in kinds]
        violations = [both.split.violation(both.problem, both.problem.theta) for both in kept]
        forced = forced_violations(self.shadow("one neuron").problem.data)
        record = {"violation": (("kind", "promise"), np.array(violations)), "forced": (("control", "promise"), forced)}
        return xarray.Dataset(record, {"kind": kinds, "promise": list(landscape.Violation._fields)})

    def claims(self, record: xarray.Dataset) -> list[gf.Claim]:
        shared, forced, moved = record["largest"], record["forced"], record["manifold_error"]
        worst = lambda values: values.max(skipna=False)  # noqa: E731
        promises = zip(record["promise"].values, record["violation"].transpose("promise", ...), strict=True)
        zero = [(f"every kind of split: {name}, error", PAPER, worst(value), 1e-14) for name, value in promises]
        zero += [
            ("published experiment: every step", PAPER, shared.sel(algorithm="descent"), 1e-11),
            ("SGD, same batches: every step", PAPER, shared.sel(algorithm="same batches"), 1e-11),
            ("starts: flows, error/(rtol·‖θ‖)", PAPER, worst(record["start_error"]) / self.rtol, 10),
            ("one neuron's plane: points − the saddle at 0", PAPER, off_saddle(record), 1e-9),
            ("the same: ‖∇log 𝓛‖ at it", PAPER, record["plane_gradient_norm"].sum(skipna=False), 1e-10),
            ("the same: streamlines − solved, of the side", "numerics", record["plane_gap"], 1e-3),
            ("digits, channels split: every step", PAPER, record["digit_error"], 1e-11),
            ("p = 2: decision functions on a grid", DERIVED, record["boundary_error"], 1e-12),
            ("limits: direction of η against Tθ", f"{PAPER}, Thm 5.4", record["limit_error"], 1e-6),
            ("limit, log 𝓛 = −1e4: from the KKT point", PAPER, record["goal_distance"], 1e-2),
            ("KKT residuals at the limit, difference", PAPER, abs(record["stationarity"].diff("width")[0]), 1e-12),
            ("multipliers at the limit, difference", PAPER, record["multiplier_apart"], 1e-10),
            ("embedding: gradients at any point", PRINCIPLE, record["embedding_gradient"], 1e-14),
            ("embedding: loss", PRINCIPLE, record["embedding_loss"], 1e-14),
            ("equal copies: flows, error/(rtol·‖θ‖)", PRINCIPLE, moved.sel(rates="changed") / self.rtol, 10),
        ]
        output, other = forced.sel(promise="output").values, shared.sel(algorithm="other batches")
        controls = [
            gf.Claim("control, Σc² = ½: output, error", DERIVED, 0.5, output[0], 1e-12),
            gf.Claim("control, one neuron, p = 2: output", DERIVED, 1 - 0.6**3 - 0.8**3, output[1], 1e-12),
            gf.Claim("control, other batches: error", PAPER, 0.01, other, 0, "at_least"),
            gf.Claim("control, narrow rates: error/‖θ‖", PRINCIPLE, 0.1, moved.sel(rates="narrow"), 0, "at_least"),
        ]
        claims = [gf.Claim(name, source, 0, value, slack, scale="absolute") for name, source, value, slack in zero]
        claims += clock_claims(record) + point_claims(record) + departure_claims(record, BESIDE)
        return claims + controls
