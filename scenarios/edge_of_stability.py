"""Beyond the edge of stability gradient descent leaves the flow and follows the central flow."""

import dataclasses
import functools

import jax
import numpy as np
import xarray

import gfsim as gf
from gfsim.parallel import in_parallel
from gfsim.verification.edge import edge_of_stability

TANH, SQUARED = gf.networks.Tanh(), gf.networks.ReLUPower(2)
# Data, activation, width, scale of the network's own initialisation, edge 2/η.
CASES = {
    "digits, tanh": ("digits", TANH, 20, 0.7, 8.0),
    "digits, degree 2": ("digits", SQUARED, 20, 0.5, 16.0),
    "diabetes, tanh": ("diabetes", TANH, 60, 1.0, 20.0),
    "diabetes, degree 2": ("diabetes", SQUARED, 20, 0.4, 9.0),
}
# The degree-2 network on the digits while its sharpness still rises tenfold within ten steps.
FAST = ("digits", SQUARED, 20, 0.5, 4.0)
UNSEEDED, SHARPENING = "digits, tanh: unseeded", "digits, degree 2: fast"
SOURCE = "arXiv 2410.24206"


@dataclasses.dataclass(frozen=True, kw_only=True)
class EdgeOfStability(gf.Scenario):
    """Past the edge λ_max = 2/η, gradient descent oscillates about the central flow and leaves the gradient flow.

    Two-layer networks on the digits 3 and 5 with a fifth of the labels flipped, and on the diabetes data: the sharpness
    rises slowly through 2/η. Gradient flow is followed to the edge; from there gradient descent, off by the first
    oscillation of theory, runs beside the flow and the central flow, which also predicts the time-averaged loss and the
    variance of the oscillation. Controls: descent without that first oscillation, and a network that sharpens fast.

    Source: Cohen et al., arXiv 2410.24206 (the central flow of gradient descent).
    Run time: 2 min on two cores, 1 min once compiled.
    """

    steps: int = 200
    """Steps past the edge."""
    substeps: int = 2
    """How often per step the central flow's oscillation is found anew."""
    every_case: bool = True
    """All four settings; otherwise the digits with tanh alone."""

    def __post_init__(self):
        super().__post_init__()
        if not 100 <= self.steps <= 5000:
            raise ValueError(f"steps must lie between 100 and 5000, was {self.steps}")
        if not 1 <= self.substeps <= 32:
            raise ValueError(f"substeps must lie between 1 and 32, was {self.substeps}")

    def reduced(self):
        return dataclasses.replace(self, every_case=False)

    def simulate(self) -> xarray.Dataset:
        names = list(CASES) if self.every_case else list(CASES)[:1]
        jobs = [functools.partial(self.follow, name) for name in names]
        if self.every_case:
            jobs.append(functools.partial(self.follow, SHARPENING))
        found = {name: record for part in in_parallel(jobs) for name, record in part.items()}
        order = [name for name in (*CASES, UNSEEDED, SHARPENING) if name in found]
        return xarray.concat([found[name] for name in order], dim=xarray.IndexVariable("case", order))

    def follow(self, name: str) -> dict[str, xarray.Dataset]:
        """One setting; the first also without its first oscillation, which repeats the flow and so comes after it."""
        case = CASES.get(name, FAST)
        problem, start = self.problem(*case[:4])
        beside = functools.partial(edge_of_stability, problem, start, 2 / case[4], self.steps, substeps=self.substeps)
        records = {name: beside()}
        self.announce(f"{name}: {problem.size} parameters, edge at t = {float(records[name]['crossing']):.4g}")
        if name == next(iter(CASES)):
            records[UNSEEDED] = beside(seeded=False)
        return records

    def problem(self, data: str, activation, width: int, scale: float) -> tuple[gf.Problem, jax.Array]:
        samples = self.digits() if data == "digits" else diabetes()
        network = gf.networks.TwoLayer(samples.d, width, activation, key=jax.random.key(self.seed))
        problem = gf.Problem(network, samples, gf.losses.Square())
        return problem, scale * problem.theta

    def digits(self) -> gf.Dataset:
        """The digits 3 and 5, a fifth of them with the wrong label: what cannot be fitted at once sharpens slowly."""
        clean = gf.data.digits((3, 5))
        flipped = np.random.default_rng(self.seed).random(clean.n) < 0.2
        return gf.Dataset(clean.inputs, np.where(flipped, -1, 1) * np.asarray(clean.targets))

    def claims(self, record: xarray.Dataset) -> list[gf.Claim]:
        ratios, claims = distance_ratio(record), []
        names = [name for name in record["case"].values if name in CASES]
        for name in names:
            case = record.sel(case=name)
            claims += [
                gf.Claim(f"{name}: distance to central / flow", SOURCE, 0.5, ratios.sel(case=name), 0, "at_most"),
                gf.Claim(f"{name}: mean loss / predicted", SOURCE, 1, case["loss_ratio"], 0.05),
                gf.Claim(f"{name}: Σ / measured variance", SOURCE, 1, case["variance_ratio"], 0.05),
                gf.Claim(f"{name}: λ_max·η/2, central", SOURCE, 1, held(case), 0.01),
            ]
        close = float((ratios.sel(case=names) <= 0.3).sum())
        claims.append(
            gf.Claim("settings with a ratio of at most 0.3", SOURCE, max(1, len(names) - 1), close, 0, "at_least")
        )
        unseeded = record.sel(case=UNSEEDED)
        off = abs(unseeded["variance_ratio"] - 1)
        claims.append(gf.Claim("control, unseeded: |Σ / variance − 1|", SOURCE, 0.5, off, 0, "at_least"))
        if self.every_case:
            fast = ratios.sel(case=SHARPENING)
            claims.append(gf.Claim("control, fast: distance ratio", SOURCE, 0.5, fast, 0, "at_least"))
        return claims


def distance_ratio(record: xarray.Dataset) -> xarray.DataArray:
    """‖GD − central‖/‖GD − flow‖ at the last step."""
    return (record["to_central"] / record["to_flow"]).isel(step=-1)


def held(case: xarray.Dataset) -> float:
    """The central flow's sharpness over 2/η, at its farthest from 1."""
    values = case["sharpness"].sel(dynamics="central flow").values / float(case["edge"])
    return float(values[np.argmax(np.abs(values - 1))])


def diabetes() -> gf.Dataset:
    """The 442 patients of scikit-learn's diabetes data, standardised."""
    from sklearn.datasets import load_diabetes

    inputs, targets = load_diabetes(return_X_y=True)
    standard = lambda x: (x - x.mean(axis=0)) / x.std(axis=0)  # noqa: E731
    return gf.Dataset(standard(inputs), standard(targets))
