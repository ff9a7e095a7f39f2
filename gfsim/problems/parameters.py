"""A pytree seen as a flat vector θ, in a form that compiled code can compare.

`jax.flatten_util.ravel_pytree` returns a closure, which differs from instance to instance and would recompile
every function that takes it. Here the tree keeps place holders instead: a `Slot` has the shape of the array
that belongs there, is no array itself, and equals every other slot of that shape.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeGuard

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import PyTree

from gfsim.placement import is_spread
from gfsim.types import Array, Theta

# An Equinox filter: a function of a leaf, or booleans in the structure of the tree.
Trainable = PyTree[bool] | Callable[[object], bool]


@dataclass(frozen=True)
class Slot:
    """The place of the next ∏shape entries of θ, in row-major order."""

    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """∏shape."""
        return math.prod(self.shape)


def is_float(leaf: object) -> bool:
    """Whether a leaf is a real floating-point number or array."""
    return isinstance(leaf, float) or (_is_array(leaf) and jnp.issubdtype(leaf.dtype, jnp.floating))


def flatten(name: str, tree: PyTree, trainable: Trainable) -> tuple[Theta, PyTree]:
    """θ ∈ R^P and the template, with slots in the place of the leaves that `trainable` selects.

    All floating-point arrays become float64, those that stay in the template as well. `name` is what the
    messages call the tree.

    Raises TypeError if a selected leaf is not real floating-point, ValueError if nothing is selected, if a selected
    leaf on the host is not finite, or if `trainable` does not fit the tree.
    """
    try:
        selected, rest = eqx.partition(tree, trainable)
    except ValueError as error:
        raise ValueError(
            f"trainable must be a function of a leaf, or booleans shaped like the {name}, was {trainable!r}"
        ) from error
    leaves, structure = jax.tree_util.tree_flatten_with_path(selected)
    for path, leaf in leaves:
        if not is_float(leaf):
            was = leaf.dtype if _is_array(leaf) else repr(leaf)
            where = name + jax.tree_util.keystr(path)
            raise TypeError(f"{where}: a parameter must be a real floating-point array, was {was}")
    # Joined on the host where they can be: every operation outside a compiled function is compiled for its shape.
    away = any(isinstance(leaf, Tracer) or is_spread(leaf) for _, leaf in leaves)
    xp = jnp if away else np
    pieces = [xp.ravel(xp.asarray(leaf, float)) for _, leaf in leaves]
    if sum(piece.size for piece in pieces) == 0:
        raise ValueError(f"{name} must have at least one floating-point parameter to train, had none")
    if xp is np and not all(np.all(np.isfinite(piece)) for piece in pieces):
        raise ValueError(f"{name} must have finite parameters, held NaN or infinity")
    slots = [Slot(jnp.shape(leaf)) for _, leaf in leaves]
    rest = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64) if _is_frozen(leaf) else leaf, rest)
    return jnp.asarray(xp.concatenate(pieces)), eqx.combine(jax.tree.unflatten(structure, slots), rest)


def fill(template: PyTree, theta: Theta) -> PyTree:
    """The tree with θ in its slots."""
    leaves, structure = jax.tree.flatten(template)
    # One split, because its transpose is one concatenation; slices would add up as many vectors of length P.
    pieces = iter(jax.lax.split(theta, [leaf.size for leaf in leaves if isinstance(leaf, Slot)]))
    return jax.tree.unflatten(
        structure, [next(pieces).reshape(leaf.shape) if isinstance(leaf, Slot) else leaf for leaf in leaves]
    )


def has_frozen(template: PyTree) -> bool:
    """Whether floating-point arrays stay in the template."""
    return any(_is_frozen(leaf) for leaf in jax.tree.leaves(template))


def _is_array(leaf: object) -> TypeGuard[Array | np.ndarray | np.generic]:
    return isinstance(leaf, Array | np.ndarray | np.generic)


def _is_frozen(leaf: object) -> bool:
    return _is_array(leaf) and is_float(leaf)
