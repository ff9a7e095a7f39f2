"""Runge–Kutta–Chebyshev of second order (RKC), a stabilised explicit solver for diffrax.

Symbols are those of Sommeijer, Shampine & Verwer, "RKC: an explicit solver for parabolic PDEs", J. Comput. Appl.
Math. 88 (1998) 315–326. An s-stage step is stable on −β(s) ≤ hλ ≤ 0 with β(s) ≈ 0.653 (s² − 1), so a step of size h
on a problem of spectral radius ρ costs about √(1.54 hρ) evaluations; no linear system is solved and memory is O(P).
"""

from collections.abc import Callable
from typing import Any, ClassVar

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from gfsim.norms import two_norm
from gfsim.solvers.base import AbstractFlowSolver
from gfsim.solvers.spectral_radius import generic_direction, power_iteration, unit

DAMPING = 2 / 13  # ε


def _chebyshev_arguments(s: Any) -> tuple[Any, Any]:
    """w0 = 1 + ε/s² and w1 = T'_s(w0)/T''_s(w0), from T_s(cosh x) = cosh(sx)."""
    s = jnp.asarray(s, float)
    excess = DAMPING / s**2
    # acosh(1 + excess) without the cancellation.
    x = jnp.log1p(excess + jnp.sqrt(excess * (excess + 2)))
    sinh, cosh = jnp.sinh(x), jnp.cosh(x)
    first = s * jnp.sinh(s * x) / sinh
    second = (s**2 * jnp.cosh(s * x) - first * cosh) / sinh**2
    return 1 + excess, first / second


def stability_interval(s: int | Int[Array, ""]) -> Float[Array, ""]:
    """β(s) = (w0 + 1)/w1: the s-stage step is stable for −β(s) ≤ hλ ≤ 0 (dimensionless, s ≥ 2)."""
    w0, w1 = _chebyshev_arguments(s)
    return (w0 + 1) / w1


def stages_for(interval: Float[Array, ""]) -> Int[Array, ""]:
    """The number of stages s = max(2, ⌈√(1 + 1.54 hρ)⌉) that covers hρ = `interval`."""
    return jnp.maximum(2, jnp.ceil(jnp.sqrt(1 + 1.54 * interval))).astype(int)


class RKCState(eqx.Module):
    """What RKC carries from step to step: F(y), the power iterate, its radius, and the work done so far."""

    slope: PyTree
    direction: PyTree
    radius: Float[Array, ""]
    gradients: Int[Array, ""]
    products: Int[Array, ""]


def _combine(*pairs: tuple[Any, PyTree]) -> PyTree:
    """Σ c_k y_k over pytrees, in the leaves' own precision."""

    def leaf(*leaves: Array) -> Array:
        return sum(jnp.asarray(c, x.dtype) * x for (c, _), x in zip(pairs, leaves, strict=True))  # type: ignore

    return jax.tree.map(leaf, *[y for _, y in pairs])


