"""Where gradient flow goes when the loss goes to zero."""

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
from gfsim.verification import infinity
from gfsim.verification.late_laws import DERIVED, SETTLING, SOURCE, late_laws, linear_laws
from gfsim.verification.late_laws import LINEAR as SOUDRY

LINEAR, LAYERS, NEURONS, DEEP, DIGITS, DIGIT_NEURONS = CASES = (
    "linear L=1",
    "linear L=2",
    "two layers L=3",
    "three layers L=7",
    "digits L=1",
    "digits L=3",
)


class Spiral(eqx.Module):
    """Φ(θ) = ρ²(1 − f(u, v)), whose flow circles outward for ever [Lyu & Li, App. I; the form is derived].

    (r, φ) are the polar coordinates of the first two entries of θ/ρ, f = e^{−s}[1 − A sin(φ − s)] with
    s = 1/(1 − r²), A = 4r⁴/(4r⁴ + (1−r²)³). The curve φ = s is invariant.
    """

    v: jax.Array
    degree: int = eqx.field(static=True, default=2)

    def __call__(self, x: jax.Array) -> jax.Array:
        squared = jnp.sum(self.v**2)
        r2 = (self.v[0] ** 2 + self.v[1] ** 2) / squared
        gap = 1 - r2
        wave = 4 * r2**2 / (4 * r2**2 + gap**3) * jnp.sin(jnp.arctan2(self.v[1], self.v[0]) - 1 / gap)
        return x[0] * squared * (1 - jnp.exp(-1 / gap) * (1 - wave))

    @classmethod
    def on_the_curve(cls, angle: float) -> "Spiral":
        """θ of unit norm with φ = s = `angle` > 1."""
        r = np.sqrt(1 - 1 / angle)
        return cls(jnp.array([r * np.cos(angle), r * np.sin(angle), angle**-0.5]))


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaxMargin(gf.Scenario):
    """At zero training loss the margin still grows: the direction ends at a KKT point of the max-margin problem.

    Homogeneous networks of degree L = 1, 2, 3, 7 on separable Gaussians and on the digits 3 and 5, followed in the log
    domain to log-loss −1e6: the smoothed margin never falls, 𝓛 and ρ follow their laws in log t with the constants of
    the margin reached, the direction settles at a KKT point, polished to rounding; the linear model's is the hard
    margin. Controls: a degree-2 potential whose direction never settles, and data that are not separable.

    Source: Lyu & Li, arXiv 1906.05890, Thms 4.1–4.4; Soudry et al., arXiv 1710.10345 (linear); constants are derived.
    Run time: 2 min on two cores.
    """

    rtol: float = 3e-8
    """Tolerance of every solve; log-losses ℓ are meaningful while rtol·|ℓ| is below 0.05."""
    depth: float = 1e6
    """−log-loss at which the runs on Gaussians end."""
    digits_depth: float = 1e5
    """−log-loss at which the linear run on the digits ends; four neurons go to a tenth of it."""
    width: int = 8
    """Hidden neurons of the two-layer networks."""
    cases: tuple[str, ...] = CASES
    """Which cases to solve."""

    def __post_init__(self):
        super().__post_init__()
        if not set(self.cases) <= set(CASES) or not self.cases:
            raise ValueError(f"cases must be one or more of {', '.join(CASES)}, was {self.cases}")
        deepest = 0.05 / self.rtol
        for name, value in (("depth", self.depth), ("digits_depth", self.digits_depth)):
            if not 1e3 <= value <= deepest:
                raise ValueError(f"{name} must lie between 1e3 and 0.05/rtol = {deepest:.3g}, was {value}")
        if not 2 <= self.width <= 100:
            raise ValueError(f"width must lie between 2 and 100, was {self.width}")

    def reduced(self):
        return dataclasses.replace(self, cases=(LINEAR, NEURONS), rtol=4e-8)

    def simulate(self) -> xarray.Dataset:
        *parts, spiral, mixed = in_parallel(
            [*(functools.partial(self.follow, case) for case in self.cases), self.spiral, self.mixed]
        )
        record = xarray.concat(parts, dim=xarray.IndexVariable("case", list(self.cases)), join="outer")
        return xarray.merge([record, spiral, mixed])

    def problem(self, case: str) -> gf.Problem:
        """Two Gaussian classes in 7 dimensions, or the digits 3 and 5; the summed exponential loss."""
        key, square = jax.random.key(self.seed), gf.networks.ReLUPower(2)
        if case in (DIGITS, DIGIT_NEURONS):
            data = gf.data.digits((3, 5))
        else:
            means = jnp.zeros((2, 7)).at[:, :2].set(jnp.array([[1.0, 0.5], [-1.0, 0.5]]))
            data = gf.data.gaussians(means, 0.4, 20, jax.random.key(self.seed))
        network = {
            LINEAR: lambda: gf.networks.DeepLinear((7, 1), key=key),
            DIGITS: lambda: gf.networks.DeepLinear((64, 1), key=key),
            LAYERS: lambda: gf.networks.DeepLinear((7, 5, 1), key=key),
            DIGIT_NEURONS: lambda: gf.networks.TwoLayer(64, 4, square, key=key),
            DEEP: lambda: gf.networks.FeedForward((7, 6, 5, 1), square, key=key),
        }.get(case, lambda: gf.networks.TwoLayer(data.d, self.width, square, key=key))()
        return gf.Problem(network, data, gf.losses.Exponential("sum"))

    def follow(self, case: str) -> xarray.Dataset:
        """One network to the end: rows of the flow, and the KKT point that it goes to."""
        problem = self.problem(case)
        depth = {DIGITS: self.digits_depth, DIGIT_NEURONS: self.digits_depth / 10}.get(case, self.depth)
        run = infinity.run_to(problem, depth, self.rtol, infinity.OBSERVED)
        record = infinity.described(problem, run)
        self.announce(f"{case}: {run.outcome}, {run.stats['steps']} steps, {record['limit_type'].item()}")
        reference = record["limit"].values
        if problem.degree == 1:
            reference, _ = landscape.hard_margin(problem.data.targets[:, None] * problem.data.inputs)
        off = record["limit"].values - reference / np.linalg.norm(reference)
        return record.drop_vars("limit").assign(reference_angle=np.linalg.norm(off))

    def spiral(self) -> xarray.Dataset:
        """The direction that never settles, to a depth that is noise elsewhere: one sample alone has no ties."""
        data = gf.Dataset(jnp.ones((1, 1)), jnp.ones(1))
        problem = gf.Problem(Spiral.on_the_curve(1.5), data, gf.losses.Exponential("sum"))
        run = infinity.run_to(problem, 1e40, self.rtol, {"log_loss": gf.observables.log_loss})
        depth, theta = -np.asarray(run.observed["log_loss"]), np.asarray(run.theta)
        u = theta / np.linalg.norm(theta, axis=1, keepdims=True)
        turned = infinity.turning(theta, -depth)
        angle = np.unwrap(np.arctan2(u[:, 1], u[:, 0]))
        off = np.abs(angle - 1 / u[:, 2] ** 2)[angle < 2.5].max()
        rows = np.stack([depth, *u.T, angle], axis=1)
        measured = {"spiral_settling": turned[-1] / turned[-2], "spiral_off_curve": off}
        return xarray.Dataset({"spiral": (("step", "quantity"), rows), **measured})

    def mixed(self) -> xarray.Dataset:
        """The linear model on data that hold one sample twice, with either label: no direction separates them."""
        problem = self.problem(LINEAR)
        x, y = problem.data.inputs, problem.data.targets
        data = gf.Dataset(jnp.concatenate([x, x[:1]]), jnp.concatenate([y, -y[:1]]))
        problem = gf.Problem(problem.network_at(problem.theta), data, problem.criterion)
        observed = {"log_loss": gf.observables.log_loss, "margin": gf.observables.normalised_margin}
        run = gf.simulate(gf.MarginFlow(problem), problem.theta, 20.0, observe=observed, rtol=self.rtol)
        return xarray.Dataset({f"mixed_{name}": float(value[-1]) for name, value in run.observed.items()})

    def claims(self, record: xarray.Dataset) -> list[gf.Claim]:
        claims = [c for case in record["case"].values for c in late_laws(record.sel(case=case), case, self.rtol)]
        for case in {LINEAR, DIGITS} & set(record["case"].values):
            claims += linear_laws(record.sel(case=case), case)
        off, margin = record["spiral_off_curve"], record["mixed_margin"]
        return [
            *claims,
            gf.Claim("control, spiral: turn/one before", SOURCE, SETTLING, record["spiral_settling"], 0, "at_least"),
            gf.Claim("control, spiral: off its curve", DERIVED, 0, off, 1e-3, "at_most", "absolute"),
            gf.Claim("control, mixed: margin", SOUDRY, 0, margin, 0, "at_most", "absolute"),
            gf.Claim("control, mixed: log-loss", SOUDRY, 0, record["mixed_log_loss"], 0, "at_least", "absolute"),
        ]
