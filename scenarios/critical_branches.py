"""The branches of critical points that a narrow network leaves in wider ones."""

import dataclasses
import functools

import jax.numpy as jnp
import numpy as np
import xarray

import gfsim as gf
from gfsim import landscape
from gfsim.landscape.strata import dead_correlation
from gfsim.parallel import in_parallel
from gfsim.verification.critical_cases import embedded_cases
from gfsim.verification.fates import fates

STRUCTURE, DERIVED, EXAMPLE = "arXiv 2405.17501", "[derived] for arXiv 2405.17501", "arXiv 2505.13582, §5"
# name: (shares of the one neuron, dead neurons in units of w0)
STRATA = {
    "m=2 inside": ([0.3, 0.7], []),
    "m=2 outside": ([1.3, -0.3], []),
    "m=2 dead": ([1.0], [1.0]),
    "m=2 dead at 0": ([1.0], [0.0]),
    "m=3 inside": ([0.2, 0.3, 0.5], []),
    "m=3 one negative": ([-0.2, 0.5, 0.7], []),
    "m=3 two negative": ([-0.2, -0.7, 1.9], []),
    "m=3 dead, inside": ([0.3, 0.7], [1.0]),
    "m=3 dead, outside": ([-0.3, 1.3], [-1.0]),
    "m=3 two dead": ([1.0], [1.0, -1.0]),
}
JUNCTIONS = {"m=2 junction": ([1.0, 0.0], []), "m=3 junction": ([0.4, 0.6, 0.0], [])}
# (d, r, m, l) of the random networks, in equal numbers.
SHAPES = ((1, 1, 3, 1), (2, 1, 3, 0), (2, 1, 4, 1), (2, 2, 4, 1), (3, 2, 4, 0), (3, 2, 5, 2))
# Of the pictures of the loss, in w and a.
SPAN = (0.3, 0.1)
# Where a dead neuron breaks the rule φ(v) = 0, and how large the perturbations are.
WRONG, SIZE = 3.0, 0.03


