"""What gradient flow does while the initialisation is still small."""

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
from gfsim import landscape
from gfsim.parallel import in_parallel
from gfsim.verification.early_laws import direction_law, size_laws
from gfsim.verification.small_start import LINEAR, SmallStart, escapes, scatter, training, unit
from gfsim.verification.sphere import correlation_sphere, sphere_laws

SHALLOW = ("digits L=3", "teacher L=3")
CASES = (*SHALLOW, "digits L=7", "teacher L=7")
SMALL, LEAKY = "arXiv 2403.08121", "arXiv 2402.09226"
DERIVED = f"[derived] for {SMALL}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class EarlyConvergence(gf.Scenario):
    """A small initialisation first turns to a KKT direction of the neural correlation function, by exact laws.

    While ‖θ‖ is small, gradient flow from δu0 follows u' = ∇N(u), the ascent of N(u) = Σ_i z_i H(x_i; u): it turns to
    a direction û that is stationary for N on the sphere, where one neuron survives, and escapes along it. Degree-2
    networks of two and three layers (L = 3, 7) on the digits 3 and 5 and on a planted teacher, and leaky ReLU (L = 2)
    on the teacher, in s = θ/δ and τ = tδ^{L−2}. Controls: a large δ, N(u0) < 0, and activations of degree 1.

    Source: Kumar & Haupt, arXiv 2403.08121 (L > 2) and arXiv 2402.09226 (L = 2); rates and constants are derived.
    Run time: 2 min on two cores, 1 min once compiled.
    """

    rtol: float = 1e-10
    """Tolerance of the smooth flows; flows with kinks and ensembles take powers of it."""
    width: int = 20
    """Hidden neurons of the two-layer network on the digits; with `delta`, of every hidden layer."""
    teacher_width: int = 6
    """Hidden neurons of the two-layer student of the teacher."""
    deltas: tuple[float, ...] = (1e-2, 3e-3, 1e-3)
    """Initial norms whose escape to 0.2 is timed where L = 3."""
    deep_deltas: tuple[float, ...] = (0.08, 0.056, 0.04)
    """Initial norms whose escape to 0.4 is timed where L = 7."""
    directions: int = 200
    """Random initial directions."""
    deep: bool = True
    """Solve the three-layer cases too."""
    delta: float | None = None
    """Only time the escape from this one norm, in a random direction, with the teacher: what a sweep varies."""
    depth: int = 2
    """Layers of the network with `delta`, 2 or 3."""

    def __post_init__(self):
        super().__post_init__()
        for name, norm, value in (("deltas", 0.2, self.deltas), ("deep_deltas", 0.4, self.deep_deltas)):
            if len(set(value)) < 2 or not all(0 < delta < norm for delta in value):
                raise ValueError(f"{name} must be two or more different norms between 0 and {norm}, was {value}")
        if not (self.delta is None or 0 < self.delta < 0.2) or self.depth not in (2, 3):
            raise ValueError(f"delta must be between 0 and 0.2 and depth 2 or 3, was {self.delta} and {self.depth}")
        limits = {"rtol": (1e-13, 1e-6), "width": (2, 200), "teacher_width": (2, 200), "directions": (20, 10_000)}
        for name, (least, most) in limits.items():
            if not least <= getattr(self, name) <= most:
                raise ValueError(f"{name} must lie between {least} and {most}, was {getattr(self, name)}")

    def reduced(self):
        return dataclasses.replace(self, width=4, directions=40, deep=False)

    @property
    def ensemble(self):
        return None if self.delta is None else (self.width, self.depth, self.rtol)

    @classmethod
    def simulate_ensemble(cls, members):
        """Escapes with one teacher: the seeds are those of the directions alone, so that one flow serves all."""
        first, deltas = members[0], [member.delta for member in members]
        if None in deltas:
            return super().simulate_ensemble(members)
        case = "teacher L=3" if first.depth == 2 else "teacher L=7"
        problem = dataclasses.replace(first, seed=0).problem(case, first.width)
        drawn = [np.random.default_rng(member.seed).standard_normal(problem.size) for member in members]
        return escapes(problem, jnp.asarray(np.stack(drawn)), deltas, 0.2, first.rtol)

    def simulate(self) -> xarray.Dataset:
        if self.delta is not None:
            return self.simulate_ensemble([self])[0]
        names = CASES if self.deep else SHALLOW
        spread = [functools.partial(self.spread, case, width) for case, width in zip(SHALLOW, (2, 1), strict=True)]
        sphere = lambda: (correlation_sphere(self.seed, self.directions),)  # noqa: E731
        parts = in_parallel([*(functools.partial(self.follow, case) for case in names), *spread, self.leaky, sphere])
        cases = xarray.concat([laws for laws, *_ in parts[:-4]], dim=xarray.IndexVariable("case", list(names)))
        turned = xarray.concat([part[1] for part in parts[:2]], dim="shallow")
        samples = xarray.concat([part[0] for part in parts[-4:-2]], dim="sample")
        return xarray.merge([cases, turned, samples, *parts[-2], *parts[-1], parts[0][2]])

    def follow(self, case: str) -> tuple[xarray.Dataset, ...]:
        """The laws of one smooth case; of two layers also the turning to û, and of the digits the training."""
        start, deep = self.start(case), case not in SHALLOW
        ladder, deltas = ((0.35, 0.25, 0.18), self.deep_deltas) if deep else ((0.1, 0.03, 0.01), self.deltas)
        laws, point = start.compare(ladder, deltas, 0.4 if deep else 0.2)
        self.announce(f"{case}: û with N* = {point.value:.6g}, T* = {float(laws['blow_up']):.6g}")
        if deep:
            return (laws,)
        neurons = float(landscape.effective_neurons(start.problem, point.direction))
        turn = start.turn(point.direction, math.exp(25.0)).assign(neurons=neurons)
        return (laws, turn, training(start, point.direction)) if case == CASES[0] else (laws, turn)

    def problem(self, case: str, width: int | None = None, degree: int = 2, slope: float = 0.0) -> gf.Problem:
        """The digits 3 and 5, or a teacher of two orthogonal neurons (amplitudes 1, ½) scaled to unit mean square."""
        activation, key = gf.networks.ReLUPower(degree, slope), jax.random.key(self.seed)
        if case.startswith("digits"):
            data, loss = gf.data.digits((3, 5)), gf.losses.Logistic()
        else:
            teacher = gf.networks.TwoLayer(4, 2, activation, key=key)
            teacher = eqx.tree_at(lambda t: (t.w, t.a), teacher, (jnp.eye(2, 4), jnp.array([1.0, 0.5])))
            data, loss = gf.data.teacher(teacher, 100, jax.random.key(self.seed + 1)), gf.losses.Square()
            data = gf.Dataset(data.inputs, data.targets / jnp.sqrt(jnp.mean(data.targets**2)))
        if case.endswith("7"):
            hidden = (6, 4) if width is None else (width, width)
            return gf.Problem(gf.networks.FeedForward((data.d, *hidden, 1), activation, key=key), data, loss)
        width = width or (self.width if case.startswith("digits") else self.teacher_width)
        return gf.Problem(gf.networks.TwoLayer(data.d, width, activation, key=key), data, loss)

    def start(self, case: str, **network) -> SmallStart:
        """u0: the network's own direction, with the sign of its output layer turned so that N(u0) > 0."""
        problem = self.problem(case, **network)
        outer = jax.tree.leaves(problem.network_at(problem.theta))[-1].size
        u0 = unit(problem.theta.at[-outer:].multiply(jnp.sign(problem.correlation(problem.theta))))
        if problem.degree == 2:
            # At kinks a method of low order at a loose tolerance is the one that makes way.
            return SmallStart(problem, u0, self.rtol**0.4, dfx.Heun())
        if problem.degree == 7:
            # Random u0 idles at ‖u‖ ≈ 1 for hundreds of units of τ, whose solver error would drown the laws.
            u0 = SmallStart(problem, u0, 1e-6).later(1.1).u0
        return SmallStart(problem, u0, self.rtol)

    def spread(self, case: str, width: int) -> tuple[xarray.Dataset, ...]:
        """Random directions of a narrow network, drawn as its layers are, under the correlation flow."""
        problem = self.problem(case, width=width)
        fan_in = np.where(np.arange(problem.size) < problem.size - width, problem.data.d, width)
        starts = np.random.default_rng(self.seed).standard_normal((self.directions, problem.size)) / np.sqrt(fan_in)
        ends, found = scatter(problem, jnp.asarray(starts), 300.0, self.rtol**0.5)
        self.announce(f"{self.directions} directions, {case}, width {width}: {found}")
        return (ends.isel(conserved=0),)

    def leaky(self) -> tuple[xarray.Dataset, ...]:
        """L = 2: escape times over four decades of δ, and how many neurons share the weight in the end."""
        start, deltas = self.start("teacher", width=24, degree=1, slope=0.5), 10.0 ** -np.arange(2, 7)
        limit = start.flow(LINEAR, 1e3, 1e9 * LINEAR)
        record = {
            "leaky_delta": ("decade", deltas),
            "leaky_time": ("decade", [float(start.flow(delta, 1e3, 0.1).t[-1]) for delta in deltas]),
            "leaky_value": float(limit.observed["correlation"][-1]),
            "leaky_neurons": float(landscape.effective_neurons(start.problem, limit.theta[-1])),
        }
        return (xarray.Dataset(record),)

    def claims(self, record: xarray.Dataset) -> list[gf.Claim]:
        if self.delta is not None:
            degree = int(record["degree"])
            bound = record["escape_time"] * self.delta ** (degree - 2) * degree * (degree - 2) * record["start_value"]
            return [gf.Claim("t_esc·δ^(L−2)·L(L−2)N(u0)", DERIVED, 1, bound, 0.02, "at_most")]
        laws = [claim for case in record["case"].values for claim in size_laws(record.sel(case=case), case)]
        laws += [direction_law(record.isel(case=i, shallow=i), case) for i, case in enumerate(SHALLOW)]
        factor = record["degree"] * (record["degree"] - 2) * record["blow_up"]
        largest = (factor * record["start_value"]).max(skipna=False)
        own = np.max(np.abs(record["own_blow_up"].values / record["blow_up"].values[:2] - 1))
        slope = -2 * record["leaky_value"] * np.polyfit(np.log10(record["leaky_delta"]), record["leaky_time"], 1)[0]
        counts = record["descent_gradients"], record["flow_gradients"]
        value, stuck = record["initial_value"][1], record["balance"][1] < 0
        collapsed, known = record["label"][1] == landscape.COLLAPSED, record["label"] != landscape.UNRESOLVED
        values = [
            ("T*·L(L−2)N*, smallest", DERIVED, 1, (factor * record["kkt_value"]).min(skipna=False), 1e-6, "at_least"),
            ("T*·L(L−2)N(u0), largest", DERIVED, 1, largest, 1e-6, "at_most"),
            ("L=2: 2N*·τ_escape per decade of δ", f"[derived] for {LEAKY}", math.log(10), slope, 0.05),
            ("effective neurons at û, L = 3", DERIVED, 1, record["neurons"].max(skipna=False), 1e-6),
            ("control, degree 1: effective neurons", LEAKY, 2, record["leaky_neurons"], 0.1, "at_least"),
            ("control, δ = 1: 1 − cos at ‖θ‖ = 2", SMALL, 0.1, record["large_misalignment"], 0.1, "at_least"),
            ("digits: gradients ≤ those of descent", "counted", *counts, 0, "at_most"),
        ]
        absolute = [
            ("‖∇N(û) − λû‖, largest", SMALL, 0, record["stationarity"].max(skipna=False), 1e-10),
            ("layer norms² − p^(m−l)/Σpᵏ at û", DERIVED, 0, record["split_error"].max(skipna=False), 1e-8),
            ("σ₂/σ₁ of every layer at û", DERIVED, 0, record["rank_ratio"].max(skipna=False), 1e-6),
            ("fall of N along the correlation flow", SMALL, 0, record["largest_fall"].max(skipna=False), 1e-10),
            ("drift of ‖w‖² − p·v² / rtol·max‖θ‖²", "arXiv 1806.00900", 0, record["drift"].max(skipna=False), 30),
            ("T* on the flow's own clock, error", "numerics", 0, own, 1e-7),
            ("digits: directions accounted for", SMALL, 1, known[0].mean(), 0.02),
            ("teacher: directions accounted for", SMALL, 1, known[1].mean(), 0.02),
            *sphere_laws(record, SMALL),
            ("teacher, N(u0) > 0: collapse", SMALL, 0, collapsed[value > 0].mean(), 0.02),
            ("control, N(u0) < 0, v² > ‖w‖²/2: same", DERIVED, 1, collapsed[(value < 0) & stuck].mean(), 0.02),
        ]
        return laws + [gf.Claim(*e) for e in values] + [gf.Claim(*e, scale="absolute") for e in absolute]
