"""Explicit Runge–Kutta methods of diffrax, in a leaner step that tells what it felt of the spectrum."""

import functools
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from gfsim.norms import two_norm
from gfsim.solvers.base import AbstractFlowSolver, FineRows
from gfsim.solvers.dense import NODES, Quintic
from gfsim.solvers.tableau import coefficients, evaluations_per_step, last_stages, real_stability_limit, tableau

# Numbers in a step's velocities up to which XLA sums them faster by itself than as a product with a matrix, and up to
# which the stages, if they are few, are written out: a compiled loop is slower there. It is sooner compiled, and spares
# the copies that XLA would make of a large state's velocities.
SMALL, FEW_STAGES = 2**12, 7
# Numbers in a state up to which rows are kept from a quintic, for which a step holds seven to nine vectors more.
FINE = 2**14


class ExplicitState(NamedTuple):
    """Velocity at the current state; the largest h|λ| felt lately; evaluations of the field so far."""

    slope: PyTree
    stretch: Float[Array, ""]
    gradients: Int[Array, ""]


class Explicit(AbstractFlowSolver):
    """The explicit Runge–Kutta method of a diffrax solver.

    g_i = y + h Σ_j a_ij k_j, k_i = F(g_i), y₁ = y + h Σ_i b_i k_i with the error h Σ_i (b_i − b̂_i) k_i: diffrax's own
    arithmetic and dense output in two thirds of the operations a stage, which in a small network's flow cost as much as
    the gradient. Every method carries the velocity at y₁ to its next step: a first-same-as-last one has it from its
    last stage, another evaluates it, and saves its first stage by it.

    The last two stages are both at the step's end: h(F(g_s) − F(g_{s−1})) = hJ(g_s − g_{s−1}), where rounding and error
    have put the stiffest modes [Hairer & Wanner, IV.2]. At its stability limit a method feels these; the ratio of the
    two norms, `stretch`, may be less than there is.

    Dense output of a first-same-as-last pair of order five is of order four: it errs as h⁵ where steps err as h⁶. Rows
    are kept from a quintic, whose two inner slopes are those of the quartic, where the state is not large.

    **Arguments:**

    - `method`: a diffrax solver with a tableau.
    - `stiff`: picks from the state the part whose Jacobian counts; quadratures carried along do not.
    """

    method: dfx.AbstractERK
    stiff: Callable[[PyTree], PyTree] = eqx.field(static=True, default=lambda y: y)

    @property
    def term_structure(self):  # pyright: ignore
        return self.method.term_structure

    @property
    def interpolation_cls(self):  # pyright: ignore
        return self.method.interpolation_cls

    def fine_rows(self, size: int) -> FineRows | None:
        # Such a pair's own dense output is of order four.
        lags = self.method.order(None) == 5 and tableau(type(self.method)).fsal
        return FineRows(Quintic, self._slopes, len(NODES)) if lags and size <= FINE else None

    def _slopes(self, terms, t0, t1, dense_info):
        h, path = t1 - t0, self.method.interpolation_cls(t0=t0, t1=t1, **dense_info)
        inner = [terms.vf(t0 + c * h, path.evaluate(t0 + c * h), None) for c in NODES]
        y0, y1, k = (dense_info[name] for name in ("y0", "y1", "k"))
        rows = lambda y0, y1, k, *slopes: jnp.stack([k[0], *(h * f for f in slopes), k[-1], y1 - y0])  # noqa: E731
        return {"y0": y0, "y1": y1, "k": jax.tree.map(rows, y0, y1, k, *inner)}

    @property
    def stability_limit(self) -> float:
        """The largest −hλ ≥ 0 at which a step is stable."""
        return real_stability_limit(type(self.method))

    def order(self, terms: PyTree) -> int | None:
        return self.method.order(terms)

    def error_order(self, terms: PyTree) -> Any:
        return self.method.error_order(terms)

    def func(self, terms, t0, y0, args) -> PyTree:
        return terms.vf(t0, y0, args)

    def init(self, terms, t0, t1, y0, args) -> ExplicitState:
        return ExplicitState(terms.vf(t0, y0, args), jnp.zeros(()), jnp.array(1))

    def work(self, state: ExplicitState) -> tuple[Int[Array, ""], Int[Array, ""]]:
        return state.gradients, jnp.zeros_like(state.gradients)

    def step_size(self, state: ExplicitState, proposed: Float[Array, ""]) -> Float[Array, ""]:
        return proposed

    def after_rejection(self, before: ExplicitState, after: ExplicitState) -> ExplicitState:
        return before._replace(gradients=after.gradients)

    def step(self, terms, t0, t1, y0, args, solver_state, made_jump):
        kind = type(self.method)
        method, a, h = tableau(kind), coefficients(kind), t1 - t0
        slope = solver_state.slope if made_jump is False else terms.vf(t0, y0, args)
        rest = method.num_stages - 1
        k = jax.tree.map(lambda f: jnp.pad(h * f[None], [(0, rest)] + [(0, 0)] * f.ndim), slope)

        def stage(k: PyTree, which: Any) -> Any:
            i, row, c = which
            image = terms.vf(t0 + c * h, jax.tree.map(lambda y, k: y + _stage_sum(row, k), y0, k), args)
            # A scatter would look at every index for being out of bounds.
            put = lambda k, f: jax.lax.dynamic_update_index_in_dim(k, h * f, i, 0)  # noqa: E731
            return jax.tree.map(put, k, image), None

        stages = np.arange(1, rest + 1), a[1:], method.c
        if method.num_stages <= FEW_STAGES and all(x.size <= SMALL for x in jax.tree.leaves(k)):
            for which in zip(*stages, strict=True):
                k, _ = stage(k, which)
        else:
            k, _ = jax.lax.scan(stage, k, tuple(map(jnp.asarray, stages)))
        y1 = jax.tree.map(lambda y, k: y + combined(method.b_sol, k), y0, k)
        error = jax.tree.map(lambda k: combined(method.b_error, k), k)
        if method.fsal:
            # A step below the clock's resolution is zero, and its end the start.
            last = jax.tree.map(lambda k, f: jnp.where(h == 0, f, k[-1] / h), k, slope)
        else:
            last = terms.vf(t1, y1, args)
        state = ExplicitState(
            last,
            jnp.maximum(0.5 * solver_state.stretch, self._stretch(k)),
            solver_state.gradients + evaluations_per_step(kind) + (0 if made_jump is False else 1),
        )
        return y1, error, {"y0": y0, "y1": y1, "k": k}, state, dfx.RESULTS.successful

    def _stretch(self, k: PyTree) -> Float[Array, ""]:
        size = lambda row: two_norm(jax.tree.map(lambda k: combined(row, k), self.stiff(k)))  # noqa: E731
        arguments, images = map(size, last_stages(type(self.method)))
        return jnp.where(arguments > 0, images / jnp.where(arguments > 0, arguments, 1.0), 0.0)


def combined(weights: Float[np.ndarray, " stages"], k: Float[Array, "stages ..."]) -> Float[Array, "..."]:
    """Σ_i w_i k_i, in one elementwise operation."""
    terms = [w * k[i] for i, w in enumerate(weights.tolist()) if w != 0]
    return functools.reduce(operator.add, terms)


def _stage_sum(weights: Float[Array | np.ndarray, " stages"], k: Float[Array, "stages ..."]) -> Float[Array, "..."]:
    """Σ_i w_i k_i, in a compiled loop with weights that are not known when it is compiled."""
    if isinstance(weights, np.ndarray):
        return combined(weights, k)
    if k.size > SMALL:
        return jnp.tensordot(weights, k, axes=1)
    return jnp.sum(weights.reshape(-1, *(1 for _ in k.shape[1:])) * k, axis=0)
