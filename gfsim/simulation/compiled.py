"""Compiled functions whose call costs little beside a short flow."""

import functools
import itertools
import weakref
from collections.abc import Callable, Iterable
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import PyTree


class _Static:
    """Everything in a pytree but its arrays. Equal ones are one object: comparing them costs nothing."""

    def __init__(self, structure: Any, leaves: tuple[Any, ...]):
        self._structure, self._leaves = structure, leaves
        self.count = sum(leaf is _ARRAY for leaf in leaves)

    def whole(self, arrays: Iterable[Any]) -> PyTree:
        """The pytree with these arrays."""
        rest = iter(arrays)
        leaves = [next(rest) if leaf is _ARRAY else leaf for leaf in self._leaves]
        return jax.tree.unflatten(self._structure, leaves)


class _Statics:
    """Those of several pytrees."""

    def __init__(self, parts: tuple[_Static, ...]):
        self._parts = parts

    def whole(self, arrays: Iterable[Any]) -> tuple[PyTree, ...]:
        """The pytrees with these arrays, one after the other."""
        rest = iter(arrays)
        return tuple(part.whole(itertools.islice(rest, part.count)) for part in self._parts)


_ARRAY = object()
# As many as JAX remembers of a function's compilations.
_static = functools.lru_cache(maxsize=4096)(_Static)
_statics = functools.lru_cache(maxsize=4096)(_Statics)
# What is known of a module while it lives, by its identity: to take one apart costs as much as a call.
_known: dict[int, tuple[tuple[Any, ...], _Static]] = {}
_NOTHING = (), _static(jax.tree.structure(()), ())


def _taken_apart(part: PyTree) -> tuple[tuple[Any, ...], _Static]:
    """The arrays of a pytree, and the rest."""
    if isinstance(part, tuple) and not part:
        return _NOTHING
    if (known := _known.get(id(part))) is not None:
        return known
    leaves, structure = jax.tree.flatten(part)
    is_array = [isinstance(leaf, (jax.Array, np.ndarray, np.generic)) for leaf in leaves]
    arrays = tuple(leaf for leaf, array in zip(leaves, is_array, strict=True) if array)
    rest = tuple(_ARRAY if array else leaf for leaf, array in zip(leaves, is_array, strict=True))
    taken = arrays, _static(structure, rest)
    # Of a list or a dictionary nothing says that it will be the same at the next call.
    if isinstance(part, eqx.Module):
        _known[id(part)] = taken
        weakref.finalize(part, _known.pop, id(part))
    return taken


class Fixed:
    """What the compiled calls of a run have in common: its arrays are arguments, all else in it is compiled in."""

    def __init__(self, *parts: PyTree):
        arrays, statics = zip(*map(_taken_apart, parts), strict=True)
        self.arrays = tuple(itertools.chain(*arrays))
        self.static = _statics(statics)


class Compiled:
    """function(fixed, *arguments) compiled, where `fixed` is what `Fixed` was made of and arguments hold arrays alone.

    `per_member` maps it over the leading axis of all arguments where the first is a motion of several members; `donate`
    names, by position, the arguments whose memory it may take over.
    """

    def __init__(self, function: Callable, *, per_member: bool = False, donate: tuple[int, ...] = ()):
        def program(static: _Statics, arrays: tuple[Any, ...], *arguments: Any) -> Any:
            one = functools.partial(function, static.whole(arrays))
            mapped = per_member and arguments[0].numbers.ndim == 2
            return jax.vmap(one)(*arguments) if mapped else one(*arguments)

        functools.update_wrapper(self, function)
        program.__name__ = function.__name__
        places = tuple(place + 2 for place in donate)
        self._program = jax.jit(program, static_argnums=0, donate_argnums=places)

    def __call__(self, fixed: Fixed, *arguments: Any) -> Any:
        return self._program(fixed.static, fixed.arrays, *arguments)

    def eval_shape(self, fixed: Fixed, *arguments: Any) -> Any:
        """What the result would be, without computing it."""
        return self._program.eval_shape(fixed.static, fixed.arrays, *arguments)

    def jaxpr(self, fixed: Fixed, *arguments: Any) -> Any:
        """The program for these arguments as JAX traced it."""
        return self._program.trace(fixed.static, fixed.arrays, *arguments).jaxpr

    def lower(self, fixed: Fixed, *arguments: Any) -> Any:
        """The program for these arguments, before it is compiled."""
        return self._program.lower(fixed.static, fixed.arrays, *arguments)
