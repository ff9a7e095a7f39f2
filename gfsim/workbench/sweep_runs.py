"""What solves the runs of a sweep: the same function in this process and on a worker."""

import contextlib
import dataclasses
import functools
import io
import secrets
import sys
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gfsim.workbench.discovery import one_line, scenario_in
from gfsim.workbench.runtime import release_programs
from gfsim.workbench.scenario import Scenario, claims_of, solved
from gfsim.workbench.store import FAILED, Row, stage, staged

if TYPE_CHECKING:
    import xarray

# Seconds between two writes of finished runs.
INTERVAL = 2.0
# How often a run may be begun again after the process that solved it has died.
RETRIES = 4


@dataclasses.dataclass(frozen=True)
class Job:
    """What a worker must know beside the configurations: the scenario's own code travels, gfsim is there already."""

    file: str
    source: str
    staging: str
    together: bool


class Run(NamedTuple):
    """One run to be solved: its name, its configuration as JSON, and its fields as they are."""

    identity: str
    configuration: str
    fields: dict[str, Any]


class Progress(NamedTuple):
    """How many runs have just ended in each way, and how many are being solved."""

    done: int
    failed: int
    running: int


# The tasks for so many workers.
Split = Callable[[int], list[list[Run]]]
Engine = Callable[[Job, Split], Iterator[Progress]]


def in_process(job: Job, split: Split) -> Iterator[Progress]:
    """Solves all tasks here, one after another."""
    for task in split(1):
        yield Progress(0, 0, len(task))
        yield Progress(*solve(job, task), 0)


def solve(job: Job, task: list[Run]) -> tuple[int, int]:
    """Solves the runs of one task that are not there yet and puts them into the store; counts done and failed ones.

    A task that was cut off is found by its name and goes on, from then on with one run at a time, of which each is
    written and leaves a mark while it is solved: one that has died `RETRIES` times more has failed. A run that
    fails is a result like any other, with the reason in the place of numbers.
    """
    folder, name = Path(job.staging), task[0].identity
    doubtful = _begun(folder, name, "task") > 0
    earlier: dict[str, str] = {}
    for part in staged(folder, name):
        earlier |= dict(zip(part["identity"].values, part["status"].values, strict=True))
    failed = sum(status == FAILED for status in earlier.values())
    fresh: list[Row] = []
    written = time.monotonic()

    def flush() -> None:
        nonlocal written
        if fresh:
            # A worker given up as lost may still be writing: nobody's file may take the place of another's.
            stage(folder, f"{name}-{secrets.token_hex(4)}", fresh)
            written = time.monotonic()
            fresh.clear()

    try:
        left = [run for run in task if run.identity not in earlier]
        for row in _rows_one_by_one(job, left) if doubtful else _rows(job, left):
            failed += row.data is None
            fresh.append(row)
            if doubtful or time.monotonic() - written > INTERVAL:
                flush()
    finally:
        flush()
    _mark(folder, name, "task").unlink(missing_ok=True)
    return len(task) - failed, failed


def _mark(folder: Path, identity: str, kind: str) -> Path:
    return folder / f"{identity}.{kind}"


def _begun(folder: Path, identity: str, kind: str) -> int:
    """How often the run or task was begun before; counts this time too."""
    with _mark(folder, identity, kind).open("ab") as mark:
        before = mark.tell()
        mark.write(b".")
    return before


def forget_deaths(staging: Path) -> None:
    """Leaves nothing held against any run: for a sweep that goes on, where it was its own process that ended."""
    for kind in ("task", "run"):
        for mark in staging.glob(f"*.{kind}"):
            mark.unlink(missing_ok=True)


def _rows_one_by_one(job: Job, runs: list[Run]) -> Iterator[Row]:
    folder = Path(job.staging)
    for run in runs:
        if _begun(folder, run.identity, "run") >= RETRIES:
            reason = "KilledWorker: the workers that solved it died (out of memory?)"
            yield Row(run.identity, run.configuration, None, reason)
        else:
            yield from _rows(job, [run])
        # The row is in the store by now.
        _mark(folder, run.identity, "run").unlink(missing_ok=True)


def _rows(job: Job, runs: list[Run]) -> Iterator[Row]:
    scenario = scenario_of(job.file, job.source)
    members = [scenario(**run.fields) for run in runs]
    together: list[xarray.Dataset] | None = None
    if job.together and len(members) > 1:
        # One member that fails must not take the others with it: all are then solved by themselves.
        with contextlib.suppress(Exception), _silent():
            together = scenario.simulate_ensemble(members)
    for k, (run, member) in enumerate(zip(runs, members, strict=True)):
        row, reason = None, ""
        try:
            with _silent():
                data = with_claims(member, solved(member) if together is None else together[k])
                # What cannot be stored is the run's own failure.
                row = Row(run.identity, run.configuration, data)
                row.stacked()
        except Exception as error:
            row, reason = None, f"{type(error).__name__}: {one_line(error)}"
        if together is None:
            # Every shape of network adds programs to those that a process holds.
            release_programs()
        yield row or Row(run.identity, run.configuration, None, reason)


def with_claims(scenario: Scenario, data: "xarray.Dataset") -> "xarray.Dataset":
    """The data set with what its claims predict, measure and conclude, along the dimension `claim`."""
    claims = claims_of(scenario, data)
    if not claims:
        return data
    columns = {
        "claim_source": np.array([claim.source for claim in claims], dtype=object),
        "claim_relation": np.array([claim.relation for claim in claims], dtype=object),
        "claim_predicted": [claim.predicted for claim in claims],
        "claim_measured": [claim.measured for claim in claims],
        "claim_holds": [float(claim.holds) for claim in claims],
    }
    names = np.array([claim.name for claim in claims], dtype=object)
    return data.assign({name: ("claim", column) for name, column in columns.items()}).assign_coords(claim=names)


@functools.cache
def scenario_of(file: str, source: str) -> type[Scenario]:
    """The scenario class of a file whose text is `source`, whether or not the file is here."""
    module = types.ModuleType(f"_gfsim_sweep_{Path(file).stem}")
    module.__file__ = file
    sys.modules[module.__name__] = module
    exec(compile(source, file, "exec"), vars(module))
    return scenario_in(module, Path(file))


def _silent() -> contextlib.AbstractContextManager[Any]:
    return contextlib.redirect_stdout(io.StringIO())
