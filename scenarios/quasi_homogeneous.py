"""What parameters of different degrees do to the margin that gradient flow finds."""

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
from gfsim.verification.balanced_plane import balanced_plane
from gfsim.verification.infinity import largest_fall, run_to
from gfsim.verification.two_balls import closed_form, predictor, programme, robust_margin, unit

KUNIN = "arXiv 2210.03820"
DERIVED = f"[derived] for {KUNIN}"
# Here the flow has come to the ball of a fine mesh, and not yet to its polygon.
FINE_DEPTH = 5e4


class TwoRates(eqx.Module):
    """f(x) = β·x with β = (w, u·v): Λ = (1, ½, ½), so that the first coordinate alone has the largest exponent."""

    w: jax.Array
    u: jax.Array
    v: jax.Array

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.w * x[0] + self.u * self.v * x[1]

    def exponents(self) -> jax.Array:
        """The diagonal of Λ."""
        return jnp.array([1.0, 0.5, 0.5])


def lambda_margin(problem: gf.Problem, theta: jax.Array) -> jax.Array:
    """γ̃_Λ = log(1/𝓛)/‖θ‖_Λ for the exponents (1, ½, ½), whose largest is one."""
    return -problem.log_loss(theta) / jnp.sqrt(jnp.vdot(jnp.array([1.0, 0.5, 0.5]), theta**2))


OBSERVED = {"log_loss": gf.observables.log_loss, "lambda_margin": lambda_margin}


