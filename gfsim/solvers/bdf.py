"""Backward differentiation of variable order with a symmetric Jacobian that is kept across steps.

The formulas are the numerical differentiation formulas (NDF) of Shampine & Reichelt, "The MATLAB ODE suite", SIAM J.
Sci. Comput. 18 (1997) 1–22, section 2, in backward differences; symbols are theirs. A step costs two or three
evaluations and as many solves; the Jacobian and its factor are renewed only when needed.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int, PyTree

from gfsim.norms import two_norm
from gfsim.solvers.base import AbstractFlowSolver
from gfsim.solvers.curvature import AbstractCurvature, DenseCurvature
from gfsim.solvers.loops import once

_HIGHEST = 5
_KAPPA = np.array([0.0, -0.1850, -1 / 9, -0.0823, -0.0415, 0.0, 0.0])
_GAMMA = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, _HIGHEST + 2))])
_ALPHA = (1 - _KAPPA) * _GAMMA
# The local error of order k is this times d = ∇^{k+1} y.
_ERROR = _KAPPA * _GAMMA + 1 / np.arange(1, _HIGHEST + 3)
_ROWS = _HIGHEST + 3
_ITERATIONS = 6
# Newton's method stops at this share of the step's tolerance; a larger rest spoils the differences that predict.
_SHARE = 0.003
_SAFETY = 0.9
# A step grows only when it can by this much: every change costs a factorisation.
_WORTHWHILE = 1.2
# Where Newton's method once failed, steps come back to that size by this factor at a time: in a curved valley its
# region of convergence, not the error, limits them.
_RETURN = 1.5


class BDFState(eqx.Module):
    """What BDF carries from step to step.

    `differences` holds ∇^j y in its leading axis, j = 0 … 7, for steps of size `h`; `equal` counts the steps taken
    with this h and order. `factor` is what solves with I + c K for the kept K = `curvature` = −J, and `rate` the
    contraction of Newton's method with it, which is trusted up to steps of size `ceiling`. The step to try next is
    `wish`, and `retry` if this one was rejected.
    """

    differences: PyTree
    h: Float[Array, ""]
    order: Int[Array, ""]
    equal: Int[Array, ""]
    curvature: PyTree
    factor: PyTree
    c: Float[Array, ""]
    rate: Float[Array, ""]
    ceiling: Float[Array, ""]
    wish: Float[Array, ""]
    retry: Float[Array, ""]
    gradients: Int[Array, ""]
    products: Int[Array, ""]


class BackwardDifferences(dfx.AbstractLocalInterpolation):
    """The polynomial of degree `order` through the last points: Σ_j ∇^j y_{n+1} Π_{m<j} (x + m)/(m + 1)."""

    t0: Any
    t1: Any
    differences: PyTree
    order: Int[Array, ""]

    def evaluate(self, t0, t1=None, left: bool = True) -> PyTree:
        if t1 is not None:
            return jax.tree.map(jnp.subtract, self.evaluate(t1), self.evaluate(t0))
        x = (t0 - self.t1) / (self.t1 - self.t0)
        m = jnp.arange(_ROWS - 1.0)
        weights = jnp.concatenate([jnp.ones(1), jnp.cumprod((x + m) / (m + 1))])
        return _weighted(jnp.where(jnp.arange(_ROWS) <= self.order, weights, 0.0), self.differences)


class BDF(AbstractFlowSolver):
    """NDF of orders 1 to 5 for y' = F(t, y) with a symmetric Jacobian J, such as a gradient flow's −H.

    A step of size h and order k solves (1 − κ)γ_k (y − y_pred) + Σ_{j≤k} γ_j ∇^j y = h F(t + h, y) by simplified
    Newton iterations. It chooses order and step size itself; inside `gfsim.simulate` the error test is the loop's.
    For few parameters and long times: a dense J takes P² memory and P Jacobian–vector products, its factor P³/3
    operations. `gfsim.simulate` puts in its place what the structure of the network allows.

    **Arguments:**

    - `rtol`, `atol`: the tolerance of a step in the norm ‖e‖₂/(atol + rtol·‖y‖₂).
    - `stiff`: picks from the state the part whose Jacobian counts; quadratures carried along must not feed back.
    - `curvature`: how −J of that part is found and solved with.

    Raises ValueError for a negative tolerance, and where both are zero.
    """

    rtol: float | Array | np.ndarray = 1e-6
    atol: float | Array | np.ndarray = 1e-9
    stiff: Callable[[PyTree], PyTree] = eqx.field(static=True, default=lambda y: y)
    curvature: AbstractCurvature = DenseCurvature()

    term_structure: ClassVar = dfx.ODETerm
    interpolation_cls: ClassVar[Callable[..., dfx.AbstractLocalInterpolation]] = BackwardDifferences

    def __check_init__(self):
        for name in ("rtol", "atol"):
            if not np.all(np.asarray(getattr(self, name)) >= 0):
                raise ValueError(f"{name} must not be negative, was {getattr(self, name)}")
        if np.all(np.asarray(self.rtol) == 0) and np.all(np.asarray(self.atol) == 0):
            raise ValueError("rtol or atol must be positive, both were 0")

    def order(self, terms: PyTree) -> int:
        return 1

    def error_order(self, terms: PyTree) -> int:
        # The lowest that occurs; the step to take is the solver's own choice.
        return 2

    def func(self, terms, t0, y0, args) -> PyTree:
        return terms.vf(t0, y0, args)

    def init(self, terms, t0, t1, y0, args) -> BDFState:
        h = jnp.asarray(t1 - t0)
        slope = terms.vf(t0, y0, args)
        size = sum(leaf.size for leaf in jax.tree.leaves(self.stiff(y0)))
        differences = jax.tree.map(
            lambda y, f: jnp.zeros((_ROWS, *y.shape), y.dtype).at[0].set(y).at[1].set(h * f), y0, slope
        )
        zero = jnp.zeros_like(h)
        curvature = self._curvature(terms, t0, y0, args)
        factor = jax.eval_shape(self.curvature.factor, curvature, zero)
        return BDFState(
            differences,
            h,
            order=jnp.array(1),
            equal=jnp.array(0),
            curvature=curvature,
            factor=jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), factor),
            c=zero,
            rate=zero + 1.0,
            ceiling=zero + jnp.inf,
            wish=h,
            retry=h,
            gradients=jnp.array(1),
            products=jnp.array(self.curvature.products(size)),
        )

    def work(self, state: BDFState) -> tuple[Int[Array, ""], Int[Array, ""]]:
        return state.gradients, state.products

    def step_size(self, state: BDFState, proposed: Float[Array, ""]) -> Float[Array, ""]:
        return state.wish

    def after_rejection(self, before: BDFState, after: BDFState) -> BDFState:
        kept = lambda s: (s.differences, s.h, s.order, s.equal, s.wish)  # noqa: E731
        return eqx.tree_at(kept, after, (*kept(before)[:-1], after.retry))

    def step(self, terms, t0, t1, y0, args, solver_state, made_jump):
        s, h = solver_state, jnp.asarray(t1 - t0)
        scale = self.atol + self.rtol * two_norm(self.stiff(y0))
        size = sum(leaf.size for leaf in jax.tree.leaves(self.stiff(y0)))
        k = s.order

        def table(values: np.ndarray) -> Array:
            return jnp.asarray(values)[k]

        # A step that the loop changed, by a rounding or towards the end, is as good as a chosen one.
        differences = jax.lax.cond(
            h == s.h, lambda d: d, lambda d: _weighted_rows(_rescaling(k, h / s.h), d), s.differences
        )
        kept_rows = jnp.arange(_ROWS) <= k
        predicted = _weighted(kept_rows.astype(float), differences)
        psi = _weighted(jnp.where(kept_rows, jnp.asarray(np.append(_GAMMA, 0.0)), 0.0) / table(_ALPHA), differences)
        c = h / table(_ALPHA)

        def attempt(carry: Any) -> Any:
            _, curvature, factor, at, rate, tries, gradients, products = carry
            # The second attempt is made with the Jacobian of the point that the iteration starts from: the last one may
            # lie outside its region of convergence, and that of a longer step outside the domain.
            renew = tries == 1
            curvature = once(renew, lambda _: self._curvature(terms, t1, predicted, args), curvature)
            changed = renew | (jnp.abs(c - at) > 1e-10 * c)
            factor = once(changed, lambda _: self.curvature.factor(curvature, c), factor)
            rate = jnp.where(changed, 1.0, rate)
            found, contraction, count = self._newton(terms, t1, args, predicted, psi, c, factor, rate, scale)
            products = products + jnp.where(renew, self.curvature.products(size), 0)
            return found, curvature, factor, c, contraction, tries + 1, gradients + count, products

        def unfinished(carry: Any) -> Any:
            _, _, _, _, rate, tries, _, _ = carry
            return (tries == 0) | ((tries == 1) & ~jnp.isfinite(rate))

        zero = jax.tree.map(jnp.zeros_like, y0)
        start = (zero, s.curvature, s.factor, s.c, s.rate, jnp.array(0), s.gradients, s.products)
        d, curvature, factor, at, rate, _, gradients, products = jax.lax.while_loop(unfinished, attempt, start)
        failed = ~jnp.isfinite(rate)
        d = jax.tree.map(lambda x: jnp.where(failed, 0.0, x), d)
        y1 = jax.tree.map(jnp.add, predicted, d)
        # Half the step cures most failures of Newton's method: an error of this size asks for it.
        error = jax.tree.map(lambda x: table(_ERROR) * x, d)
        error = jax.tree.map(lambda e: jnp.where(failed, jnp.inf, e), error)
        ratio = jnp.where(failed, jnp.inf, two_norm(self.stiff(error)) / scale)

        updated = _advanced(differences, d, k)
        ceiling = jnp.where(failed, 0.5 * h, jnp.maximum(s.ceiling, h))
        order, growth, equal = self._next(updated, k, s.equal + 1, h == s.h, ratio, scale, _RETURN * ceiling / h)
        retry = jnp.where(failed, 0.5, jnp.clip(_SAFETY * ratio ** (-1 / (k + 1).astype(float)), 0.2, 0.7))
        state = BDFState(
            updated,
            h,
            order,
            equal,
            curvature,
            factor,
            at,
            jnp.where(failed, 1.0, rate),
            jnp.where(growth > 1, _RETURN * ceiling, ceiling),
            h * growth,
            h * retry,
            gradients,
            products,
        )
        return y1, error, {"differences": updated, "order": k}, state, dfx.RESULTS.successful

    def _newton(self, terms, t1, args, predicted, psi, c, factor, rate, scale) -> tuple[PyTree, Array, Array]:
        """d with c F(y_pred + d) = ψ + d, its contraction rate (∞ where it fails), and the evaluations."""

        def iterate(carry: Any) -> Any:
            d, last, rate, _, count = carry
            image = terms.vf(t1, jax.tree.map(jnp.add, predicted, d), args)
            residual = jax.tree.map(lambda f, p, d: c * f - p - d, image, psi, d)
            flat, unravel = ravel_pytree(self.stiff(residual))
            change = eqx.tree_at(self.stiff, residual, unravel(self.curvature.solve(factor, flat)))
            norm = two_norm(self.stiff(change))
            # An accidental zero of one step is no promise for the next.
            rate = jnp.where(count > 0, jnp.maximum(norm / last, 0.01), rate)
            done = (norm == 0) | (rate < 1) & (rate / (1 - rate) * norm <= _SHARE * scale)
            lost = ~jnp.isfinite(norm) | ((count > 0) & (rate >= 1)) | (count == _ITERATIONS - 1)
            verdict = jnp.where(done, 1, jnp.where(lost, -1, 0))
            return jax.tree.map(jnp.add, d, change), norm, rate, verdict, count + 1

        start = (jax.tree.map(jnp.zeros_like, predicted), jnp.inf, rate, jnp.array(0), jnp.array(0))
        d, _, rate, verdict, count = jax.lax.while_loop(lambda carry: carry[3] == 0, iterate, start)
        return d, jnp.where(verdict > 0, rate, jnp.inf), count

    def _next(self, differences, k, equal, same, ratio, scale, room) -> tuple[Array, Array, Array]:
        """Order of the next step, its size as a multiple of this one, at most `room`, and the count of equal steps.

        Only after k + 1 equal steps are the differences clean enough to judge other orders by.
        """
        equal = jnp.where(same, equal, 1)
        norms = jax.tree.map(lambda x: jnp.sum(x.reshape(_ROWS, -1) ** 2, axis=1), self.stiff(differences))
        norms = jnp.sqrt(sum(jax.tree.leaves(norms))) / scale
        orders = k + jnp.arange(-1, 2)
        allowed = (orders >= 1) & (orders <= _HIGHEST)
        sizes = jnp.asarray(_ERROR)[orders] * norms[orders + 1]
        sizes = sizes.at[1].set(ratio)
        factors = jnp.where(allowed, jnp.maximum(sizes, 1e-10) ** (-1 / (orders + 1).astype(float)), 0.0)
        best = jnp.argmax(factors)
        factor = jnp.minimum(jnp.minimum(10.0, room), _SAFETY * factors[best])
        change = (equal > k) & (factor >= _WORTHWHILE)
        return jnp.where(change, orders[best], k), jnp.where(change, factor, 1.0), jnp.where(change, 0, equal)

    def _curvature(self, terms, t, y, args) -> PyTree:
        """−J of the stiff part."""
        flat, unravel = ravel_pytree(self.stiff(y))

        def field(x: Array) -> Array:
            return ravel_pytree(self.stiff(terms.vf(t, eqx.tree_at(self.stiff, y, unravel(x)), args)))[0]

        return self.curvature.at(field, flat)


def _weighted(weights: Float[Array, "rows"], differences: PyTree) -> PyTree:
    """Σ_j w_j D_j over the leading axis."""
    return jax.tree.map(lambda d: jnp.tensordot(weights, d, axes=1), differences)


def _weighted_rows(matrix: Float[Array, "rows rows"], differences: PyTree) -> PyTree:
    return jax.tree.map(lambda d: jnp.tensordot(matrix, d, axes=1), differences)


def _rescaling(k: Int[Array, ""], factor: Float[Array, ""]) -> Float[Array, "rows rows"]:
    """The matrix that takes ∇^j y, j ≤ k, for steps of size h to those for steps of size factor·h [ibid., eq. 2.7]."""
    i = jnp.arange(float(_ROWS))[:, None]
    j = jnp.arange(float(_ROWS))[None, :]

    def r(factor: Any) -> Array:
        ratio = jnp.where(i == 0, 1.0, (i - 1 - factor * j) / jnp.maximum(i, 1.0))
        return jnp.cumprod(ratio, axis=0)

    inside = (i <= k.astype(float)) & (j <= k.astype(float))
    matrix = jnp.where(inside, r(factor), 0.0) @ jnp.where(inside, r(1.0), 0.0)
    # Rows beyond the order are of use only to steps that keep h.
    return matrix.T + jnp.where(inside, 0.0, jnp.eye(_ROWS))


def _advanced(differences: PyTree, d: PyTree, k: Int[Array, ""]) -> PyTree:
    """Backward differences at the new point: ∇^{k+1} y = d, and each lower one by adding the one above."""
    rows = jnp.arange(_ROWS)

    def leaf(old: Array, d: Array) -> Array:
        shape = (_ROWS,) + (1,) * d.ndim
        top = d - jnp.take(old, k + 1, axis=0)
        old = jnp.where((rows <= k).reshape(shape), old, 0.0)
        # ∇^i y_{n+1} = Σ_{j≥i} (∇^j y_n, j ≤ k) + d for i ≤ k + 1.
        summed = jnp.cumsum(old[::-1], axis=0)[::-1] + d[None]
        new = jnp.where((rows <= k + 1).reshape(shape), summed, 0.0)
        return jnp.where((rows == k + 2).reshape(shape), top[None], new)

    return jax.tree.map(leaf, differences, d)
