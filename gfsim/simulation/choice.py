"""What a run asks of a solver before it steps: its options, the choice of one, the stiffness that the choice sees."""

import dataclasses
import functools
from typing import Any

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree

from gfsim.dynamics.base import AbstractFlow
from gfsim.norms import inner, two_norm
from gfsim.placement import placement
from gfsim.simulation import starting
from gfsim.simulation.compiled import Compiled, Fixed
from gfsim.simulation.events import values
from gfsim.simulation.lanes import usual_lanes
from gfsim.simulation.lapack import factorises
from gfsim.simulation.motion import Paused
from gfsim.simulation.step_control import Tolerance
from gfsim.solvers.bdf import BDF
from gfsim.solvers.chebyshev import RKC
from gfsim.solvers.choose import Chooser, Prospect
from gfsim.solvers.explicit import Explicit
from gfsim.solvers.spectral_radius import generic_direction, unit
from gfsim.types import Scalar

# Numbers above which no Hessian is kept, as of a thousand parameters: 8 MB each for it and its factor; and those of all
# members of an ensemble together.
LARGEST_HELD, MOST_HELD = 1_000_000, 50_000_000
# Members that are stepped together take as long as this many that are not, each by itself.
PACE_OF_LANES = 5


# The first look starts from a direction that is aligned with nothing, later ones from where the last one ended.
FIRST_PRODUCTS, PRODUCTS = 30, 5


@functools.partial(Compiled, per_member=True)
def stiffness(
    fixed: tuple[AbstractFlow, Any, Any], paused: Paused, direction: PyTree, known: Bool[Array, ""]
) -> tuple[Scalar, PyTree, Int[Array, ""]]:
    """Largest decay rate −λ_min(J) of the linearised flow, ≥ 0, with the iterate and the products it took.

    Growth (an escape from a saddle) makes no explicit step unstable, so the spectral radius will not do. Where the mode
    of that radius decays, it is the rate; else the spectrum is shifted by it, which leaves the fastest decay as the
    dominant mode. `direction` is where an earlier look ended, if one is `known`.
    """
    flow, _, _ = fixed
    clock, state = paused.number("clock"), paused.state
    direction = jax.tree.map(lambda x, y: jnp.where(known, x, y), direction, generic_direction(state))
    most = jnp.where(known, PRODUCTS, FIRST_PRODUCTS)

    def iterate(carry: Any) -> Any:
        v, norm, shift, count, total, _ = carry
        image = jax.jvp(lambda s: flow.vector_field(clock, s), (state,), (v,))[1]
        # (J − shift)v; one product in the loop, for either spectrum: compiling it is most of what a look costs.
        image = jax.tree.map(lambda i, x: i - shift * x, image, v)
        new = two_norm(image)
        rayleigh = inner(v, image)
        settled = jnp.abs(new - norm) <= 0.02 * jnp.maximum(new, norm)
        larger = jnp.maximum(norm, new)
        usable = (new > 0) & jnp.isfinite(new)
        v = jax.tree.map(lambda i, x: jnp.where(usable, i, x), unit(image, new), v)
        count, total = count + 1, total + 1
        # Among many flat directions the shifted norm hardly changes at first, which is no sign of convergence.
        over = (count >= most) | (settled & (shift == 0))
        decays = rayleigh <= -0.9 * larger
        done = over & ((shift > 0) | decays | (larger == 0))
        again = over & ~done
        restart = lambda x, y: jnp.where(again, x, y)  # noqa: E731
        v = jax.tree.map(restart, direction, v)
        return v, restart(0.0, larger), restart(larger, shift), restart(0, count), total, done

    zero = jnp.zeros_like(clock)
    start = (direction, zero, zero, jnp.array(0), jnp.array(0), jnp.array(False))
    v, norm, shift, _, total, _ = jax.lax.while_loop(lambda carry: ~carry[-1], iterate, start)
    return jnp.maximum(norm - shift, 0.0), v, total


@functools.lru_cache
def _explicit(method: dfx.AbstractERK) -> Explicit:
    return Explicit(method, starting.flow_state)


@functools.lru_cache
def made(kind: type[dfx.AbstractSolver]) -> dfx.AbstractSolver:
    """A solver of this kind, as a run takes it: to make one, and to wrap it, takes as long as a few steps."""
    solver = kind()
    return _explicit(solver) if isinstance(solver, dfx.AbstractERK) else solver


def prepared(solver: dfx.AbstractSolver, flow: AbstractFlow, tolerance: Tolerance) -> dfx.AbstractSolver:
    """A user's solver as the loop needs it: ours look at the state alone, implicit ones get the tolerances."""
    if isinstance(solver, Explicit):
        return solver
    # One that steps in a way of its own is left to it.
    if isinstance(solver, dfx.AbstractERK) and type(solver).step is dfx.AbstractERK.step:
        return _explicit(solver)
    if isinstance(solver, RKC):
        return dataclasses.replace(solver, stiff=starting.flow_state)
    # Arrays, so that another tolerance compiles nothing new.
    rtol, atol = np.asarray(tolerance.rtol), np.min(np.asarray(tolerance.atol))
    if isinstance(solver, BDF):
        return dataclasses.replace(solver, stiff=starting.flow_state, rtol=rtol, atol=atol, curvature=flow.curvature)
    if isinstance(solver, dfx.AbstractImplicitSolver):
        return eqx.tree_at(lambda s: s.root_finder, solver, dfx.VeryChord(rtol=rtol, atol=atol))  # pyright: ignore
    return solver


def chooser(flow: AbstractFlow, theta0: Float[Array | np.ndarray, "*members P"], tolerance: Tolerance) -> Chooser:
    """The chooser for a flow from `theta0`: with BDF where its Hessian is symmetric and small enough to be kept."""
    size = theta0.shape[-1]

    def prospect() -> Prospect | None:
        members = theta0.shape[0] if theta0.ndim == 2 else 1
        # Where all members are stepped together, each would renew its Hessian whenever one of them has to.
        together = members > 1 and (jax.default_backend() != "cpu" or placement(theta0) is not None)
        if not flow.symmetric or together:
            return None
        numbers = flow.curvature.numbers(size)
        if numbers > LARGEST_HELD or members * numbers > MOST_HELD:
            return None
        data = getattr(flow.problem.objective, "data", None)
        shared = max(1.0, usual_lanes(members, size) / PACE_OF_LANES)
        return Prospect(flow.curvature, 1 if data is None else data.n, shared)

    return Chooser(float(tolerance.rtol), size, prospect)


def factorises_steps(fixed: Fixed, solver: dfx.AbstractSolver, state: PyTree) -> bool:
    """Whether a step from `state` factorises matrices, in the solver or in what it evaluates."""
    if isinstance(solver, BDF | dfx.AbstractImplicitSolver):
        return True
    known = (fixed.static, *(np.shape(x) for x in (*fixed.arrays, *jax.tree.leaves(state))))
    if known not in _factorising:
        flow, _, events = fixed.static.whole(fixed.arrays)

        def evaluated(state: PyTree) -> Any:
            return flow.vector_field(jnp.zeros(()), state), values(events, flow.problem, flow.parameters(state))

        _factorising[known] = factorises(evaluated, state)
    return _factorising[known]


# Tracing a vector field takes longer than a small ensemble.
_factorising: dict[Any, bool] = {}
