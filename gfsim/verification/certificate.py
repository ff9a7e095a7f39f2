"""A bound, at run time, on the distance of a computed curve from exact gradient flow."""

from dataclasses import dataclass
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gfsim.checks import positive_integer
from gfsim.landscape.third_order import (
    has_third_order_bound,
    hessian_jump_bound,
    third_order_bound,
    third_order_estimate,
)
from gfsim.problems import Problem
from gfsim.problems.objectives import NetworkObjective
from gfsim.problems.problem import checked_problem
from gfsim.simulation import Trajectory
from gfsim.simulation.trajectory import checked_trajectory
from gfsim.types import Scalar, Theta

# Dense eigenvalues of the Hessian at every row.
LARGEST = 1500
# The bound is given up where L₃·e exceeds this many times the largest curvature.
LOST = 20.0


@dataclass(frozen=True, repr=False)
class Certificate:
    """‖θ̂(t) − θ(t)‖ ≤ `bound` at every row t of a run, θ the exact gradient flow from the run's first row.

    `rigorous` says whether the bound is proved (up to rounding) or an *estimate*, because the Lipschitz constant of the
    Hessian was sampled. `lost` is the time t* from which nothing is certified and the bound is infinite, or None.
    `curvature` is λ_min(H), `defect` the integral of ‖θ̂' + ∇L(θ̂)‖ since the row before.
    """

    t: Float[np.ndarray, "times"]
    bound: Float[np.ndarray, "times"]
    rigorous: bool
    lost: float | None
    curvature: Float[np.ndarray, "times"]
    defect: Float[np.ndarray, "times"]

    def __repr__(self) -> str:
        kind = "rigorous" if self.rigorous else "estimate"
        held = np.isfinite(self.bound)
        until = "to the end" if self.lost is None else f"lost at t* = {self.lost:.4g}"
        return f"Certificate ({kind}): ‖θ̂ − θ‖ ≤ {self.bound[held][-1]:.4g} at t = {self.t[held][-1]:.4g}, {until}"


def certify(problem: Problem, trajectory: Trajectory, *, nodes: int = 4) -> Certificate:
    """How far a run on the clock of physical time, with rows at every step, can be from exact gradient flow.

    The rows are joined to a curve θ̂: by straight lines for a descent, by cubics with the slopes −∇L for a flow. Its
    defect d = θ̂' + ∇L(θ̂) and λ_min(H) bound the distance e to the flow by e' ≤ −(λ_min − L₃e)e + ‖d‖, with L₃ a bound
    of ‖∇³L‖ in the ball of radius e; positive curvature contracts. ‖d‖ is evaluated at `nodes` points between rows and
    bounded between them by L₃. Squared ReLU has a Lipschitz gradient, whose Hessian jumps at kinks: λ_min is lowered by
    what the jumps within reach amount to. The certificate is lost where L₃e and those jumps exceed 20 λ_max, as they
    must at a saddle, and for ReLU of degree 1, whose gradient jumps, where a kink enters the ball.

    Rigorous for two-layer networks (tanh, softplus, ReLU, squared ReLU; square and logistic loss), an estimate
    elsewhere.

    Raises ValueError for an ensemble, fewer than two rows, another clock, and more than 1,500 parameters.

    Source: logarithmic norms (Söderlind, 2006); Elkabetz & Cohen, arXiv 2107.06608, give the a-priori form.
    """
    checked_problem(problem)
    t, theta = np.asarray(checked_trajectory(trajectory).t), jnp.asarray(trajectory.theta)
    if t.ndim != 1 or t.size < 2:
        raise ValueError(f"trajectory must be one run with at least two rows, shape of t was {t.shape}")
    if not np.allclose(np.exp(np.asarray(trajectory.log_t)), t, rtol=1e-9, atol=0):
        raise ValueError("trajectory must run on the clock of physical time, ran on another")
    if problem.size > LARGEST:
        raise ValueError(f"problem must have at most {LARGEST} parameters to be certified, had {problem.size}")
    nodes = positive_integer("nodes", nodes)
    rigorous = isinstance(problem.objective, NetworkObjective) and has_third_order_bound(problem)
    straight = trajectory.dissipated is None
    bound, curvature, defect, holds = jax.tree.map(
        np.asarray, _followed(problem, jnp.asarray(t), theta, straight, rigorous, nodes)
    )
    lost = None if np.all(holds) else float(t[np.argmin(holds)])
    return Certificate(t, np.where(holds, bound, np.inf), rigorous, lost, curvature, defect)