class RKC(AbstractFlowSolver):
    """Second-order Runge–Kutta–Chebyshev with automatic stage count.

    Solves y' = F(t, y) whose Jacobian has a spectrum near the negative real axis (gradient flows, parabolic
    equations). Y_0 = y, Y_1 = y + μ̃_1 hF_0,
    Y_j = (1 − μ_j − ν_j) y + μ_j Y_{j−1} + ν_j Y_{j−2} + μ̃_j hF_{j−1} + γ̃_j hF_0. The error estimate is
    0.8 (y_n − y_{n+1}) + 0.4 h (F_n + F_{n+1}) = O(h³); dense output is the cubic Hermite interpolant. The state is
    any pytree of floating-point arrays; `jit`, `vmap` and `diffrax.diffeqsolve` work as for diffrax's own solvers.

    **Arguments:**

    - `max_stages`: largest s. A longer step is refused by an infinite error estimate, before its stages are computed.
      Rounding errors grow like s²·2e-16, so s = 1000 keeps about nine digits.
    - `products`: Jacobian–vector products per step that keep the spectral radius up to date.
    - `safety`: factor on the measured radius, which power iteration approaches from below.
    - `stiff`: picks from the state the part whose Jacobian counts; quadratures carried along do not.

    Raises ValueError for `max_stages` < 2, `products` < 1 or `safety` < 1.

    Source: Sommeijer, Shampine & Verwer (1998), sections 2–3.
    """

    max_stages: int = 1000
    products: int = eqx.field(static=True, default=1)
    safety: float = 1.1
    stiff: Callable[[PyTree], PyTree] = eqx.field(static=True, default=lambda y: y)

    term_structure: ClassVar = dfx.ODETerm
    interpolation_cls: ClassVar[Callable[..., dfx.AbstractLocalInterpolation]] = (
        dfx.ThirdOrderHermitePolynomialInterpolation
    )

    def __check_init__(self):
        if not self.max_stages >= 2:
            raise ValueError(f"max_stages must be at least 2, was {self.max_stages}")
        if not self.products >= 1:
            raise ValueError(f"products must be at least 1, was {self.products}")
        if not self.safety >= 1:
            raise ValueError(f"safety must be at least 1, was {self.safety}")

    def order(self, terms: PyTree) -> int:
        return 2

    def error_order(self, terms: PyTree) -> int:
        return 3

    def func(self, terms, t0, y0, args) -> PyTree:
        return terms.vf(t0, y0, args)

    def init(self, terms, t0, t1, y0, args) -> RKCState:
        slope = terms.vf(t0, y0, args)
        # The flow's own direction finds the stiff modes that are excited; the random part finds the others.
        flow = self.stiff(slope)
        flow = unit(flow, two_norm(flow))
        direction = _combine((1.0, flow), (0.5, generic_direction(flow)))
        direction = unit(direction, two_norm(direction))
        radius, direction, count = power_iteration(
            self._product(terms, t0, y0, args), direction, max_products=30, tolerance=0.02
        )
        return RKCState(slope, direction, radius, jnp.array(1), count)

    def _product(self, terms, t, y, args) -> Callable[[PyTree], PyTree]:
        zero = jax.tree.map(jnp.zeros_like, y)

        def product(v: PyTree) -> PyTree:
            tangent = eqx.tree_at(self.stiff, zero, v)
            _, image = jax.jvp(lambda y: terms.vf(t, y, args), (y,), (tangent,))
            return self.stiff(image)

        return product

    def work(self, state: RKCState) -> tuple[Int[Array, ""], Int[Array, ""]]:
        return state.gradients, state.products

    def step_size(self, state: RKCState, proposed: Float[Array, ""]) -> Float[Array, ""]:
        radius = self.safety * state.radius
        longest = stability_interval(self.max_stages) / jnp.where(radius > 0, radius, 1.0)
        return jnp.where(radius > 0, jnp.minimum(proposed, longest), proposed)

    def after_rejection(self, before: RKCState, after: RKCState) -> RKCState:
        return eqx.tree_at(lambda s: s.slope, after, before.slope)

    def step(self, terms, t0, t1, y0, args, solver_state, made_jump):
        h = t1 - t0
        slope0 = jax.lax.cond(made_jump, lambda: terms.vf(t0, y0, args), lambda: solver_state.slope)
        radius, direction, spent = power_iteration(
            self._product(terms, t0, y0, args), solver_state.direction, max_products=self.products
        )
        wanted = stages_for(jnp.abs(h) * self.safety * radius)
        too_long = wanted > self.max_stages
        s = jnp.where(too_long, 2, wanted)

        y1 = stabilised_stages(lambda c, y: terms.vf(t0 + c * h, y, args), y0, slope0, h, s)
        slope1 = terms.vf(t1, y1, args)
        error = _combine((0.8, y0), (-0.8, y1), (0.4 * h, slope0), (0.4 * h, slope1))
        error = jax.tree.map(lambda e: jnp.where(too_long, jnp.inf, e), error)

        dense_info = {"y0": y0, "y1": y1, "k0": _combine((h, slope0)), "k1": _combine((h, slope1))}
        state = RKCState(
            slope1,
            direction,
            radius,
            solver_state.gradients + s + jnp.where(made_jump, 1, 0),
            solver_state.products + spent,
        )
        return y1, error, dense_info, state, dfx.RESULTS.successful


def stabilised_stages(
    field: Callable[[Any, PyTree], PyTree], y: PyTree, slope: PyTree, h: Any, s: Int[Array, ""]
) -> PyTree:
    """Y_s by the three-term recurrence; `field(c, Y)` evaluates F at the stage's time t + c h."""
    w0, w1 = _chebyshev_arguments(s)
    b2 = 4.0 / (4 * w0) ** 2
    first = b2 * w1

    def stage(_: Any, carry: Any) -> Any:
        (older, newer), (before, last) = carry
        (c0, b0, T0, dT0, ddT0), (c1, b1, T1, dT1, ddT1) = before, last
        T = 2 * w0 * T1 - T0
        dT = 2 * T1 + 2 * w0 * dT1 - dT0
        ddT = 4 * dT1 + 2 * w0 * ddT1 - ddT0
        b = ddT / dT**2
        mu, nu = 2 * b * w0 / b1, -b / b0
        mu_t = 2 * b * w1 / b1
        gamma_t = -(1 - b1 * T1) * mu_t
        image = field(c1, newer)
        new = _combine((1 - mu - nu, y), (mu, newer), (nu, older), (mu_t * h, image), (gamma_t * h, slope))
        c = mu * c1 + nu * c0 + mu_t + gamma_t
        return (newer, new), (last, jnp.stack([c, b, T, dT, ddT]))

    # c_j, b_j and T_j, T'_j, T''_j at w0 for j = 0 and 1, where b_0 = b_1 = b_2. One array for each j: in a small
    # network's loop every array carried is as dear as a layer.
    one, zero = jnp.ones_like(w0), jnp.zeros_like(w0)
    numbers = jnp.stack([zero, b2, one, zero, zero]), jnp.stack([first, b2, w0, one, zero])
    start = (y, _combine((1.0, y), (first * h, slope))), numbers
    carry = jax.lax.fori_loop(2, s + 1, stage, start)
    return carry[0][1]
