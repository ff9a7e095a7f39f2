"""The data sets of many runs as one, along the dimension `run`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import xarray

Variable = tuple[tuple[str, ...], np.ndarray]


def stack(parts: "Sequence[xarray.Dataset]") -> "xarray.Dataset":
    """`parts`, whose variables all begin with the dimension `run`, one below the other.

    A variable or a row that a run does not have is NaN, an empty string in text. Dimensions labelled by text are
    aligned by their labels; where numbers label a dimension and differ between parts, they become the variable
    `<dimension>_of_run`. Where a variable has other dimensions in other runs, the fewest keep its name, and the others
    are `<name>_of_<dimensions>`. How the runs are divided into parts makes no difference to the result.
    """
    import xarray

    sizes = [part.sizes["run"] for part in parts]
    # Looked up once: xarray makes them anew each time.
    indexes = [dict(part.indexes) for part in parts]
    columns = [
        {str(name): _plain(variable) for name, variable in part.variables.items() if name not in index}
        for part, index in zip(parts, indexes, strict=True)
    ]
    labels: dict[str, np.ndarray] = {}
    for dim in dict.fromkeys(str(dim) for index in indexes for dim in index):
        own = [np.asarray(index[dim]) if dim in index else None for index in indexes]
        known = [values for values in own if values is not None]
        split = any(f"{dim}_of_run" in column for column in columns)
        if not split and all(np.array_equal(values, known[0]) for values in known):
            labels[dim] = known[0]
        elif known[0].dtype.kind in "OUT":
            labels[dim] = np.array(sorted(set().union(*(values.tolist() for values in known))), dtype=object)
        else:
            for column, values, size in zip(columns, own, sizes, strict=True):
                if values is not None:
                    column[f"{dim}_of_run"] = (("run", dim), np.tile(values, (size, 1)))
    _tell_apart(columns)
    names = dict.fromkeys(name for column in columns for name in column)
    places = [{str(dim): own for dim, own in index.items() if dim in labels} for index in indexes]
    return xarray.Dataset(
        {name: _joined([column.get(name) for column in columns], sizes, labels, places) for name in names}, labels
    )


def _tell_apart(columns: list[dict[str, Variable]]) -> None:
    """Gives variables of one name and different dimensions names of their own."""
    for name in list(dict.fromkeys(name for column in columns for name in column)):
        kinds = {column[name][0] for column in columns if name in column}
        for column in columns:
            if name in column and (dims := column[name][0]) != min(kinds, key=lambda own: (len(own), own)):
                column["_".join((name, "of", *dims[1:]))] = column.pop(name)


def _plain(array: "xarray.Variable") -> Variable:
    values = array.values
    return tuple(map(str, array.dims)), values.astype(object) if values.dtype.kind in "UT" else values


def _joined(
    parts: list[Variable | None],
    sizes: list[int],
    labels: dict[str, np.ndarray],
    places: list[dict[str, Any]],
) -> Variable:
    (dims,) = {part[0] for part in parts if part is not None}
    held = [part[1] for part in parts if part is not None]
    widest = [max(values.shape[axis] for values in held) for axis in range(1, len(dims))]
    shape = [len(labels[dim]) if dim in labels else size for dim, size in zip(dims[1:], widest, strict=True)]
    kind = np.result_type(*held)
    filled = len(held) == len(parts) and all(list(values.shape[1:]) == shape for values in held)
    text = kind.kind == "O"
    if not filled and not text:
        kind = np.result_type(kind, float)
    # What is not filled below holds for good.
    joined = np.full((sum(sizes), *shape), "" if text else np.nan if not filled else 0, dtype=kind)
    first = 0
    for part, size, own in zip(parts, sizes, places, strict=True):
        if part is not None:
            where = [_positions(labels, own, dim, n) for dim, n in zip(dims[1:], part[1].shape[1:], strict=True)]
            joined[np.ix_(np.arange(first, first + size), *where)] = part[1]
        first += size
    return dims, joined


def _positions(labels: dict[str, np.ndarray], own: dict[str, Any], dim: str, size: int) -> np.ndarray:
    """Where the `size` rows of one part's `dim` go."""
    if dim not in labels or dim not in own:
        return np.arange(size)
    position = {label: k for k, label in enumerate(labels[dim].tolist())}
    return np.array([position[label] for label in own[dim].tolist()], dtype=int)
