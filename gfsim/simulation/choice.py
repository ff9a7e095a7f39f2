"""What a run asks of a solver before it steps: its options, the choice of one, the stiffness that the choice sees."""

import dataclasses
from typing import Any

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from gfsim.dynamics.base import AbstractFlow
from gfsim.placement import on_host
from gfsim.simulation import integrate
from gfsim.simulation.integrate import Motion
from gfsim.simulation.step_control import Tolerance
from gfsim.solvers.bdf import BDF
from gfsim.solvers.chebyshev import RKC
from gfsim.solvers.choose import Chooser
from gfsim.solvers.spectral_radius import power_iteration

# Numbers above which no Hessian is kept, as of a thousand parameters: 8 MB each for it and its factor.
LARGEST_HELD = 1_000_000


def stiffness(flow: AbstractFlow, max_products: Int[Array, ""], motion: Motion, direction: Any) -> Any:
    """Largest decay rate −λ_min(J) of the linearised flow, ≥ 0, with the iterate and the products it took.

    Growth (an escape from a saddle) makes no explicit step unstable, so the spectral radius will not do. Where the mode
    of that radius decays, it is the rate; else the spectrum is shifted by it, which leaves the fastest decay as the
    dominant mode.
    """

    def product(v: Any) -> Any:
        return jax.jvp(lambda s: flow.vector_field(motion.clock, s), (motion.y.state,), (v,))[1]

    def shifted(v: Any) -> Any:
        return jax.tree.map(lambda image, x: image - radius * x, product(v), v)

    def beside_growth() -> Any:
        # Among many flat directions the norm hardly changes at first, which is no sign of convergence.
        spread, fastest, more = power_iteration(shifted, direction, max_products=max_products)
        return jnp.maximum(spread - radius, 0.0), fastest, more

    radius, v, count = power_iteration(product, direction, max_products=max_products, tolerance=0.02)
    pairs = zip(jax.tree.leaves(v), jax.tree.leaves(product(v)), strict=True)
    decays = sum(jnp.vdot(x, image) for x, image in pairs) <= -0.9 * radius
    rate, v, more = jax.lax.cond(decays, lambda: (radius, v, jnp.array(0)), beside_growth)
    return rate, v, count + 1 + more


def prepared(solver: dfx.AbstractSolver, flow: AbstractFlow, tolerance: Tolerance) -> dfx.AbstractSolver:
    """A user's solver as the loop needs it: RKC looks at the state alone, implicit ones get tolerances and structure."""
    if isinstance(solver, RKC):
        return dataclasses.replace(solver, stiff=integrate.flow_state)
    # Arrays, so that another tolerance compiles nothing new.
    rtol, atol = jax.device_put((on_host(tolerance.rtol), np.min(on_host(tolerance.atol))))
    if isinstance(solver, BDF):
        return dataclasses.replace(solver, stiff=integrate.flow_state, rtol=rtol, atol=atol, curvature=flow.curvature)
    if isinstance(solver, dfx.AbstractImplicitSolver):
        return eqx.tree_at(lambda s: s.root_finder, solver, dfx.VeryChord(rtol=rtol, atol=atol))
    return solver


def chooser(flow: AbstractFlow, theta0: Float[Array, "*members P"], tolerance: Tolerance) -> Chooser:
    """The chooser for a flow from `theta0`: with BDF where its Hessian is symmetric and small enough to be kept."""
    size = theta0.shape[-1]
    # In an ensemble every member would renew its Hessian whenever one of them has to.
    held = flow.symmetric and theta0.ndim == 1 and flow.curvature.numbers(size) <= LARGEST_HELD
    stabilised, implicit = prepared(RKC(), flow, tolerance), prepared(BDF(), flow, tolerance)
    assert isinstance(stabilised, RKC)
    assert isinstance(implicit, BDF)
    data = getattr(flow.problem.objective, "data", None)
    samples = 1 if data is None else data.n
    return Chooser(float(tolerance.rtol), stabilised, implicit if held else None, size, samples)