@dataclasses.dataclass(frozen=True, kw_only=True)
class CriticalBranches(gf.Scenario):
    """Every critical point of a narrow network opens branches of them in wider ones, whose inertia it determines.

    One tanh neuron at a critical point of four samples, solved to rounding, and all strata over it with two and three
    neurons: dimension, inertia and kind, where they meet, and what perturbations of them become under gradient flow.
    Then random narrow points in one to three dimensions. Control: a dead neuron where φ(v) ≠ 0 is not critical.

    Source: arXiv 2405.17501 (branches), arXiv 2505.13582 (example); inertia and dimensions are derived.
    Run time: 2 min on two cores, half of it compilation.
    """

    cases: int = 60
    """Random wide networks, a multiple of 6."""
    perturbations: int = 500
    """Flows from around each stratum."""
    clock: float = 2e3
    """How long they run."""
    widest: int = 3
    """Neurons of the widest network whose strata are perturbed, 2 or 3."""

    def __post_init__(self):
        super().__post_init__()
        if self.cases < 6 or self.cases % 6:
            raise ValueError(f"cases must be a positive multiple of 6, was {self.cases}")
        if not 10 <= self.perturbations <= 100_000:
            raise ValueError(f"perturbations must lie between 10 and 100000, was {self.perturbations}")
        if not 100 <= self.clock <= 1e7:
            raise ValueError(f"clock must lie between 100 and 1e7, was {self.clock}")
        if self.widest not in (2, 3):
            raise ValueError(f"widest must be 2 or 3, was {self.widest}")

    def reduced(self):
        return dataclasses.replace(self, cases=6, perturbations=60, widest=2)

    def simulate(self) -> xarray.Dataset:
        example = landscape.worked_example()
        jobs = [functools.partial(self.strata, example), functools.partial(self.random)]
        return xarray.merge([self.picture(example), *in_parallel(jobs)])

    def strata(self, example: landscape.WorkedExample) -> xarray.Dataset:
        names = [*STRATA, *JUNCTIONS]
        measured, kinds, dimensions, ends = [], [], [], []
        for name, (shares, dead) in (STRATA | JUNCTIONS).items():
            problem = wide(example, shares, dead)
            point = landscape.polish(problem, problem.theta)
            measured.append(point.inertia)
            kinds.append(str(landscape.classify(problem, point)))
            dimension = landscape.stratum(problem.network_at(problem.theta)).dimension
            # Where branches meet, a dimension of the one is no dimension of the other.
            walked = landscape.branch_dimension(problem, problem.theta) if name in STRATA else dimension
            dimensions.append((dimension, walked))
            if len(shares) + len(dead) <= self.widest:
                ends.append(fates(problem, problem.theta, SIZE, self.perturbations, self.clock, self.seed))
                self.announce(f"{name}: {point.inertia}, returned {100 * ends[-1].returned:.0f} %")
            else:
                ends.append(None)
        predicted = [landscape.predicted_inertia(example.problem, [s], rows(example, z)) for s, z in STRATA.values()]
        shares = [[np.nan] * 3 if end is None else end[:3] for end in ends]
        return xarray.Dataset(
            {
                "predicted": (("stratum", "sign"), np.array(predicted)),
                "measured": (("point", "sign"), np.array(measured)),
                "kind": ("point", np.array(kinds)),
                "dimension": (("point", "way"), np.array(dimensions)),
                "fate": (("point", "end"), np.array(shares, float)),
            },
            {
                "point": names,
                "stratum": list(STRATA),
                "end": ["returned", "lower", "infinity"],
                "sign": ["+", "-", "0"],
            },
        )

    def random(self) -> xarray.Dataset:
        count = self.cases // len(SHAPES)
        found = [list(embedded_cases(*shape, count, self.seed + 10 * i)) for i, shape in enumerate(SHAPES)]
        signs = [[(case.predicted, case.measured) for case in cases] for cases in found]
        return xarray.Dataset({"random": (("shape", "case", "way", "sign"), np.array(signs))})

    def picture(self, example: landscape.WorkedExample) -> xarray.Dataset:
        """The loss around three points, φ, and the gradient where a dead neuron's φ does not vanish."""
        v, around = np.linspace(-1.6, 1.6, 321), np.linspace(-1, 1, 81)
        x = np.asarray(example.problem.data.inputs)[:, 0]
        y = np.asarray(example.problem.data.targets)
        layers, points = [], []
        for shares, dead in list(STRATA.values())[:3]:
            w1, w2, a1, a2 = np.asarray(wide(example, shares, dead).theta)
            second = (a2 + SPAN[1] * around)[:, None, None] * np.tanh((w2 + SPAN[0] * around)[:, None] * x)
            layers.append(np.sum((a1 * np.tanh(w1 * x) - y + second) ** 2, axis=2))
            points.append((w2, a2))
        broken = wide(example, [1.0], [WRONG / example.dead])
        return xarray.Dataset(
            {
                "value": example.value,
                "residual": example.residual,
                "weight": float(example.problem.theta[0]),
                "dead": example.dead,
                "correlation": ("v", [float(dead_correlation(example.problem, jnp.array([u]))) for u in v]),
                "loss": (("at", "a2", "w2"), np.array(layers)),
                "centre": (("at", "coordinate"), np.array(points)),
                "wrong_correlation": float(dead_correlation(example.problem, jnp.array([WRONG]))),
                "wrong_gradient": float(jnp.linalg.norm(broken.grad(broken.theta))),
            },
            {"v": v, "w2": SPAN[0] * around, "a2": SPAN[1] * around},
        )

    def claims(self, record: xarray.Dataset) -> list[gf.Claim]:
        strata, junctions = record.sel(point=list(STRATA)), record.sel(point=list(JUNCTIONS))
        wrong = int(np.sum(np.any(strata["measured"].values != record["predicted"].values, axis=1)))
        random = record["random"].values
        wrong_random = int(np.sum(np.any(random[:, :, 0] != random[:, :, 1], axis=2)))
        nullity = strata["measured"].sel(sign="0").values
        dimension, walked = strata["dimension"].values.T
        minima = np.char.find(strata["point"].values.astype(str), " inside") >= 0
        minima &= np.char.find(strata["point"].values.astype(str), "dead") < 0
        expected = np.where(minima, "degenerate minimum", "strict saddle")
        fate, wrong_gradient = strata["fate"].values, float(record["wrong_gradient"])
        left = ~np.isnan(fate[:, 0])
        junction = junctions["fate"].sel(end="returned").values
        entries = [
            ("R at the narrow point", EXAMPLE, 1.440803, record["value"], 5e-7),
            ("ε₂ of the narrow point", EXAMPLE, -0.583784, record["residual"], 5e-7),
            ("w̄ of the narrow point", EXAMPLE, 1.026104, record["weight"], 5e-7),
            ("second zero of φ", EXAMPLE, 0.123265, record["dead"], 5e-7),
            (f"wrong inertia, {len(STRATA)} strata", DERIVED, 0, wrong, 0),
            (f"wrong inertia, {random.shape[0] * random.shape[1]} random", DERIVED, 0, wrong_random, 0),
            ("nullity not the dimension", DERIVED, 0, np.sum(nullity != dimension), 0),
            ("walked dimension not the dimension", DERIVED, 0, np.sum(walked != dimension), 0),
            ("strata of the wrong kind", STRUCTURE, 0, np.sum(strata["kind"].values != expected), 0),
            (
                "junctions not non-strict saddles",
                DERIVED,
                0,
                np.sum(junctions["kind"].values != "non-strict saddle"),
                0,
            ),
            ("returned, degenerate minima, least", DERIVED, 1, fate[minima & left, 0].min(), 0),
            ("returned, strict saddles, most", DERIVED, 0, fate[~minima & left, 0].max(), 0),
            ("unaccounted for", "counted", 1, fate[left].sum(axis=1).min(), 1e-12),
            ("returned, junction: some", DERIVED, 0.05, np.nanmin(junction), 0, "at_least"),
            ("returned, junction: not all", DERIVED, 0.95, np.nanmax(junction), 0, "at_most"),
            ("control, φ(v) ≠ 0: ‖∇L‖ − |φ(v)|", DERIVED, 0, wrong_gradient - abs(record["wrong_correlation"]), 1e-14),
            ("control, φ(v) ≠ 0: ‖∇L‖", DERIVED, 0.1, wrong_gradient, 0, "at_least"),
        ]
        return [gf.Claim(*entry, scale="absolute") for entry in entries]


def rows(example: landscape.WorkedExample, dead: list[float]) -> np.ndarray:
    """Input weights of dead neurons, given in units of w0."""
    return example.dead * np.reshape(dead, (-1, 1))


def wide(example: landscape.WorkedExample, shares: list[float], dead: list[float]) -> gf.Problem:
    """The example with its neuron in these shares, and with dead neurons."""
    narrow = example.problem.network_at(example.problem.theta)
    network = landscape.critical_embedding(narrow, [shares], rows(example, dead))
    return gf.Problem(network, example.problem.data, example.problem.criterion)
