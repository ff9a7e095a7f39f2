"""Zeros, to rounding: of a function of one variable, and of a vector field."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import optimistix as optx
from jaxtyping import Float

from gfsim.types import Array, Scalar


def zero_between(function: Callable[[float], float], low: float, high: float) -> float:
    """Where `function` vanishes between two points of different sign, by Brent's method."""
    from scipy.optimize import brentq  # heavy

    root: float = brentq(function, low, high, xtol=1e-17, rtol=np.float64(1e-15))  # pyright: ignore[reportAssignmentType]
    return root


def zero_near(
    field: Callable[[Array], Array], start: Float[Array, "m"], newton_steps: int = 10
) -> tuple[Float[Array, "m"], Scalar]:
    """The zero of a field R^m → R^m next to a start, isolated or not, and the norm of the field there.

    Levenberg and Marquardt's method, and then Newton steps of least norm, which halve the distance to a double zero
    and need more of them there. Where there is no zero nearby, the norm says so.
    """

    def value(u: Array, _: None) -> Array:
        return field(u)

    marquardt = optx.LevenbergMarquardt(rtol=1e-13, atol=1e-15)
    near = optx.least_squares(value, marquardt, start, max_steps=200, throw=False).value
    # Least-norm steps, because on a branch of zeros the Jacobian is singular along the branch.
    newton = optx.Newton(rtol=1e-15, atol=1e-15, linear_solver=lx.SVD(rcond=1e-13))
    end = optx.root_find(value, newton, near, max_steps=newton_steps, throw=False).value
    candidates = jnp.stack([start, near, end])
    sizes = jax.vmap(lambda u: jnp.linalg.norm(field(u)))(candidates)
    best = jnp.argmin(jnp.where(jnp.isfinite(sizes), sizes, jnp.inf))
    return candidates[best], sizes[best]
