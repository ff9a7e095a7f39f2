"""Control flow of compiled code."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, PyTree


def once(wanted: Bool[Array, ""], change: Callable[[PyTree], PyTree], tree: PyTree) -> PyTree:
    """change(tree) where wanted, else `tree`: a loop of one pass or none leaves in place what `cond` copies."""
    carry = jax.lax.while_loop(lambda c: c[0], lambda c: (jnp.zeros_like(c[0]), change(c[1])), (wanted, tree))
    return carry[1]
