"""What a wide network does beside the image of a narrow one, and on the manifold of equal copies."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from gfsim import landscape
from gfsim.dynamics import GradientFlow
from gfsim.problems import Problem
from gfsim.simulation import events, every_step, simulate
from gfsim.simulation.save import SaveAt
from gfsim.verification.claims import Claim
from gfsim.verification.scaling import fit_power_law

if TYPE_CHECKING:
    import xarray

DERIVED = "[derived] for arXiv 2505.12419"

# The distance from the image, as a share of the norm, at which the wide flow has left the narrow one's shadow.
LEFT = 0.01
# Where the loss is no longer its own linearisation, and the laws end.
END = 0.2


def leave_image(narrow: Problem, delta: float, epsilon: float, rtol: float) -> Float[np.ndarray, "steps 2"]:
    """‖η‖ and the distance of η from the image of two equal copies of one neuron, along the wide flow.

    The narrow start has norm δ and, for p > 1, the direction û of the correlation function's KKT point; the copies
    are 1 + ε and 1 − ε times what they should be. Until ‖η‖ = `END`.

    On the ray of û the copies are r'_j = κr_j^p, so their difference, and with it the distance, grows like ‖η‖^p; for
    p = 1 it is ε‖η‖/√(1 + ε²) for ever, the wide start being a split with other coefficients.

    Source: derived.
    """
    network = narrow.network_at(narrow.theta)
    p = network.activation.degree
    u0 = narrow.theta if p == 1 else landscape.correlation_kkt(narrow, narrow.theta).direction
    exact = landscape.kronecker_split(network, [2])
    c = float(exact.lift.factor[0]) * np.array([1 + epsilon, 1 - epsilon])
    start = landscape.split_neuron(network, 0, 0, c, force=True).lift(u0 / jnp.linalg.norm(u0))
    flow = GradientFlow(exact.wide_problem(narrow), scale=delta)
    run = simulate(flow, start, 1e12, save=every_step(), until=events.norm_reaches(END), rtol=rtol)
    distance = jax.vmap(exact.distance)(run.theta)
    return np.stack([np.linalg.norm(run.theta, axis=1), np.asarray(distance)], axis=1)


def departure(path: Float[np.ndarray, "steps 2"]) -> tuple[float, float]:
    """On rows of `leave_image`: the exponent of the distance in ‖η‖, and ‖η‖ where the distance is `LEFT`·‖η‖.

    The exponent is fitted from 10 times the first norm up to 100 times or a tenth of `LEFT`, whichever comes first, and
    over all rows where the norm grows less than that. The second is NaN where the wide flow stays nearer, and both are
    where a row is not finite.
    """
    if not np.all(np.isfinite(path)):
        return np.nan, np.nan
    norm, distance = path.T
    ratio = distance / norm
    early = (norm >= 10 * norm[0]) & (norm <= 100 * norm[0])
    fitted = early & (ratio < LEFT / 10) if np.sum(early) > 2 else np.full(norm.shape, True)
    exponent = fit_power_law(norm[fitted], distance[fitted]).exponent
    if ratio[-1] < LEFT:
        return exponent, np.nan
    last = int(np.argmax(ratio >= LEFT))
    around = slice(last - 1, last + 1)
    return exponent, float(np.exp(np.interp(np.log(LEFT), np.log(ratio[around]), np.log(norm[around]))))


def departure_claims(record: "xarray.Dataset", starts: Sequence[tuple[int, float, float]]) -> list[Claim]:
    """Claims on `beside` (degree, instant, quantity), rows of `leave_image`, for `starts` of (degree, ε, δ).

    The distance grows like ‖η‖^p, and is `LEFT`·‖η‖ at ‖η‖ = (LEFT/ε)^{1/(p−1)} times the first norm.
    """
    claims = []
    for (p, epsilon, _), path in zip(starts, record["beside"].values, strict=True):
        exponent, left = departure(path)
        claims.append(Claim(f"off the image, p = {p}: distance ∝ ‖θ‖^p", DERIVED, p, exponent, 0.01))
        if p > 1:
            norm = path[0, 0] * (LEFT / epsilon) ** (1 / (p - 1))
            claims.append(Claim(f"off the image, p = {p}: ‖θ‖ when 1 % off", DERIVED, norm, left, 0.05))
    return claims


def embedding_errors(narrow: Problem, alpha: float) -> tuple[float, float]:
    """Of the one-step embedding of the first neuron: 𝓛̃(Tθ)/𝓛(θ) − 1, and ‖∇𝓛̃(Tθ) − G∇𝓛(θ)‖/‖G∇𝓛(θ)‖, absolute."""
    embedding = landscape.embed_neuron(narrow.network_at(narrow.theta), 0, 0, alpha)
    wide, eta = Problem(embedding.network, narrow.data, narrow.criterion), embedding.lift(narrow.theta)
    expected = embedding.gradient(narrow.grad(narrow.theta))
    error = jnp.linalg.norm(wide.grad(eta) - expected) / jnp.linalg.norm(expected)
    return float(jnp.abs(wide.loss(eta) / narrow.loss(narrow.theta) - 1)), float(error)


def on_manifold(narrow: Problem, copies: int, times: Float[np.ndarray, "rows"], rtol: float) -> tuple[float, float]:
    """Largest ‖η − Tφ‖/‖η‖ over `times`, for the wide flow of equal copies of the first neuron of the first layer.

    First with φ at the rates of the invariant manifold (`OneStepEmbedding.rates`), then with φ the narrow flow.

    Source: derived for arXiv 2105.14573.
    """
    theta, network = narrow.theta, narrow.network_at(narrow.theta)
    embedding = landscape.embed_neuron(network, 0, 0, 1 / copies)
    for left in range(copies - 1, 1, -1):
        embedding = embedding.then(landscape.embed_neuron(embedding.network, 0, 0, 1 / left))
    wide = Problem(embedding.network, narrow.data, narrow.criterion)
    root = jnp.sqrt(embedding.rates())
    rated = Problem.from_loss(lambda psi: narrow.loss(root * psi), theta / root)
    runs = [
        simulate(GradientFlow(problem), start, float(times[-1]), save=SaveAt(times), rtol=rtol).theta
        for problem, start in ((wide, embedding.lift(theta)), (rated, theta / root), (narrow, theta))
    ]
    norms = jnp.linalg.norm(runs[0], axis=1)
    shadows = [jax.vmap(embedding.lift)(path) for path in (root * runs[1], runs[2])]
    with_rates, without = (float(jnp.max(jnp.linalg.norm(runs[0] - s, axis=1) / norms)) for s in shadows)
    return with_rates, without
