"""Features and classifier of a network trained far beyond zero error."""

import dataclasses
import functools

import equinox as eqx
import jax
import numpy as np
import xarray

import gfsim as gf
from gfsim.parallel import in_parallel
from gfsim.verification import collapse
from gfsim.verification.infinity import run_to

SIMPLEX, SKEWED, SQUARE, DIGITS = CASES = ("simplex", "unequal classes", "control, K > d + 1", "digits")
PAPYAN = "arXiv 2008.08186"
DERIVED = f"[derived] for {PAPYAN}"
# Samples in each of four classes, and the features' dimension.
MODELS = {SIMPLEX: ((6, 6, 6, 6), 5), SKEWED: ((16, 4, 2, 2), 5), SQUARE: ((6, 6, 6, 6), 2)}
# −log-loss from which no class mean is nearer to a sample than its own.
NEAREST = 10.0
DIGITS_RTOL = 1e-4


@dataclasses.dataclass(frozen=True, kw_only=True)
class NeuralCollapse(gf.Scenario):
    """Normalised features collapse to their class means, the means to a simplex, and the classifier to the means.

    Cross-entropy with K classes and features on the sphere of R^d, to log-loss −300. In the model whose features are
    free, within-class scatter (NC1) vanishes, class means reach the simplex (NC2) and the margin √K/(K−1)·‖W‖, the
    classifier becomes the means like 1/‖W‖ with a constant that is conserved (NC3), and it decides like the nearest
    mean (NC4); unequal classes reach the same simplex, but only like 1/‖W‖. A normalised network on the ten digits is
    measured beside it. Control: four classes in two dimensions hold no simplex and form a square.

    Source: Papyan, Han & Donoho, arXiv 2008.08186; Kunin et al., arXiv 2210.03820, for normalised features.
    Run time: 60 s on two cores, 20 s once compiled.
    """

    rtol: float = 1e-8
    """Tolerance of the model's solves."""
    depth: float = 300.0
    """−log-loss at which the model's runs end."""
    digits_depth: float = 20.0
    """−log-loss at which the run on the digits ends."""
    width: int = 32
    """Features of the network on the digits."""
    every: int = 10
    """One in so many of the 1,797 digits is used."""
    cases: tuple[str, ...] = CASES
    """Which cases to solve."""

    def __post_init__(self):
        super().__post_init__()
        if not set(self.cases) <= set(CASES) or not self.cases:
            raise ValueError(f"cases must be one or more of {', '.join(CASES)}, was {self.cases}")
        limits = {"rtol": (1e-12, 1e-6), "depth": (50, 1e5), "digits_depth": (5, 1e4), "width": (10, 200)}
        for name, (least, most) in {**limits, "every": (1, 30)}.items():
            if not least <= getattr(self, name) <= most:
                raise ValueError(f"{name} must lie between {least:g} and {most:g}, was {getattr(self, name)}")

    def reduced(self):
        return dataclasses.replace(self, cases=(SIMPLEX, SQUARE), depth=100.0)

    def simulate(self) -> xarray.Dataset:
        parts = in_parallel([functools.partial(self.follow, case) for case in self.cases])
        return xarray.concat(parts, dim=xarray.IndexVariable("case", list(self.cases)))

    def problem(self, case: str) -> gf.Problem:
        """Free features of norm 3 before they are normalised, or a normalised network on the digits."""
        key = jax.random.key(self.seed)
        if case != DIGITS:
            # In two dimensions a few starts, seed 0's own among them, hold one sample on the wrong side for ever.
            return collapse.free_features(*MODELS[case], 3.0, jax.random.key(self.seed + 1))
        data = gf.data.digits(range(10))
        data = gf.Dataset(np.asarray(data.inputs)[:: self.every], np.asarray(data.targets)[:: self.every])
        network = gf.networks.FeedForward((64, self.width, 10), gf.networks.ReLUPower(3, 0.5), key=key, normalise=True)
        # The features ignore the scale of their weights, which sets how fast they move.
        network = eqx.tree_at(lambda n: n.weights[0], network, replace_fn=lambda w: 5.0 * w)
        return gf.Problem(network, data, gf.losses.CrossEntropy())

    def follow(self, case: str) -> xarray.Dataset:
        """One case to its depth."""
        problem = self.problem(case)
        depth, rtol = (self.digits_depth, DIGITS_RTOL) if case == DIGITS else (self.depth, self.rtol)
        run = run_to(problem, depth, rtol, collapse.OBSERVED)
        self.announce(f"{case}: {run.outcome}, {run.stats['steps']} steps, {run.stats['gradients']} gradients")
        return collapse.described(problem, run)

    def claims(self, record: xarray.Dataset) -> list[gf.Claim]:
        return [claim for case in record["case"].values for claim in self.laws(record.sel(case=case), str(case))]

    def laws(self, record: xarray.Dataset, case: str) -> list[gf.Claim]:
        """What is claimed of one case."""
        last, size = record.isel(row=-1), record["classifier_norm"].values
        late = record["log_loss"].values <= -NEAREST
        reached = float(last["margin"] / last["classifier_norm"]) / collapse.simplex_margin(int(record["classes"]))
        dual = float(last["nc3"] * last["classifier_norm"] / record["mean_row"])
        rtol = DIGITS_RTOL if case == DIGITS else self.rtol
        moved = record["mean_row_moved"] / (rtol * last["classifier_norm"])
        rate = np.polyfit(np.log(size[-10:]), np.log(record["nc2"].values[-10:]), 1)[0]
        zero = [
            ("mean row of W, moved/(rtol·‖W‖)", DERIVED, moved, 10),
            ("NC4, from log-loss −10 on", PAPYAN, record["nc4"].values[late].max(initial=0.0), 0),
        ]
        claims: list[gf.Claim] = []
        if case == DIGITS:
            falls = [record[name].values[-1] / record[name].values[0] for name in ("nc1", "nc2", "nc3")]
            claims = [
                gf.Claim(f"{case}: NC{k + 1}, last row/first", PAPYAN, most, fall, 0, "at_most")
                for k, (fall, most) in enumerate(zip(falls, (0.1, 0.9, 0.9), strict=True))
            ]
        else:
            zero.append(("NC1", PAPYAN, last["nc1"], 1e-20))
        if case == SIMPLEX:
            zero.append(("NC2 at the end", PAPYAN, last["nc2"], 1e-4))
            claims.append(gf.Claim(f"{case}: q_min/‖W‖·(K−1)/√K", DERIVED, 1, reached, 1e-3))
        if case == SKEWED:
            # Margins differ by logarithms of the counts, which do not grow.
            short = (1 - reached) * -float(last["log_loss"])
            claims.append(gf.Claim(f"{case}: power of ‖W‖ in NC2", DERIVED, -1, rate, 0.1))
            claims.append(gf.Claim(f"{case}: what the margin lacks · |log 𝓛|", DERIVED, 1, short, 0, "at_most"))
        if case == SQUARE:
            share = 0.5 / collapse.simplex_margin(4)
            claims.append(gf.Claim(f"{case}: NC2, the square's", DERIVED, 2 / 3, last["nc2"], 1e-3))
            claims.append(gf.Claim(f"{case}: q_min/‖W‖·(K−1)/√K", DERIVED, share, reached, 1e-3))
        if case in (SIMPLEX, SQUARE):
            claims.append(gf.Claim(f"{case}: NC3·‖W‖/(√K‖w̄‖)", DERIVED, 1, dual, 0.01))
        return claims + [gf.Claim(f"{case}: {n}", source, 0, m, t, "at_most", "absolute") for n, source, m, t in zero]
