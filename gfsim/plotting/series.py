"""What a record holds as functions of a clock, for the page and the film: curves, and paths in a plane.

The clock of a variable is its dimension called time, row, step, moment, iterate or instant, or ending in one of these
after an underscore, or point, where the record has times along it; else the one that has numbers of its own, 16 or
more. A variable whose last dimension is
parameter or coordinate holds states, shown in their plane; every other number along one clock is a curve. All
remaining dimensions count lines.
"""

import dataclasses
import itertools

import numpy as np
import xarray
from jaxtyping import Float

CLOCKS = ("time", "row", "step", "moment", "iterate", "instant")
TIMES = ("t", "time", "tau", "clock", "log_t", "log_time")
STATES = ("parameter", "coordinate")
LINES = 60
ROWS = 400
_LEAST_OWN_NUMBERS = 16


@dataclasses.dataclass(frozen=True)
class Series:
    """One variable along its clock: y (lines, rows) against x (lines, rows), with a label for each line."""

    name: str
    clock: str
    x_name: str
    x: Float[np.ndarray, "lines rows"]
    y: Float[np.ndarray, "lines rows"]
    labels: list[str]


@dataclasses.dataclass(frozen=True)
class Plane:
    """Paths of states, `points` (lines, rows, 2), in the two coordinates or the principal plane named by `axes`."""

    name: str
    clock: str
    axes: tuple[str, str]
    points: Float[np.ndarray, "lines rows two"]
    labels: list[str]


def unfold(record: xarray.Dataset) -> tuple[list[Series], list[Plane]]:
    """Every curve and every plane of paths in `record`, in its order.

    At most 60 lines and 400 rows of each are kept, evenly spaced: what a screen can show.
    """
    if not isinstance(record, xarray.Dataset):
        raise TypeError(f"record must be an xarray.Dataset, was {type(record).__name__}")
    series, planes = [], []
    for name, variable in record.data_vars.items():
        clock, name = _clock(record, variable), str(name)
        if variable.dtype.kind not in "fiu" or not variable.size or clock is None or record.sizes[clock] < 2:
            continue
        if variable.dims[-1] in STATES and variable.sizes[variable.dims[-1]] > 1 and variable.dims[-1] != clock:
            if (plane := _plane(name, variable, clock)) is not None:
                planes.append(plane)
        elif not _is_time(name):
            series.append(_series(record, name, variable, clock))
    return series, planes


def _clock(record: xarray.Dataset, variable: xarray.DataArray) -> str | None:
    """The dimension along which `variable` runs; None where there is none, or more than one as in an image."""
    dims = [str(dim) for dim in variable.dims]
    # Other points, such as critical ones, have no order.
    timed = [str(dim) for name, times in record.data_vars.items() if _is_time(str(name)) for dim in times.dims]
    named = [
        dim for dim in dims for end in dim.rsplit("_", 1)[-1:] if end in CLOCKS or (end == "point" and dim in timed)
    ]
    numbered = [dim for dim in dims if _has_numbers(record, dim) and record.sizes[dim] >= _LEAST_OWN_NUMBERS]
    clocks = named or numbered
    return clocks[0] if len(clocks) == 1 else None


def _has_numbers(record: xarray.Dataset, dim: str) -> bool:
    return dim in record.coords and record.coords[dim].dtype.kind in "fiu"


def _is_time(name: str) -> bool:
    return name in TIMES or name.endswith("_time")


def _series(record: xarray.Dataset, name: str, variable: xarray.DataArray, clock: str) -> Series:
    x_name, time = _time_of(record, variable, clock)
    y, time = xarray.broadcast(variable.astype(float), time.astype(float))
    lead = [dim for dim in y.dims if dim != clock]
    chosen, labels = _lines(y, lead)
    rows = _rows(y.sizes[clock])
    x, y = (v.transpose(*lead, clock).values.reshape(-1, v.sizes[clock])[np.ix_(chosen, rows)] for v in (time, y))
    return Series(name, clock, x_name, x, y, labels)


def _time_of(record: xarray.Dataset, variable: xarray.DataArray, clock: str) -> tuple[str, xarray.DataArray]:
    """The record's time along `clock` that goes with `variable`; where it has none, the clock's own numbers."""
    for name, candidate in record.data_vars.items():
        if _is_time(str(name)) and clock in candidate.dims and set(candidate.dims) <= set(variable.dims):
            return str(name), candidate
    if _has_numbers(record, clock):
        return clock, record.coords[clock]
    return clock, xarray.DataArray(np.arange(record.sizes[clock], dtype=float), dims=clock)


def _plane(name: str, variable: xarray.DataArray, clock: str) -> Plane | None:
    """The paths in two coordinates, or in their principal plane; None where fewer than two finite states span none."""
    state = variable.dims[-1]
    lead = [dim for dim in variable.dims if dim not in (clock, state)]
    chosen, labels = _lines(variable, lead)
    states = variable.transpose(*lead, clock, state).values.astype(float)
    states = states.reshape(-1, *states.shape[-2:])[np.ix_(chosen, _rows(variable.sizes[clock]))]
    if states.shape[-1] == 2:
        return Plane(name, clock, (f"{name}[0]", f"{name}[1]"), states, labels)
    flat = states.reshape(-1, states.shape[-1])
    finite = flat[np.isfinite(flat).all(axis=1)]
    if len(finite) < 2:
        return None
    centre = finite.mean(axis=0)
    _, singular, directions = np.linalg.svd(finite - centre, full_matrices=False)
    # Relative to the largest: squares of what is far away may overflow.
    squares = (singular / max(float(singular[0]), np.finfo(float).tiny)) ** 2
    total = max(float(np.sum(squares)), np.finfo(float).tiny)
    shares = [f"{name}: principal direction {i + 1} ({100 * squares[i] / total:.3g} %)" for i in range(2)]
    return Plane(name, clock, (shares[0], shares[1]), (states - centre) @ directions[:2].T, labels)


def _lines(variable: xarray.DataArray, lead: list) -> tuple[np.ndarray, list[str]]:
    """Which of the lines are kept, and what each is called."""
    sizes = [variable.sizes[dim] for dim in lead]
    count = int(np.prod(sizes)) if sizes else 1
    chosen = np.unique(np.linspace(0, count - 1, min(count, LINES)).astype(int))
    values = [variable.coords[dim].values if dim in variable.coords else range(variable.sizes[dim]) for dim in lead]
    names = [_label(lead, where) for where in itertools.product(*values)] if lead else [""]
    return chosen, [names[i] for i in chosen]


def _label(lead: list, where: tuple) -> str:
    texts = {dim: f"{dim} {value:g}" if np.asarray(value).dtype.kind in "fiu" else str(value)
             for dim, value in zip(lead, where, strict=True)}  # fmt: skip
    return ", ".join(texts.values())


def _rows(count: int) -> np.ndarray:
    return np.unique(np.linspace(0, count - 1, min(count, ROWS)).astype(int))