@dataclasses.dataclass(frozen=True, kw_only=True)
class QuasiHomogeneous(gf.Scenario):
    """A quasi-homogeneous network minimises the norm of its fastest parameters alone, and may lose its robustness.

    Two balls B(±μ, r), μ = (a, b), and a linear predictor β whose first coordinate is one parameter, the second a
    product of two: the limit minimises |β_1| instead of ‖β‖, its direction is (√(1 − b²/r²), b/r) and its robust margin
    (√(r²−b²)/r)(a − √(r²−b²)) → 0 as b → r, where a homogeneous predictor keeps ‖μ‖ − r. On coarse polygons the limit
    is the linear programme's. Control: for b > r the second coordinate separates the data alone, conditional
    separability fails, and β_1/‖β‖ → 0 instead.

    Source: Kunin, Yamamura, Ma & Ganguli, arXiv 2210.03820; the ball's closed form is derived.
    Run time: 2 min on two cores, 1 min once compiled.
    """

    rtol: float = 4e-8
    """Tolerance of every solve."""
    a: float = 2.0
    """First coordinate of μ; the radius r is 1."""
    heights: tuple[float, ...] = (0.3, 0.6, 0.9, 0.99)
    """b < r, the second coordinate of μ."""
    sparse_height: float = 1.2
    """b > r of the control."""
    mesh: int = 2048
    """Corners of the polygons that stand for balls, at log-loss −5e4."""
    coarse: int = 128
    """Corners of the polygons that are compared with the linear programme, at log-loss −1e6."""

    def __post_init__(self):
        super().__post_init__()
        if not self.heights or not all(0 < b < 1 for b in self.heights):
            raise ValueError(f"heights must lie between 0 and the radius 1, was {self.heights}")
        if not 1 < self.a < 100:
            raise ValueError(f"a must lie between 1 and 100, was {self.a}")
        if not 1 < self.sparse_height < 100:
            raise ValueError(f"sparse_height must lie between the radius 1 and 100, was {self.sparse_height}")
        for name in ("mesh", "coarse"):
            if not 8 <= getattr(self, name) <= 100_000:
                raise ValueError(f"{name} must lie between 8 and 100000, was {getattr(self, name)}")
        if not self.rtol <= 5e-8:
            raise ValueError(f"rtol must be at most 5e-8 for a log-loss of −1e6, was {self.rtol}")

    def reduced(self):
        return dataclasses.replace(self, heights=(0.6,), mesh=1024, coarse=64)

    def simulate(self) -> xarray.Dataset:
        jobs = [functools.partial(self.compare, b) for b in self.heights]
        *parts, sparse, plane = in_parallel([*jobs, self.sparse, self.portrait])
        record = xarray.concat(parts, dim=xarray.IndexVariable("height", list(self.heights)))
        return xarray.merge([record, sparse, plane]).assign(a=self.a)

    def problem(self, b: float, corners: int) -> gf.Problem:
        """One polygon, labelled +1: f is odd, so the other one's margins are the same."""
        angle = 2 * np.pi * np.arange(corners) / corners
        points = np.stack([self.a + np.cos(angle), b + np.sin(angle)], axis=1)
        start = np.random.default_rng(self.seed).uniform(0.1, 0.4, 3)
        network = TwoRates(*(jnp.asarray(value) for value in start))
        return gf.Problem(network, gf.Dataset(jnp.asarray(points), jnp.ones(corners)), gf.losses.Exponential("sum"))

    def compare(self, b: float) -> xarray.Dataset:
        """Both meshes of one height beside closed form and linear programme."""
        fine, coarse = self.problem(b, self.mesh), self.problem(b, self.coarse)
        runs = run_to(fine, FINE_DEPTH, self.rtol, OBSERVED), run_to(coarse, 1e6, self.rtol, OBSERVED)
        self.announce(f"b = {b}: {runs[1].outcome}, {runs[1].stats['steps']} steps")
        directions = [unit(predictor(run.theta[-1])) for run in runs]
        network = gf.networks.DeepLinear((2, 1), key=jax.random.key(self.seed))
        plain = run_to(gf.Problem(network, fine.data, fine.criterion), FINE_DEPTH, self.rtol, {})
        exponents = gf.networks.exponents(coarse.network_at(coarse.theta))
        point = landscape.max_margin_polish(coarse, runs[1].theta[-1], exponents)
        return xarray.Dataset(
            {
                "direction": ("coordinate", directions[0]),
                "homogeneous": ("coordinate", unit(np.asarray(plain.theta[-1]))),
                "coarse_direction": ("coordinate", directions[1]),
                "programme": ("coordinate", unit(programme(coarse.data))),
                "polished": ("coordinate", unit(predictor(point.theta))),
                "polished_residual": max(point.stationarity, point.infeasibility),
                "largest_fall": largest_fall(runs[1].observed["lambda_margin"], runs[1].observed["log_loss"]),
            }
        )

    def portrait(self) -> xarray.Dataset:
        """The plane u = v of the middle height, with the run from the network's own parameters projected to it."""
        b = sorted(self.heights)[len(self.heights) // 2]
        problem = self.problem(b, self.coarse)
        return balanced_plane(problem, run_to(problem, 1e3, self.rtol, {})).assign(plane_height=b)

    def sparse(self) -> xarray.Dataset:
        """b > r: the second coordinate separates alone."""
        problem = self.problem(self.sparse_height, self.coarse)
        run = run_to(problem, 1e6, self.rtol, OBSERVED)
        chosen = spaced(run, 10.0, 60)
        betas = np.stack([unit(predictor(theta)) for theta in np.asarray(run.theta)[chosen]])
        exponents = gf.networks.exponents(problem.network_at(problem.theta))
        free = landscape.conditional_separability(problem, exponents)
        others = [self.problem(b, self.coarse) for b in self.heights]
        held = [landscape.conditional_separability(other, exponents).holds for other in others]
        return xarray.Dataset(
            {
                "sparse_depth": ("sparse_row", -np.asarray(run.observed["log_loss"])[chosen]),
                "sparse_share": ("sparse_row", betas[:, 0]),
                "sparse_separable": float(free.holds is False),
                "separable_witnesses": float(sum(h is False for h in held)),
            }
        )

    def claims(self, record: xarray.Dataset) -> list[gf.Claim]:
        claims = []
        for b in record["height"].values:
            r = record.sel(height=b)
            exact, margin = closed_form(self.a, float(b))
            flow, coarse, programme = (r[name].values for name in ("direction", "coarse_direction", "programme"))
            robust = robust_margin(flow, self.a, float(b))
            mu = np.array([self.a, float(b)])
            least = [
                ("homogeneous direction − μ/‖μ‖", DERIVED, np.linalg.norm(r["homogeneous"].values - unit(mu)), 1e-3),
                ("direction − closed form", DERIVED, np.linalg.norm(flow - exact), 1e-3),
                ("direction − linear programme", DERIVED, np.linalg.norm(coarse - programme), 1e-4),
                ("polished − linear programme", KUNIN, np.linalg.norm(r["polished"].values - programme), 1e-8),
                ("KKT residual, polished", KUNIN, float(r["polished_residual"]), 1e-10),
            ]
            claims += [gf.Claim(f"b = {b}: {n}", s, 0, m, t, "at_most", "absolute") for n, s, m, t in least]
            claims.append(gf.Claim(f"b = {b}: robust margin", DERIVED, margin, robust, 1e-3, scale="absolute"))
            plain = robust_margin(r["homogeneous"].values, self.a, float(b))
            exact = np.linalg.norm(mu) - 1
            claims.append(gf.Claim(f"b = {b}: homogeneous margin", DERIVED, exact, plain, 1e-3, scale="absolute"))
            fall = float(r["largest_fall"]) / self.rtol
            claims.append(gf.Claim(f"b = {b}: γ̃_Λ, fall in a step/rtol", KUNIN, 10, fall, 0, "at_most"))
        share, out, gap = record["sparse_share"].values, record["plane_outside"].max(skipna=False), record["plane_gap"]
        return [
            *claims,
            gf.Claim("b < r: separated without Λmax", KUNIN, 0, record["separable_witnesses"], 0, scale="absolute"),
            gf.Claim("plane u = v: share of ∇𝓛 out of it", DERIVED, 0, out, 1e-12, scale="absolute"),
            gf.Claim("plane: streamlines − solved flow, of the side", "numerics", 0, gap, 1e-3, scale="absolute"),
            gf.Claim("plane: critical points", DERIVED, 0, record["plane_kind"].size, 0, scale="absolute"),
            gf.Claim("control, b > r: separated without it", KUNIN, 1, record["sparse_separable"], 0),
            gf.Claim("control, b > r: β₁/‖β‖, last/first", KUNIN, 0.9, share[-1] / share[0], 0, "at_most"),
        ]


def spaced(run: gf.Trajectory, start: float, count: int) -> np.ndarray:
    """Steps of a run about evenly spaced in log|log 𝓛|, from −start on."""
    depth = -np.asarray(run.observed["log_loss"])
    return np.minimum(np.searchsorted(depth, np.geomspace(start, depth[-1], count) * (1 - 1e-9)), depth.size - 1)
