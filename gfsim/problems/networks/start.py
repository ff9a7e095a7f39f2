"""Random starts."""

import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Float

from gfsim.types import Array, Key

# Entries that every smaller layer draws. The first n of a longer draw are the draw of n, and one program serves all
# shapes: compiling one for each would take longer than many a flow.
_DRAWN = 4096


def gaussian_layers(key: Key, shapes: Sequence[tuple[int, ...]], fans: Sequence[int]) -> list[Array]:
    """For each shape an array of independent N(0, 1/fan), each from a key of its own."""
    keys, draws = _draws(key, len(shapes))
    if not isinstance(draws, Tracer):
        draws = np.asarray(draws)
    layers = []
    for l, (shape, fan) in enumerate(zip(shapes, fans, strict=True)):
        size = math.prod(shape)
        drawn = draws[l, :size] if size <= _DRAWN else jax.random.normal(keys[l], (size,))
        layers.append(jnp.asarray(drawn.reshape(shape) / math.sqrt(fan)))
    return layers


@functools.partial(jax.jit, static_argnums=1)
def _draws(key: Key, count: int) -> tuple[Array, Float[Array, "count drawn"]]:
    keys = jax.random.split(key, count)
    return keys, jax.vmap(lambda k: jax.random.normal(k, (_DRAWN,)))(keys)
