"""How long gradient flow stays at a saddle, where it goes from there, and in which order neurons appear."""

import dataclasses
import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray

import gfsim as gf
from gfsim import landscape
from gfsim.parallel import in_parallel
from gfsim.verification.escape import destination, escape_times, follow_unstable, shoot
from gfsim.verification.small_saddles import limit_gaps, through_saddles

LINEAR, BEYOND, PURSUIT = "linearisation", "arXiv 2502.15952", "arXiv 2509.12154"
# name: (shares of the worked example's neuron, dead neurons in units of w0)
SADDLES = {"outside": ([1.3, -0.3], []), "dead": ([1.0], [1.0]), "two dead": ([1.0], [1.0, -1.0])}
EPSILONS = 10.0 ** -np.arange(4.0, 10.0)
WIDTH = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class SaddleEscape(gf.Scenario):
    """Gradient flow leaves a saddle after ln(1/ε)/|λ_min|, for a critical set that its unstable manifold determines.

    Escape times from strict saddles against ε, by flow and by gradient descent; the unstable manifold of a network with
    a dead neuron, followed to the next critical set, and one that leaves for infinity; from a small start, the first
    saddle, the alignment of the next neuron with the residual, and the order of neurons beside neuron pursuit. Control:
    started at a distance from the KKT ray, the flows have no such limit.

    Source: arXiv 2502.15952 (beyond the origin), arXiv 2509.12154 (pursuit), arXiv 2405.17501 (critical sets).
    Run time: 2 min on two cores, most of it compilation.
    """

    delta: float = 1e-3
    """Initial norm of the flow through the saddles."""

    def __post_init__(self):
        super().__post_init__()
        if not 1e-5 <= self.delta <= 1e-2:
            raise ValueError(f"delta must lie between 1e-5 and 0.01, was {self.delta}")

    def reduced(self):
        return dataclasses.replace(self, delta=1e-2)

    def simulate(self) -> xarray.Dataset:
        parts = [self.escape, self.connection, self.beyond, self.limit]
        return xarray.merge(in_parallel([functools.partial(part) for part in parts]))

    def escape(self) -> xarray.Dataset:
        example = landscape.worked_example()
        narrow = example.problem.network_at(example.problem.theta)
        saddles = []
        for shares, dead in SADDLES.values():
            network = landscape.critical_embedding(narrow, [shares], example.dead * np.reshape(dead, (-1, 1)))
            problem = gf.Problem(network, example.problem.data, example.problem.criterion)
            saddles.append((problem, landscape.polish(problem, problem.theta)))
        rows = []
        for problem, point in saddles:
            rate = -point.eigenvalues[0]
            step = min(0.1 / rate, 0.5 / point.eigenvalues[-1])
            times = [escape_times(problem, point, EPSILONS, 1e-4, size) for size in (None, step)]
            rows.append((rate, step, *times))
        # Of the last, the ways out of a two-dimensional unstable manifold.
        angles = np.linspace(0, 2 * np.pi, 12, endpoint=False)
        problem, point = saddles[-1]
        runs = shoot(problem, point, np.stack([np.cos(angles), np.sin(angles)], axis=1), 1e-2, 3e3)
        ends = [destination(problem, theta) for theta in runs.theta[:, -1]]
        self.announce(f"from two dead neurons: {', '.join(sorted({str(end) for end in ends}))}")
        return xarray.Dataset(
            {
                "rate": ("saddle", [row[0] for row in rows]),
                "step": ("saddle", [row[1] for row in rows]),
                "escape_time": (("saddle", "dynamics", "epsilon"), np.array([row[2:] for row in rows])),
                "at_infinity": np.mean([end.point is None for end in ends]),
                "farthest": float(jnp.max(jnp.abs(runs.theta[:, -1]))),
            },
            {"saddle": list(SADDLES), "epsilon": EPSILONS, "dynamics": ["flow", "descent"]},
        )

    def connection(self) -> xarray.Dataset:
        """From one tanh neuron and a dead one to two, on the data of two."""
        random = np.random.default_rng(self.seed)
        two = gf.networks.TwoLayer(2, 2, gf.networks.Tanh(), key=jax.random.key(0))
        two = eqx.tree_at(lambda n: (n.w, n.a), two, (jnp.array([[1.5, 0.0], [-0.4, 1.2]]), jnp.array([1.0, 0.6])))
        data = gf.data.teacher(two, 40, jax.random.key(self.seed + 1))
        one = gf.Problem(
            gf.networks.TwoLayer(2, 1, gf.networks.Tanh(), key=jax.random.key(2)), data, gf.losses.Square()
        )
        points = landscape.critical_points(one, jnp.asarray(random.standard_normal((16, 3))), reach=10.0)
        best = min((point for point in points if point.inertia.minus == 0), key=lambda point: point.loss)
        one = eqx.tree_at(lambda p: p.theta, one, best.theta)
        narrow = one.network_at(one.theta)
        dead = np.concatenate(
            [landscape.dead_weights(one, [np.cos(a), np.sin(a)], [-np.cos(a), 0.1]) for a in (1, 2, 3)]
        )
        problem = gf.Problem(landscape.critical_embedding(narrow, [[1.0]], dead[:1]), data, one.criterion)
        point = landscape.polish(problem, problem.theta)
        record, ends = follow_unstable(problem, point, narrow)
        self.announce(f"from {landscape.stratum(problem.network_at(problem.theta))}: {ends[0]}; {ends[1]}")
        return record

    def beyond(self) -> xarray.Dataset:
        problem = self.planted(WIDTH)
        outer = jnp.arange(problem.size) >= problem.size - WIDTH
        start = jnp.where(outer, jnp.abs(problem.theta), problem.theta)
        start = start / jnp.linalg.norm(start)
        return through_saddles(problem, start, self.delta, self.seed)

    def limit(self) -> xarray.Dataset:
        """One neuron from δû and from δu0: θ_δ(t + T_δ) for δ halved again and again."""
        problem = self.planted(1)
        start = jnp.where(jnp.arange(problem.size) == problem.size - 1, 1.0, problem.theta)
        ray = landscape.correlation_kkt(problem, start)
        deltas = 0.04 * 0.5 ** np.arange(5)
        gaps = [limit_gaps(problem, u0, ray.value, deltas) for u0 in (ray.direction, start / jnp.linalg.norm(start))]
        return xarray.Dataset({"gap": (("start", "halving"), np.array(gaps)), "halved": ("halving", deltas[:-1])})

    def planted(self, width: int) -> gf.Problem:
        """Two planted neurons of degree 2, the second weaker; a student of this width."""
        random = np.random.default_rng(self.seed)
        x = random.standard_normal((40, 4))
        x *= 2 / np.linalg.norm(x, axis=1, keepdims=True)
        weak = np.array([-0.3, 1.0, 0.0, 0.0]) / np.hypot(0.3, 1.0)
        y = np.maximum(x[:, 0], 0) ** 2 + 0.6 * np.maximum(x @ weak, 0) ** 2
        network = gf.networks.TwoLayer(4, width, gf.networks.ReLUPower(2), key=jax.random.key(self.seed + 1))
        return gf.Problem(network, gf.Dataset(x, y), gf.losses.Square())

    def claims(self, record: xarray.Dataset) -> list[gf.Claim]:
        logs = np.log(1 / record["epsilon"].values)
        flow, descent = (
            np.array([np.polyfit(logs, times, 1)[0] for times in record["escape_time"].sel(dynamics=name).values])
            for name in ("flow", "descent")
        )
        product = (record["step"] * record["rate"]).values
        ratio = flow / descent / (np.log1p(product) / product)
        falls = record["path_loss"].values[:, -1] / float(record["saddle_loss"])
        lowest = record["path_eigenvalues"].values[:, -1, 0] / record["path_eigenvalues"].values[:, -1, -1]
        factors = record["gap"].values[:, -2] / record["gap"].values[:, -1]
        overlap = record["overlap"].values
        names = record["saddle"].values
        claims = [
            gf.Claim(f"{n}: slope·|λ_min|", LINEAR, 1, s, 1e-3)
            for n, s in zip(names, flow * record["rate"].values, strict=True)
        ]
        claims += [
            gf.Claim(f"{n}: GD ratio·hλ/ln(1+hλ)", LINEAR, 1, r, 1e-3) for n, r in zip(names, ratio, strict=True)
        ]
        entries = [
            ("connection: n₋ at the saddle", "arXiv 2405.17501", 1, record["saddle_inertia"][1], 0, "at_least"),
            (
                "connection: neurons at its ends, least",
                "arXiv 2405.17501",
                2,
                record["end_neurons"].min(),
                0,
                "at_least",
            ),
            ("connection: ‖∇L‖ at its ends", "arXiv 2405.17501", 0, record["end_gradient"].max(skipna=False), 1e-11),
            ("connection: loss at its ends / saddle's", "energy", 1, falls.max(), 0, "at_most"),
            ("connection: λ_min/λ_max at its ends", "arXiv 2405.17501", 0, lowest.min(), 1e-6, "at_least"),
            ("two dead: share that leaves for ∞", "arXiv 2405.17501", 1, record["at_infinity"], 0),
            ("zero rows before the first saddle / δ", BEYOND, 10, record["zero_rows"], 0, "at_most"),
            (
                "first plateau / pursuit's loss − 1",
                PURSUIT,
                0,
                record["flow_plateau"] / record["pursuit_loss"][0] - 1,
                0.02,
            ),
            ("second neuron at norm 0.1: 1 − cos to û", BEYOND, 0, record["misaligned"], 0.1),
            ("flow's neurons out of pursuit's order", PURSUIT, 0, np.sum(overlap.argmax(axis=1) != [0, 1]), 0),
            ("limit path: factor per halving of δ", f"[derived] for {BEYOND}", 4, factors[0], 0.2),
            ("control, off the ray: factor", f"[derived] for {BEYOND}", 3, factors[1], 0, "at_most"),
        ]
        return claims + [gf.Claim(*entry, scale="absolute") for entry in entries]