class _Piece(NamedTuple):
    """The curve between two rows: its left end, duration, ‖d‖ at the nodes, and bounds of its derivatives' norms."""

    left: Theta
    duration: Scalar
    defects: Float[Array, "nodes"]
    speed: Scalar
    second: Scalar
    third: Scalar
    least: Scalar
    most: Scalar


@eqx.filter_jit
def _followed(
    problem: Problem, t: Array, theta: Array, straight: bool, rigorous: bool, nodes: int
) -> tuple[Array, Array, Array, Array]:
    """Bound, λ_min, defect and whether the certificate holds, at every row."""
    eigenvalues = jax.lax.map(lambda th: jnp.linalg.eigvalsh(problem.hessian(th))[jnp.array([0, -1])], theta)
    slopes = -jax.lax.map(problem.grad, theta)
    # One sampled constant serves the run: the largest along it, doubled.
    sampled = (
        jnp.zeros(()) if rigorous else 2 * jnp.max(jax.lax.map(lambda th: third_order_estimate(problem, th), theta))
    )

    def lipschitz(at: Theta, radius: Scalar) -> Scalar:
        return third_order_bound(problem, at, radius) if rigorous else sampled

    def jumps(at: Theta, radius: Scalar) -> Scalar:
        return hessian_jump_bound(problem, at, radius) if rigorous else jnp.zeros(())

    def piece(k: Array) -> _Piece:
        h = t[k + 1] - t[k]
        chord = (theta[k + 1] - theta[k]) / h
        start, end = (chord, chord) if straight else (slopes[k], slopes[k + 1])
        # θ̂(t_k + s) = θ_k + s·start + s²·bend + s³·twist.
        bend, twist = (3 * chord - 2 * start - end) / h, (start + end - 2 * chord) / h**2

        def defect(s: Scalar) -> Scalar:
            point = theta[k] + s * (start + s * (bend + s * twist))
            return jnp.linalg.norm(start + s * (2 * bend + 3 * s * twist) + problem.grad(point))

        norm = jnp.linalg.norm
        second = 2 * norm(bend) + 6 * h * norm(twist)
        return _Piece(
            theta[k],
            h,
            jax.lax.map(defect, h * jnp.linspace(0.0, 1.0, nodes + 1)),
            norm(start) + h * second,
            second,
            6 * norm(twist),
            jnp.minimum(eigenvalues[k, 0], eigenvalues[k + 1, 0]),
            jnp.maximum(jnp.max(jnp.abs(eigenvalues[k])), jnp.max(jnp.abs(eigenvalues[k + 1]))),
        )

    def step(carry: tuple[Scalar, Array], p: _Piece) -> tuple[tuple[Scalar, Array], tuple[Scalar, Scalar, Array]]:
        e, holds = carry
        h, reach = p.duration, p.duration * p.speed
        along = lipschitz(p.left, reach)
        # ‖d''‖ ≤ ‖θ̂'''‖ + ‖∇³L‖‖θ̂'‖² + ‖H‖‖θ̂''‖ is what linear interpolation between nodes can miss, by δ²/8.
        jump = jumps(p.left, reach)
        missed = p.third + along * p.speed**2 + (p.most + along * reach + jump) * p.second
        between = jnp.sum(p.defects[1:] + p.defects[:-1]) / 2 * h / nodes
        # A jump of d' costs it δ/4 between two nodes; a line meets a kink once, a cubic up to three times.
        kinked = (1 if straight else 3) * (h / nodes) ** 2 / 4 * jump * p.speed
        defect = between + h * (h / nodes) ** 2 / 8 * missed + kinked
        # e stays below twice what it would be without curvature, or nothing is certified.
        ceiling = 2 * (e + defect)
        constant = lipschitz(p.left, reach + ceiling)
        crossed = jumps(p.left, reach + ceiling)
        rate = p.least - constant * (reach / 2 + ceiling) - crossed
        growth = jnp.exp(-rate * h)
        most = jnp.maximum(1.0, growth) * (e + defect)
        after = growth * e + jnp.maximum(1.0, growth) * defect
        holds = holds & (most <= ceiling) & (constant * after + crossed <= LOST * p.most)
        after = jnp.where(holds, after, 0.0)
        return (after, holds), (after, defect, holds)

    pieces = jax.lax.map(piece, jnp.arange(t.size - 1))
    _, (bound, defect, holds) = jax.lax.scan(step, (jnp.zeros(()), jnp.ones((), bool)), pieces)
    first = jnp.zeros(1)
    return (
        jnp.concatenate([first, bound]),
        eigenvalues[:, 0],
        jnp.concatenate([first, defect]),
        jnp.concatenate([first == 0, holds]),
    )
