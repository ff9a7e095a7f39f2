"""Gradient descent at the edge of stability, beside gradient flow and the central flow."""

from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gfsim.dynamics import CentralFlow, GradientDescent, GradientFlow
from gfsim.dynamics.oscillation import generic_block, refined
from gfsim.landscape.spectrum import largest_eigenvalue
from gfsim.problems import Problem
from gfsim.simulation import Outcome, events, every_step, linear_spaced, simulate
from gfsim.solvers import RKC
from gfsim.types import Scalar, Theta

if TYPE_CHECKING:
    import xarray

# Steps over which losses and oscillations are averaged.
WINDOW = 100
_SHARPNESS_EVERY = 5


def edge_of_stability(
    problem: Problem,
    theta0: Float[Array, "P"],
    step_size: float,
    steps: int = 200,
    *,
    directions: int = 3,
    substeps: int = 2,
    seeded: bool = True,
    latest: float = 1e4,
) -> "xarray.Dataset":
    """Gradient flow from `theta0` to the edge λ_max = 2/η, and from there descent, flow and central flow side by side.

    Descent starts off the common point by √σ²·u, σ² the oscillation that the central flow starts with
    (`first_oscillation`): in float64 it would otherwise follow the flow until rounding has grown. `seeded=False` leaves
    it there.

    Dimension `step` 0 … steps: `descent_loss`, `flow_loss`, `central_loss` (of the point itself), `predicted_loss` (the
    central flow's time average), `to_central`, `to_flow` (distances of descent), `variance` (Σ's leading eigenvalue).
    Dimension `moment`: `moment_step` and `sharpness` (dynamics, moment) of descent, flow and central flow. Scalars:
    `crossing` t, and over the last 100 steps `loss_ratio`, mean of the descent's loss over the mean predicted, and
    `variance_ratio`, Σ's leading eigenvalue over that of the descent's second moment about the central flow.

    Raises ValueError where the sharpness does not reach 2/η by t = `latest`, is not rising there, and for fewer than
    100 steps.
    """
    import xarray

    if steps < WINDOW:
        raise ValueError(f"steps must be at least {WINDOW}, was {steps}")
    flow, descent = GradientFlow(problem), GradientDescent(problem, step_size)
    edge = events.sharpness_reaches(2 / step_size)
    before = simulate(flow, theta0, latest, until=edge, solver=RKC())
    if before.outcome != Outcome.sharpness_reaches:
        raise ValueError(f"step_size must be one whose edge 2/η the flow reaches by t = {latest:g}, was {step_size:g}")
    at = before.theta[-1]
    direction, variance = first_oscillation(problem, at)
    if not float(variance) > 0:
        raise ValueError(f"step_size must have an edge 2/η that the sharpness rises through, was {step_size:g}")
    kick = jnp.sqrt(variance) * direction if seeded else 0.0 * direction

    end = steps * step_size
    down = simulate(descent, at + kick, end, save=every_step()).theta
    along = simulate(flow, at, end, save=linear_spaced(0.0, end, steps + 1), solver=RKC()).theta
    central = CentralFlow(problem, step_size, directions, substeps=substeps).path(at, steps + 1)

    moments = np.arange(0, steps + 1, _SHARPNESS_EVERY)
    rows = jnp.stack([down, along, central.theta])
    losses, sharpness = _measured(problem, rows, rows[:, moments])
    late = slice(steps + 1 - WINDOW, None)
    offset = np.asarray(down - central.theta)
    second_moment = np.linalg.svd(offset[late], compute_uv=False)[0] ** 2 / WINDOW
    data: dict[str, Any] = {
        "descent_loss": ("step", losses[0]),
        "flow_loss": ("step", losses[1]),
        "central_loss": ("step", losses[2]),
        "predicted_loss": ("step", central.loss),
        "to_central": ("step", np.linalg.norm(offset, axis=1)),
        "to_flow": ("step", np.linalg.norm(down - along, axis=1)),
        "variance": ("step", central.variances[:, 0]),
        "moment_step": ("moment", moments),
        "sharpness": (("dynamics", "moment"), sharpness),
        "edge": 2 / step_size,
        "crossing": float(before.t[-1]),
        "loss_ratio": float(jnp.mean(losses[0][late]) / jnp.mean(central.loss[late])),
        "variance_ratio": float(jnp.mean(central.variances[late, 0]) / second_moment),
    }
    data = {
        name: value if isinstance(value, float) else (value[0], np.asarray(value[1])) for name, value in data.items()
    }
    return xarray.Dataset(data, {"dynamics": ["gradient descent", "gradient flow", "central flow"]})


@eqx.filter_jit
def first_oscillation(problem: Problem, theta: Theta) -> tuple[Theta, Scalar]:
    """The top eigenvector u of H and σ² = −2⟨∇L, ∇λ⟩/‖∇λ‖², ∇λ = ∇³L[u, u]: the oscillation along u that holds λ.

    σ² ≤ 0 where the flow does not raise λ: there is no edge to speak of.

    Source: Cohen et al., arXiv 2410.24206 (one unstable direction).
    """

    def product(block: Array) -> Array:
        return jax.vmap(lambda v: problem.hvp(theta, v), in_axes=1, out_axes=1)(block)

    block = jax.lax.fori_loop(
        0, 60, lambda _, b: refined(product, b)[0], generic_block(problem.size, min(3, problem.size))
    )
    u = block[:, 0]
    slope = jax.jvp(lambda th: problem.hvp(th, u), (theta,), (u,))[1]
    return u, -2 * jnp.vdot(problem.grad(theta), slope) / jnp.vdot(slope, slope)


@eqx.filter_jit
def _measured(problem: Problem, rows: Array, chosen: Array) -> tuple[Array, Array]:
    losses = jax.lax.map(problem.loss, rows.reshape(-1, problem.size)).reshape(rows.shape[:2])
    values = jax.lax.map(lambda th: largest_eigenvalue(problem, th), chosen.reshape(-1, problem.size))
    return losses, values.reshape(chosen.shape[:2])
