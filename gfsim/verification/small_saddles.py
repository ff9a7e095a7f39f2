"""The flow from a small start through its first saddles, and its limit as the start shrinks."""

import itertools
from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from gfsim.dynamics import GradientFlow
from gfsim.landscape.correlation import correlation_kkt
from gfsim.problems import Problem
from gfsim.simulation import events, every_step, observables, simulate
from gfsim.simulation.save import SaveAt
from gfsim.types import Theta
from gfsim.verification.pursuit import neurons, pursue, residual_problem

if TYPE_CHECKING:
    import xarray

# Norm at which a neuron counts as on its way, and the one that shows it was.
_ESCAPING, _ESCAPED = 0.1, 0.3


def through_saddles(problem: Problem, u0: Theta, delta: float, seed: int = 0) -> "xarray.Dataset":
    """The flow of a `TwoLayer` network of degree 3 from δu0 beside two rounds of neuron pursuit.

    - `tau`, `loss`, `norms` (moment, neuron): along the flow, τ = tδ.
    - `saddle_tau`, `flow_plateau`: where ‖∇𝓛‖ is least between the losses of the two rounds, and 𝓛 there.
    - `zero_rows`: largest norm up to there of the neurons that are not the first to escape, over δ.
    - `misaligned`: 1 − cos between the second neuron at norm 0.1 and the KKT point of the residual's correlation at
      the end of the first round.
    - `overlap` (flow, round): cosines of the first two neurons, at norm 0.1, with those that pursuit added.
    """
    import xarray

    run = simulate(
        GradientFlow(problem, scale=delta),
        u0,
        12.0,
        save=every_step(),
        observe={"loss": observables.loss, "gradient": observables.gradient_norm},
        until=events.loss_below(1e-6),
        rtol=1e-8,
    )
    rounds = pursue(problem, 2, seed=seed)
    losses, slopes = (np.asarray(run.observed[name]) for name in ("loss", "gradient"))
    middle = (losses < 0.5 * (losses[0] + rounds[0].loss)) & (losses > 0.5 * (rounds[0].loss + rounds[1].loss))
    saddle = int(np.argmin(np.where(middle, slopes, np.inf)))
    own = neurons(problem, np.asarray(run.theta))
    norms = np.linalg.norm(own, axis=2)
    escapes = np.where(norms.max(axis=0) > _ESCAPED, np.argmax(norms > _ESCAPING, axis=0), len(norms) - 1)
    first, second = np.argsort(escapes)[:2]
    directions = [own[escapes[k], k] / norms[escapes[k], k] for k in (first, second)]
    aligned = correlation_kkt(residual_problem(problem, rounds[0].theta), jnp.asarray(directions[1]))
    pursued = np.array([np.asarray(one.added.direction) for one in rounds])
    kept = np.unique(np.linspace(0, len(norms) - 1, 600).round().astype(int))
    return xarray.Dataset(
        {
            "tau": ("moment", np.asarray(run.t)[kept]),
            "loss": ("moment", losses[kept]),
            "norms": (("moment", "neuron"), norms[kept]),
            "saddle_tau": float(run.t[saddle]),
            "flow_plateau": losses[saddle],
            "pursuit_loss": ("round", [one.loss for one in rounds]),
            "zero_rows": np.max(np.delete(norms[: saddle + 1], first, axis=1)) / delta,
            "misaligned": 0.5 * float(np.sum((np.asarray(aligned.direction) - directions[1]) ** 2)),
            "overlap": (("flow", "round"), np.array(directions) @ pursued.T),
        }
    )


def limit_gaps(
    problem: Problem, u0: Theta, value: float, deltas: Float[np.ndarray, "deltas"]
) -> Float[np.ndarray, "gaps"]:
    """max_t ‖θ_δ(t + T_δ) − θ_δ'(t + T_δ')‖ over −4 ≤ t ≤ 12 for successive δ, of degree 3, T_δ = 1/(3N*δ).

    `value` is N*. From the KKT ray of N* the limit exists, and the gap falls by 4 where δ is halved.

    Source: derived for arXiv 2502.15952.
    """
    times, paths = np.linspace(-4.0, 12.0, 33), []
    for delta in deltas:
        save = SaveAt(1 / (3 * value) + delta * times)
        run = simulate(GradientFlow(problem, scale=float(delta)), u0, float(save.times[-1]), save=save, rtol=1e-11)
        paths.append(np.asarray(run.theta))
    return np.array([np.max(np.linalg.norm(b - a, axis=1)) for a, b in itertools.pairwise(paths)])
