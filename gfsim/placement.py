"""Where arrays live: on the host, on one device, or spread over many."""

from typing import Any, TypeGuard

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec, Sharding


def is_spread(x: Any) -> TypeGuard[jax.Array]:
    """Whether `x` is an array that a `jax.sharding` lays over several devices."""
    return isinstance(x, jax.Array) and len(x.sharding.device_set) > 1


def on_host(x: Any) -> np.ndarray:
    """The whole of an array, on the host of every process that holds a part of it; not to be written to."""
    if isinstance(x, np.ndarray):
        return x
    if isinstance(x, jax.Array) and not x.is_fully_addressable and not x.is_fully_replicated:
        from jax.experimental.multihost_utils import process_allgather

        return np.asarray(process_allgather(x, tiled=True))
    return np.asarray(x)


def placement(x: Any) -> Sharding | None:
    """Over which devices `x` is spread, None for an array that lives on one.

    One device is left to JAX: whether an array is bound to a place is part of what a program is compiled for, and a
    run that begins with some arrays bound would compile a second time once all of them are.
    """
    return x.sharding if is_spread(x) else None


def placed(x: np.ndarray, sharding: Sharding | None) -> jax.Array:
    """A copy of a host's array on devices; every process passes the whole and keeps its part."""
    if sharding is None:
        return jax.device_put(np.array(x))
    if isinstance(sharding, NamedSharding) and isinstance(sharding.mesh, Mesh):
        # `jax.make_mesh` makes placements part of the types, and every gather in a program then has to name its own.
        # A mesh of the same devices without that leaves the choice to the compiler.
        mesh = Mesh(sharding.mesh.devices, sharding.mesh.axis_names)
        sharding = NamedSharding(mesh, sharding.spec)
    # Without a copy of its own a device of the host may share the memory, which a run then reuses in place.
    return jax.make_array_from_callback(x.shape, sharding, lambda index: np.array(x[index]))


def with_rows(sharding: Sharding | None, axis: int) -> Sharding | None:
    """The placement of arrays that have a further axis, not split, before `axis`."""
    if not isinstance(sharding, NamedSharding):
        return sharding
    spec = tuple(sharding.spec) + (None,) * axis
    return NamedSharding(sharding.mesh, PartitionSpec(*spec[:axis], None, *sharding.spec[axis:]))
