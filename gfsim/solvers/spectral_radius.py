"""Spectral radius of a linear map by warm-started power iteration on its products.

For gradient flow the map is v ↦ −H(θ)v, one Hessian–vector product. Its norm ‖Hv‖ over unit vectors never exceeds
the spectral radius and, H being symmetric, never decreases from one iterate to the next.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from gfsim.norms import two_norm


def unit(v: PyTree, norm: Float[Array, ""]) -> PyTree:
    """v/norm, and zero where the norm is zero."""
    inverse = jnp.where(norm > 0, 1 / jnp.where(norm > 0, norm, 1.0), 0.0)
    return jax.tree.map(lambda x: inverse.astype(x.dtype) * x, v)


def generic_direction(like: PyTree) -> PyTree:
    """A fixed unit vector with the structure of `like` that is aligned with nothing: a quadratic Weyl sequence.

    A random-number generator would do as well, but costs more to compile than the rest of the solver.
    """

    def leaf(x: Array) -> Array:
        i = jnp.arange(1, x.size + 1, dtype=x.dtype).reshape(x.shape)
        return (i * i * 2**0.5 + i * 3**0.5) % 1.0 - 0.5

    v = jax.tree.map(leaf, like)
    return unit(v, two_norm(v))


def power_iteration(
    product: Callable[[PyTree], PyTree],
    start: PyTree,
    *,
    max_products: int | Int[Array, ""],
    tolerance: float = 0.0,
) -> tuple[Float[Array, ""], PyTree, Int[Array, ""]]:
    """Largest ‖Jv‖ met along v ← Jv/‖Jv‖ from the unit vector `start`.

    Stops after `max_products` products, or once ‖Jv‖ changes by less than `tolerance` relative. Returns that norm (a
    lower bound of the spectral radius of a symmetric J), the last unit vector and the number of products spent.
    """

    def unfinished(carry: Any) -> Any:
        _, _, change, count = carry
        return (count < max_products) & (change > tolerance)

    def iterate(carry: Any) -> Any:
        v, radius, _, count = carry
        image = product(v)
        norm = two_norm(image)
        larger = jnp.maximum(radius, norm)
        change = jnp.abs(norm - radius) / jnp.where(larger > 0, larger, 1.0)
        # Jv = 0 or an overflow says nothing about other directions: keep v.
        usable = (norm > 0) & jnp.isfinite(norm)
        v = jax.tree.map(lambda new, old: jnp.where(usable, new, old), unit(image, norm), v)
        return v, larger, change, count + 1

    zero = jnp.zeros_like(two_norm(start))
    v, radius, _, count = jax.lax.while_loop(unfinished, iterate, (start, zero, zero + jnp.inf, jnp.array(0)))
    return radius, v, count
