"""The file of a sweep, and the folder beside it in which finished runs wait to become part of it.

`<sweep>.unfinished/` holds one small netCDF file for every few finished runs, each written whole or not at all. Workers
add such files and change nothing else, so that whatever is killed costs at most the runs in flight. In the end, and
whenever a sweep goes on, all of them become one stacked record, which replaces the last one in one step.
"""

import contextlib
import dataclasses
import fcntl
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gfsim.workbench.record import FORMAT, installation, load_record, save_record, whole
from gfsim.workbench.stacking import stack

if TYPE_CHECKING:
    import xarray

DONE, FAILED = "done", "failed"
_OWN = ("identity", "configuration", "status", "reason")


@dataclasses.dataclass(frozen=True)
class Row:
    """One finished run: its variables (empty where it failed), or why it failed."""

    identity: str
    configuration: str
    data: "xarray.Dataset | None"
    reason: str = ""

    def stacked(self) -> "xarray.Dataset":
        """The run as a data set with the dimension `run` of size one; a name that the sweep needs becomes `result_…`.

        Raises `ValueError` for what a sweep cannot hold.
        """
        import xarray

        data = xarray.Dataset() if self.data is None else self.data
        fields, indexes = json.loads(self.configuration), dict(data.indexes)
        status = FAILED if self.data is None else DONE
        texts = zip(_OWN, (self.identity, self.configuration, status, self.reason), strict=True)
        rows: dict[str, Any] = {name: (("run",), np.array([text], dtype=object)) for name, text in texts}
        if "run" in data.dims:
            raise ValueError("simulate must leave the dimension run to the sweep, had its own")

        def kept(name: Any) -> str:
            # A field is a coordinate of the sweep.
            return f"result_{name}" if name in fields or name in _OWN else str(name)

        for name, value in data.attrs.items():
            text = value if np.ndim(value) == 0 else json.dumps(np.asarray(value).tolist())
            rows[kept(name)] = (("run",), np.array([text]))
        for name, variable in data.variables.items():
            if name not in indexes:
                if variable.dtype.kind == "c":
                    raise ValueError(f"{name} must be real, was complex")
                rows[kept(name)] = (("run", *variable.dims), variable.values[None])
        return xarray.Dataset(rows, {dim: index.to_numpy() for dim, index in indexes.items()})


def stage(folder: Path, name: str, rows: Sequence[Row]) -> None:
    """Adds a file of finished runs. Raises OSError where it cannot be written, and leaves nothing of it."""
    save_record(stack([row.stacked() for row in rows]), folder / f"{name}.nc", {"gfsim_record": FORMAT})


def staged(folder: Path, name: str = "") -> "list[xarray.Dataset]":
    """What lies in the folder in files of that beginning."""
    return [load_record(path) for path in staged_files(folder, name)]


def staged_files(folder: Path, name: str = "") -> list[Path]:
    # Those that begin with a dot are being written, or were when their writer was killed.
    return [path for path in sorted(folder.glob(f"{name}*.nc")) if not path.name.startswith(".")]


class Store:
    """The runs of one sweep on disk; one process at a time may open it."""

    def __init__(self, path: Path, scenario: str, code: str):
        self.path = path
        self.staging = path.with_suffix(".unfinished")
        self._owner = {"scenario": scenario, "code": code}

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """Holds the sweep for this process; a killed one lets go of it by itself.

        Raises `ValueError` where another process holds it, or the runs are those of another scenario or other code.
        """
        self.staging.mkdir(parents=True, exist_ok=True)
        with (self.staging / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise ValueError(f"sweep must run once at a time, was running already ({self.path})") from None
            try:
                note = self.staging / "owner.json"
                if note.exists():
                    self._check_owner(json.loads(note.read_text()))
                if self.path.exists():
                    self._check_owner(load_record(self.path).attrs)
                with whole(note) as unfinished:
                    unfinished.write_text(json.dumps(self._owner))
                yield
            finally:
                # With nothing staged, all that was finished is in the record.
                if not staged_files(self.staging):
                    shutil.rmtree(self.staging, ignore_errors=True)

    def _check_owner(self, found: dict[str, Any]) -> None:
        for name, wanted in self._owner.items():
            if found.get(name) != wanted:
                raise ValueError(
                    f"sweep must go on with the {name} it began with, was another at {self.path}: choose another --out"
                )

    def statuses(self) -> dict[str, str]:
        """Which runs are known, by their identity, and whether they are done or failed."""
        found: dict[str, str] = {}
        for part in self._parts():
            for name, status in zip(part["identity"].values, part["status"].values, strict=True):
                if found.get(name) != DONE:
                    found[str(name)] = str(status)
        return found

    def consolidate(self, order: Sequence[str]) -> "xarray.Dataset | None":
        """Everything known as one record, each run once: first those of `order`, then the others.

        A run that failed and was then done is done. Returns the record; None where no run is known.
        """
        parts, merged = self._parts(), staged_files(self.staging)
        if not parts:
            return None
        together = stack(parts)
        status, best = together["status"].values, dict[str, int]()
        for k, name in enumerate(together["identity"].values.tolist()):
            if name not in best or status[best[name]] != DONE:
                best[name] = k
        wanted = set(order)
        rows = [best[name] for name in order if name in best]
        rows += [k for name, k in best.items() if name not in wanted]
        record = together.isel(run=rows)
        record = record.assign_coords(_fields(record["configuration"].values.tolist(), set(record.dims)))
        save_record(record.drop_attrs(), self.path, {**self._owner, **installation()})
        for file in merged:
            file.unlink()
        return load_record(self.path)

    def _parts(self) -> "list[xarray.Dataset]":
        return ([load_record(self.path)] if self.path.exists() else []) + staged(self.staging)


def _fields(configurations: list[str], dims: set[Any]) -> dict[str, Any]:
    """Every field of the scenario as a coordinate of the runs: numbers (None is NaN), or text."""
    rows = [json.loads(text) for text in configurations]
    return {
        f"field_{name}" if name in dims else name: ("run", _column([row.get(name) for row in rows]))
        for name in dict.fromkeys(name for row in rows for name in row)
    }


def _column(values: list[Any]) -> np.ndarray:
    kinds = {type(value) for value in values}
    if kinds <= {bool} or kinds <= {int}:
        return np.array(values)
    if kinds <= {int, float, type(None)}:
        return np.array([np.nan if value is None else value for value in values], dtype=float)
    return np.array([value if isinstance(value, str) else json.dumps(value) for value in values], dtype=object)
