"""What a run carries from step to step, and from one compiled call to the next."""

import dataclasses
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec, Sharding
from jaxtyping import Array, Float, Int, PyTree

from gfsim.placement import placed, placement, with_rows
from gfsim.simulation.step_control import Tolerance

RUNNING, AT_END, STALLED, DIVERGED, UNDEFINED = range(5)


class Carried(NamedTuple):
    """The integrated variables: the flow's state, and the energy ∫ −dΦ dissipated so far.

    The energy has a tolerance of its own, rtol·(|Φ(0)| + energy) a step, so that no step is accepted on the state's
    error alone while the energy identity is lost.
    """

    state: PyTree
    dissipated: Float[Array | np.ndarray, "*members"]


class Motion(eqx.Module):
    """Everything that a step needs and changes, with a leading axis for an ensemble.

    `event` is the index of the event that the run ends at, −1 while none has happened.
    """

    clock: Float[Array, "*members"]
    end: Float[Array, "*members"]
    event: Int[Array, "*members"]
    tolerance: Tolerance
    y: Carried
    step: Float[Array, "*members"]
    last_step: Float[Array, "*members"]
    last_error: Float[Array, "*members"]
    solver_state: PyTree
    halt: Int[Array, "*members"]
    saved: Int[Array, "*members"]
    accepted: Int[Array, "*members"]
    rejected: Int[Array, "*members"]
    gradients: Int[Array, "*members"]
    products: Int[Array, "*members"]
    energy_scale: Float[Array, "*members"]


# What a `Motion` has of numbers, in the order of their columns.
_FLOATS = ("clock", "end", "step", "last_step", "last_error", "energy_scale")
_COUNTS = ("halt", "event", "saved", "accepted", "rejected", "gradients", "products")
COLUMNS = (*_FLOATS, *_COUNTS, "rtol", "atol", "dissipated")
_COLUMN = {name: index for index, name in enumerate(COLUMNS)}


class Paused(NamedTuple):
    """A motion between two calls: all that an interrupted run needs to go on.

    Its numbers are one array: a call takes some ten microseconds for every array that goes in or comes out, which in a
    short flow is more than a gradient. Counts are exact in it up to 2⁵³.

    `unbegun` is () where it may have a state alone, which the first call of a single run then begins from: what that
    call returns is `unbegun` too, so that later ones are the same program.
    """

    numbers: Float[Array | np.ndarray, "*members columns"]
    state: PyTree
    solver_state: PyTree
    unbegun: tuple[()] | None = None

    def number(self, name: str) -> Any:
        """A column by its name."""
        return self.numbers[..., _COLUMN[name]]

    @staticmethod
    def start(theta0: Float[Array | np.ndarray, "*members P"], **given: Any) -> "Paused":
        """What a motion begins with: its parameters, and zero in all columns but those given."""
        numbers = np.zeros((*theta0.shape[:-1], len(COLUMNS)))
        for name, value in given.items():
            numbers[..., _COLUMN[name]] = value
        return Paused(numbers, theta0, None)


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Column:
    """In place of a number of a solver's state, which has a column of its own after the motion's."""

    dtype: np.dtype


def unpacked(paused: Paused) -> Motion:
    """The motion that was paused."""
    column = {name: paused.number(name) for name in COLUMNS}
    rest = iter(range(len(COLUMNS), paused.numbers.shape[-1]))
    whole = lambda x: paused.numbers[..., next(rest)].astype(x.dtype) if isinstance(x, Column) else x  # noqa: E731
    return Motion(
        **{name: column[name] for name in _FLOATS},
        **{name: column[name].astype(int) for name in _COUNTS},
        tolerance=Tolerance(column["rtol"], column["atol"]),
        y=Carried(paused.state, column["dissipated"]),
        solver_state=jax.tree.map(whole, paused.solver_state, is_leaf=lambda x: isinstance(x, Column)),
    )


def packed(motion: Motion) -> Paused:
    """The motion, to be handed out of compiled code."""
    numbers = {
        **{name: getattr(motion, name) for name in (*_FLOATS, *_COUNTS)},
        "rtol": motion.tolerance.rtol,
        "atol": motion.tolerance.atol,
        "dissipated": motion.y.dissipated,
    }
    solver_state, lead = strong(motion.solver_state), motion.clock.ndim
    # No complex number, and no key of random ones.
    real = lambda x: any(jnp.issubdtype(x.dtype, kind) for kind in (jnp.bool_, jnp.integer, jnp.floating))  # noqa: E731
    is_own = lambda x: x.ndim == lead and real(x)  # noqa: E731
    kept = jax.tree.map(lambda x: Column(x.dtype) if is_own(x) else x, solver_state)
    own = [x for x in jax.tree.leaves(solver_state) if is_own(x)]
    values = [*(numbers[name] for name in COLUMNS), *own]
    # One elementwise operation; a stack would be one for every number.
    columns, rows = jnp.arange(len(values)), jnp.zeros((*motion.clock.shape, len(values)))
    for index, value in enumerate(values):
        rows = jnp.where(columns == index, jnp.asarray(value, float)[..., None], rows)
    return Paused(rows, motion.y.state, kept)


def strong(tree: PyTree) -> PyTree:
    """The same arrays without weak types, which would compile everything downstream once more."""
    return jax.tree.map(lambda x: jax.lax.convert_element_type(x, x.dtype), tree)


class Kept(NamedTuple):
    """The states kept so far, in arrays long enough for all that one call of `advance` can keep."""

    clock: Float[Array | np.ndarray, "*members slots"]
    y: Carried


def empty(state: PyTree, lead: int, slots: int) -> Kept:
    """Places for so many states like this one, which has `lead` axes of members: spread over devices as it is."""
    first = jax.tree.leaves(state)[0]
    members, where, by_member = first.shape[:lead], placement(first), None
    if lead and isinstance(where, NamedSharding):
        # Numbers are whole on every host, rows of members that are spread are not.
        by_member = with_rows(NamedSharding(where.mesh, PartitionSpec(*where.spec[:1])), lead)

    def zeros(shape: tuple[int, ...], dtype: Any, where: Sharding | None) -> Any:
        # A call takes an array of the host over faster than it is put on a device before.
        return np.zeros(shape, dtype) if where is None else placed(np.zeros(shape, dtype), where)

    def rows(x: Any) -> Any:
        return zeros((*members, slots, *np.shape(x)[lead:]), x.dtype, with_rows(placement(x), lead))

    clock, dissipated = (zeros((*members, slots), float, by_member) for _ in range(2))
    return Kept(clock, Carried(jax.tree.map(rows, state), dissipated))
