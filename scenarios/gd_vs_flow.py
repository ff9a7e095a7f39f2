"""How far gradient descent is from gradient flow, and what each of them costs."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import xarray

import gfsim as gf
from gfsim import landscape
from gfsim.parallel import in_parallel
from gfsim.verification.comparison import balance_drift

ORDERS = "Hairer, Lubich & Wanner, IX.1"
MODELS = ("flow", "modified-1", "modified-2")
CASES = ("two layers, tanh", "three layers, softplus", "deep linear")


@dataclasses.dataclass(frozen=True, kw_only=True)
class GdVsFlow(gf.Scenario):
    """Gradient descent leaves gradient flow at first order in its step, and each modified flow at one order higher.

    Three networks, a ladder of steps: distances from gradient flow and the modified flows of order 1 and 2, after one
    step and at a fixed time. On a quadratic the resummed flow passes through the iterates. Descent breaks the conserved
    quantities of ReLU layers by exactly η²(‖∇_w‖² − ‖∇_a‖²) a step and leaves a saddle later by ημ/ln(1 + ημ). At its
    largest stable step it needs more gradients than the exact flow. Control: ηλ = 1.9, beyond every series.

    Source: Hairer, Lubich & Wanner, Geometric Numerical Integration, IX.1; Barrett & Dherin, arXiv 2009.11162.
    Run time: 2 min on two cores, 30 s once compiled.
    """

    rtol: float = 1e-12
    """Tolerance of the flows that are compared; the long flow takes its square root."""
    ladder: tuple[float, ...] = (0.0125, 0.025, 0.05)
    """Step sizes of the orders."""
    every_case: bool = True
    """All three networks and horizons; otherwise the first of each."""
    step_size: float | None = None
    """Only the distance from the flow at t = 1 with this one step, of a tanh network: what a sweep varies."""
    width: int = 5
    """Neurons of every hidden layer of that network."""
    depth: int = 2
    """Its layers."""
    delta: float = 1.0
    """Factor of its initial weights."""

    def __post_init__(self):
        super().__post_init__()
        rising = all(0 < a < b for a, b in zip((1e-9, *self.ladder), self.ladder, strict=False))
        if not (len(self.ladder) >= 2 and rising):
            raise ValueError(f"ladder must hold two or more positive, increasing step sizes, was {self.ladder}")
        if not self.ladder[-1] <= 0.1:
            raise ValueError(f"ladder must end at 0.1 at most, was {self.ladder[-1]}")
        for name, most in (("step_size", 0.1), ("width", 1000), ("depth", 20), ("delta", 10)):
            if (value := getattr(self, name)) is not None and not 0 < value <= most:
                raise ValueError(f"{name} must lie between 0 and {most}, was {value}")

    def reduced(self):
        return dataclasses.replace(self, every_case=False)

    def simulate(self) -> xarray.Dataset:
        if self.step_size is not None:
            return self.distance(self.step_size)
        cases, horizons = (CASES, (1e2, 1e3, 1e4)) if self.every_case else (CASES[:1], (1e2, 1e3))
        jobs = [functools.partial(self.compare, case) for case in cases]
        parts = in_parallel([*jobs, functools.partial(self.work, horizons), self.drift, self.quadratic, self.escape])
        orders = xarray.concat(parts[: len(cases)], dim=xarray.IndexVariable("case", list(cases)))
        return xarray.merge([orders, *parts[len(cases) :]])

    def compare(self, case: str) -> xarray.Dataset:
        """Distances of one network after one step and at t = 1."""
        rng = np.random.default_rng(self.seed)
        x, key = rng.normal(size=(20, 3)), jax.random.key(self.seed + 3)
        signs, values = np.sign(x[:, 0] + 0.1), np.sin(x[:, 0])
        network, targets, loss = {
            "two layers, tanh": (gf.networks.TwoLayer(3, 5, gf.networks.Tanh(), key=key), signs, gf.losses.Logistic()),
            "three layers, softplus": (
                gf.networks.FeedForward((3, 4, 4, 1), gf.networks.Softplus(), key=key, bias=True),
                signs,
                gf.losses.Logistic(),
            ),
            "deep linear": (gf.networks.DeepLinear((3, 3, 1), key=key), values, gf.losses.Square()),
        }[case]
        problem = gf.Problem(network, gf.Dataset(x, targets), loss)
        found = gf.compare(problem, problem.theta, 1.0, self.ladder, MODELS, rows=4, rtol=self.rtol)
        self.announce(f"{case}: global orders {np.round(found['order'].values, 3)}")
        ends = found["distance"].isel(row=[1, -1]).assign_coords(row=["one step", "t = 1"])
        return xarray.Dataset({"distance": ends, "local_order": found["local_order"], "order": found["order"]})

    def distance(self, step_size: float) -> xarray.Dataset:
        """One network and one step: `distance` from the flow at t = 1, and `modified_distance` from order 1."""
        rng = np.random.default_rng(self.seed)
        x, sizes = rng.normal(size=(20, 3)), (3, *(self.width,) * (self.depth - 1), 1)
        network = gf.networks.FeedForward(sizes, gf.networks.Tanh(), key=jax.random.key(self.seed), bias=True)
        problem = gf.Problem(network, gf.Dataset(x, np.sign(x[:, 0] + 0.1)), gf.losses.Logistic())
        found = gf.compare(problem, self.delta * problem.theta, 1.0, (step_size,), MODELS[:2], rows=2, rtol=self.rtol)
        flow, modified = found["distance"].isel(step_size=0, row=-1).values
        return xarray.Dataset({"distance": flow, "modified_distance": modified})

    def quadratic(self) -> xarray.Dataset:
        """The resummed flow and gradient flow against the iterates of a quadratic; the control at ηλ = 1.9."""
        rates = jnp.array([0.5, 3.0, 9.5])
        problem = gf.Problem.from_loss(functools.partial(_quadratic, rates), jnp.array([1.0, -2.0, 0.5]))
        save = gf.linear_spaced(0.0, 2.0, 21)
        iterates = gf.simulate(gf.GradientDescent(problem, 0.1), problem.theta, 2.0, save=save).theta
        exact = gf.simulate(gf.ModifiedFlow(problem, 0.1, "quadratic"), problem.theta, 2.0, save=save, rtol=self.rtol)
        beyond = gf.simulate(gf.GradientDescent(problem, 0.2), problem.theta, 1.0).theta[-1]
        flow = gf.simulate(gf.GradientFlow(problem), problem.theta, 1.0).theta[-1]
        return xarray.Dataset(
            {
                "quadratic_error": float(jnp.max(jnp.abs(exact.theta - iterates))),
                "control_distance": float(jnp.abs(beyond - flow)[2] / jnp.abs(problem.theta[2])),
            }
        )

    def drift(self) -> xarray.Dataset:
        """‖w_j‖² − a_j² of a ReLU network along descent, and what the gradients at its iterates say it must be."""
        rng = np.random.default_rng(self.seed)
        data = gf.Dataset(rng.normal(size=(30, 4)), rng.normal(size=30))
        network = gf.networks.TwoLayer(4, 6, gf.networks.ReLUPower(1), key=jax.random.key(self.seed))
        problem = gf.Problem(network, data, gf.losses.Square())
        return balance_drift(problem, 0.02, 10.0)

    def escape(self) -> xarray.Dataset:
        """Times from ε to norm 0.1 off the saddle of ½(aw − 1)², μ = 1, per e-fold of ε, of flow and descent."""
        problem = gf.Problem.from_loss(_product, jnp.array([1.0, 1.0]))
        etas, starts = (0.1, 0.3, 0.6), (1e-14, 1e-2)
        folds, until = math.log(starts[1] / starts[0]), gf.events.norm_reaches(0.1)

        def per_fold(dynamics) -> float:
            slow, fast = (
                gf.simulate(dynamics, eps * problem.theta / 2**0.5, 200.0, until=until).t[-1] for eps in starts
            )
            return float(slow - fast) / folds

        flow = per_fold(gf.GradientFlow(problem))
        descent = [per_fold(gf.GradientDescent(problem, eta)) for eta in etas]
        return xarray.Dataset({"escape_ratio": ("escape_step", np.array(descent) / flow)}, {"escape_step": list(etas)})

    def work(self, horizons: tuple[float, ...]) -> xarray.Dataset:
        """Gradients (a Hessian product counts two) of the exact flow, and of descent at 2/λ_max, up to each horizon."""
        x = np.linspace(-1, 1, 20)
        network = gf.networks.FeedForward((1, 50, 1), gf.networks.Tanh(), key=jax.random.key(self.seed), bias=True)
        data = gf.Dataset(x[:, None], np.sin(3 * x) + 0.3 * np.cos(9 * x))
        problem, counts = gf.Problem(network, data, gf.losses.Square()), []
        for end in horizons:
            save, observe = gf.log_spaced(1.0, end, 20), {"curvature": landscape.largest_eigenvalue}
            run = gf.simulate(
                gf.GradientFlow(problem), problem.theta, end, save=save, observe=observe, rtol=self.rtol**0.5
            )
            sharpest = float(jnp.max(run.observed["curvature"]))
            counts.append((run.stats["gradients"] + 2 * run.stats["hessian_products"], sharpest * end / 2))
        flow, descent = zip(*counts, strict=True)
        return xarray.Dataset(
            {"flow_gradients": ("horizon", list(flow)), "descent_gradients": ("horizon", list(descent))},
            {"horizon": list(horizons)},
        )

    def claims(self, record: xarray.Dataset) -> list[gf.Claim]:
        if self.step_size is not None:
            ratio = record["modified_distance"] / record["distance"]
            return [gf.Claim("‖GD − modified‖ / ‖GD − flow‖", ORDERS, 0.1, ratio, 0, "at_most")]
        claims = []
        for case in record["case"].values:
            for k, model in enumerate(MODELS):
                slopes = record.sel(case=case, model=model)
                name = f"{case}: {model}"
                claims.append(gf.Claim(f"{name}, local", ORDERS, k + 2, slopes["local_order"], 0.1, scale="absolute"))
                claims.append(gf.Claim(f"{name}, global", ORDERS, k + 1, slopes["order"], 0.1, scale="absolute"))
        for eta in record["escape_step"].values:
            ratio = record["escape_ratio"].sel(escape_step=eta)
            law = eta / math.log1p(eta)
            claims.append(gf.Claim(f"escape, descent / flow, η = {eta:g}", "[derived]", law, ratio, 0.03))
        drift = np.max(np.abs(record["drift"] - record["drift_predicted"])) / np.max(np.abs(record["drift"]))
        cheaper = record["flow_gradients"][-1], record["descent_gradients"][-1]
        claims += [
            gf.Claim(
                "quadratic: resummed flow − iterates", ORDERS, 0, record["quadratic_error"], 1e-10, scale="absolute"
            ),
            gf.Claim("drift of ‖w‖² − a² / law − 1", "[derived]", 0, drift, 1e-9, scale="absolute"),
            gf.Claim("gradients of flow / descent at 2/λ_max", "counted", 1, cheaper[0] / cheaper[1], 0, "at_most"),
            gf.Claim("control, ηλ = 1.9: ‖GD − flow‖/‖θ0‖", ORDERS, 0.9**5, record["control_distance"], 0.01),
        ]
        return claims


def _quadratic(rates: jax.Array, x: jax.Array) -> jax.Array:
    return 0.5 * jnp.sum(rates * x**2)


def _product(z: jax.Array) -> jax.Array:
    return 0.5 * (z[0] * z[1] - 1) ** 2
