"""High-order descent: where gradient descent stalls, crawls or diverges, and what a norm of another degree does."""

import dataclasses
import functools

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray

import gfsim as gf
from gfsim.parallel import in_parallel
from gfsim.verification import extinction_time, structure
from gfsim.verification.high_order_cases import decay, power, small_network, time_to_gradient, weak_network

QI, DERIVED = "Qi, Gong & Li", "[derived]"
# r of |x|^r/r and p of the flow, x' = −x^m with m = (r−1)/(p−1).
POWERS = ((4.0, 3.0), (2.0, 3.0), (2.0, 1.5), (4.0, 4.0))


@dataclasses.dataclass(frozen=True, kw_only=True)
class HighOrderDescent(gf.Scenario):
    """A descent whose degree p is that of the loss converges geometrically where gradient descent cannot.

    Powers |x|^r/r, flows and descents, against closed forms; the orbits of two norms; a network that comes to rest in
    finite time for p = 3, by the clock of gradient flow and by direct integration; a network with loss |·|^{3/2} on
    which gradient descent stalls; the bias of batches; the bounds that JJᵀ gives, for the square loss and for
    cross-entropy, where the upper one fails; depth, width and skips at the start. Control: p = 4 claimed smooth.

    Source: Qi, Gong & Li, high-order gradient descent; flows and constants are derived.
    Run time: 1 min on two cores, most of it compilation.
    """

    rtol: float = 1e-11
    """Tolerance of the flows in closed form; the networks' take its square root and more."""
    seeds: int = 10
    """Random starts over which λ_min and D at the start are averaged."""

    def __post_init__(self):
        super().__post_init__()
        if not 1 <= self.seeds <= 100:
            raise ValueError(f"seeds must lie between 1 and 100, was {self.seeds}")

    def reduced(self):
        return dataclasses.replace(self, seeds=3)

    def simulate(self) -> xarray.Dataset:
        parts = (self.extinction, self.flows, self.monitor, self.stall, self.descents, self.starts)
        return xarray.merge(in_parallel([functools.partial(part) for part in parts]))

    def descents(self) -> xarray.Dataset:
        """One coordinate: cycles, crawls and geometric decay."""
        weak, strong = power(1.5, [3.0, 0.0]), power(4.0, [1.0, 0.0])

        def last(dynamics, start: float, t1: float) -> float:
            return float(gf.simulate(dynamics, jnp.array([start, 0.0]), t1).theta[-1, 0])

        batch = gf.Dataset(np.ones((3, 1)), np.array([0.0, 0.0, 1.0]))
        three = gf.Problem(gf.networks.DeepLinear((1, 1), key=jax.random.key(0)), batch, gf.losses.Square())
        noisy = gf.HighOrderDescent(three, 1.5, 5e-3, batch_size=1, key=jax.random.key(self.seed))
        path = gf.simulate(noisy, jnp.array([0.3]), 250.0, save=gf.every_step()).theta
        square, k = power(2.0, [1.0, 0.0]), 20000
        return xarray.Dataset(
            {
                "cycle": abs(last(gf.GradientDescent(weak, 0.1), 3.0, 200.0)),
                "halving": last(gf.HighOrderDescent(weak, 1.5, smoothness=2**0.5), 3.0, 30.0) / 3.0,
                "below": abs(last(gf.GradientDescent(strong, 0.1), 0.99 * 20**0.5, 50.0)),
                "above": abs(last(gf.GradientDescent(strong, 0.1), 1.01 * 20**0.5, 2.0)),
                "crawl": last(gf.GradientDescent(strong, 0.1), 1.0, 0.1 * k) * (0.2 * k) ** 0.5,
                "tenths": last(gf.HighOrderDescent(strong, 4.0, 0.1), 1.0, 3.0),
                "control": abs(last(gf.HighOrderDescent(square, 4.0), 0.5, 100.0)),
                "biased_mean": float(jnp.mean(path[10000:])),
            }
        )

    def flows(self) -> xarray.Dataset:
        """Powers in closed form; orbits on a quadratic in both norms."""
        errors, extinct, options = [], np.nan, {"rtol": self.rtol, "solver": dfx.Dopri8()}
        for r, p in POWERS:
            problem = power(r, [1.5, 0.0])
            flow = gf.HighOrderFlow(problem, p)
            run = gf.simulate(flow, problem.theta, 20.0, save=gf.linear_spaced(0, 20, 41), **options)
            exact = decay(1.5, (r - 1) / (p - 1), np.exp(np.asarray(run.log_t)))
            errors.append(float(np.max(np.abs(run.theta[:, 0] - exact))))
            extinct = extinction_time(flow, run) if (r, p) == (2.0, 3.0) else extinct
        quadratic, save = power(2.0, [1.0, 1.0]), gf.linear_spaced(0, 3, 61)
        euclid = gf.simulate(gf.HighOrderFlow(quadratic, 3.0), quadratic.theta, 3.0, save=save, **options)
        coordinate = gf.HighOrderFlow(quadratic, 3.0, "coordinate")
        other = gf.simulate(coordinate, quadratic.theta, 3.0, save=save, solver=dfx.Dopri8()).theta
        return xarray.Dataset(
            {
                "power_error": ("power", errors),
                "power_extinct": extinct,
                "orbit": (("row", "axis"), euclid.theta),
                "orbit_coordinate": (("row", "axis"), other),
            }
        )

    def extinction(self) -> xarray.Dataset:
        """The network's time to the end for p = 3, and to a gradient of 1e-9 by another solver in another time."""
        problem, rows = small_network(gf.losses.Square()), {}
        until, save = gf.events.gradient_below(1e-9), gf.log_spaced(1e-2, 400, 201)
        for p in (1.5, 2.0, 3.0):
            flow = gf.HighOrderFlow(problem, p)
            run = gf.simulate(flow, problem.theta, 1e4, save=save, until=until, rtol=1e-10, solver=dfx.Tsit5())
            rows[p] = (np.exp(np.asarray(run.log_t)), np.asarray(run.potential))
        return xarray.Dataset(
            {
                "clock_time": float(jnp.exp(run.log_t[-1])),
                "direct_time": time_to_gradient(problem, 1e-9),
                "extinct": extinction_time(flow, run),
                "physical": (("degree", "rate_row"), np.array([t for t, _ in rows.values()])),
                "fall": (("degree", "rate_row"), np.array([loss for _, loss in rows.values()])),
            },
            {"degree": list(rows)},
        )

    def stall(self) -> xarray.Dataset:
        """A network with loss mean |f − y|^{3/2}/(3/2): descent with a fixed step, and of degree 3/2 with a search."""
        problem, save = weak_network(), gf.linear_spaced(0, 3000, 301)
        plain = gf.simulate(gf.GradientDescent(problem, 0.1), problem.theta, 300.0, save=gf.linear_spaced(0, 300, 301))
        tuned = gf.simulate(gf.HighOrderDescent(problem, 1.5, smoothness=None), problem.theta, 3000.0, save=save)
        return xarray.Dataset(
            {"gd_loss": ("iterate", plain.potential), "hgd_loss": ("iterate", tuned.potential)},
            {"iterate": np.rint(np.asarray(tuned.t))},
        )

    def monitor(self) -> xarray.Dataset:
        """Loss and bounds along gradient flow, for targets 0 and 1 and for classes 0 and 1."""
        found, observe = {}, gf.observables.STRUCTURE
        for name, loss, end in (("square", gf.losses.Square(), 15.0), ("entropy", gf.losses.CrossEntropy(), 300.0)):
            problem, save = small_network(loss, outputs=2, width=64), gf.log_spaced(1e-2, end, 150)
            flow = gf.GradientFlow(problem)
            run = gf.simulate(flow, problem.theta, end, save=save, observe=observe, rtol=1e-8, solver=dfx.Tsit5())
            seen = structure(problem, run).rename(time="monitor_row")
            found |= {f"{name}_{key}": seen[key] for key in seen.data_vars}
            if name == "entropy":
                logs = np.log(seen["loss"]), 2 * np.log(seen["gradient_norm"])
                found["entropy_correlation"] = float(np.corrcoef(*logs)[0, 1])
        return xarray.Dataset(found)

    def starts(self) -> xarray.Dataset:
        """Means of ln λ_min and of D over random starts of tanh networks on 16 random inputs in 8 dimensions."""
        depths, widths, x = (2, 4, 8), (16, 64, 256), np.random.default_rng(self.seed).normal(size=(16, 8))

        def means(hidden: tuple[int, ...], skips: bool) -> np.ndarray:
            rows = []
            for key in jax.random.split(jax.random.key(self.seed), self.seeds):
                network = gf.networks.FeedForward((8, *hidden, 1), gf.networks.Tanh(), key=key, residual=skips)
                problem = gf.Problem(network, gf.Dataset(x, np.zeros(16)), gf.losses.Square())
                rows.append(_extremes(problem, problem.theta))
            low, high = np.log(np.array(rows)).T
            return np.array([low.mean(), (high - low).mean()])

        deep = [[means((32,) * depth, skips)[0] for depth in depths] for skips in (False, True)]
        wide = [means((width, width), False)[1] for width in widths]
        return xarray.Dataset(
            {"log_least": (("skips", "depth"), deep), "spread": ("width", wide)},
            {"skips": [False, True], "depth": list(depths), "width": list(widths)},
        )

    def claims(self, record: xarray.Dataset) -> list[gf.Claim]:
        exact = functools.partial(gf.Claim, predicted=0, tolerance=1e-8, scale="absolute", source=DERIVED)
        orbit = np.max(np.abs(record["orbit"][:, 1] - record["orbit"][:, 0] ** 10))
        claims = [
            exact(f"flow, r = {r:g}, p = {p:g}: error", measured=error)
            for (r, p), error in zip(POWERS, record["power_error"].values, strict=True)
        ]
        square = sum(bool(record[f"square_{name}_holds"].all()) for name in BOUNDS)
        ratio = np.exp(record["log_least"].sel(depth=8)[1] - record["log_least"].sel(depth=8)[0])
        gap = record["gd_loss"][-30:].min() / record["hgd_loss"][-1]
        return [
            *claims,
            gf.Claim("flow, r = 2, p = 3: extinction", DERIVED, 2 * 1.5**0.5, record["power_extinct"], 1e-8),
            exact("p = 3, diag(1, 10): x2 − x1^10", measured=orbit),
            gf.Claim("network, p = 3: direct/clock", DERIVED, 1, record["direct_time"] / record["clock_time"], 1e-6),
            gf.Claim("GD on |x|^1.5: cycle (η/2)²", DERIVED, 0.05**2, record["cycle"], 1e-8),
            gf.Claim("HGD on |x|^1.5: 30 halvings", QI, 0.5**30, record["halving"], 1e-8),
            gf.Claim("GD on x⁴/4, η < 2/x0²: |x|/x0", DERIVED, 1, record["below"] / 20**0.5, 0, "at_most"),
            gf.Claim("GD on x⁴/4, η > 2/x0²: |x|/x0", DERIVED, 2, record["above"] / 20**0.5, 0, "at_least"),
            gf.Claim("GD on x⁴/4: x·√(2ηk)", DERIVED, 1, record["crawl"], 2e-3),
            gf.Claim("HGD on x⁴/4: 0.9^30", QI, 0.9**30, record["tenths"], 1e-8),
            gf.Claim("network: stalled GD loss / HGD loss", QI, 1e6, gap, 0, "at_least"),
            gf.Claim("batches, p = 1.5: mean (⅓ without bias)", DERIVED, 1 / (1 + 2**0.5), record["biased_mean"], 0.01),
            gf.Claim("square loss: bounds that hold", DERIVED, 4, square, 0),
            gf.Claim("cross-entropy: lower bound", DERIVED, 1, record["entropy_lower_holds"].mean(), 0),
            gf.Claim("cross-entropy: upper bound", DERIVED, 0.5, record["entropy_upper_holds"].mean(), 0, "at_most"),
            gf.Claim("cross-entropy: corr. of logs", "found", 0.99, record["entropy_correlation"], 0, "at_least"),
            gf.Claim("depth 8: λ_min with skips / without", "found", 1, ratio, 0, "at_least"),
            gf.Claim("D, width 16 / width 256", "found", 1, record["spread"][0] / record["spread"][-1], 0, "at_least"),
            gf.Claim("control, p = 4 on x²/2: cycle", DERIVED, 0.5**1.5, record["control"], 1e-8),
        ]


BOUNDS = ("lower", "upper", "sandwich_lower", "sandwich_upper")
_extremes = eqx.filter_jit(gf.observables.tangent_extremes)
