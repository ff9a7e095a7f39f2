"""`gfsim sweep`: plans the runs, has them solved, and puts what the store holds into one record and one table."""

import contextlib
import dataclasses
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gfsim.workbench.discovery import Listing
from gfsim.workbench.scenario import Scenario
from gfsim.workbench.store import DONE, FAILED, Store
from gfsim.workbench.sweep import chunks, code_of, described, identity
from gfsim.workbench.sweep_runs import Engine, Job, Progress, Run, forget_deaths, in_process
from gfsim.workbench.table import SIGN, finite

if TYPE_CHECKING:
    import xarray
    from rich.table import Table

# What one task carries: enough tasks for every worker to be busy to the end, few enough for one scheduler, which at 1e6
# runs sees 10⁴ of them (docs/sweeps.md says what each costs). An ensemble gains by its size.
TASKS_PER_WORKER, ENSEMBLES_PER_WORKER = 20, 2
LARGEST_CHUNK = 100


@dataclasses.dataclass(frozen=True)
class Swept:
    """The stacked record of all runs known, and which of its rows this sweep asked for."""

    record: "xarray.Dataset"
    rows: int
    fresh: int
    failed: int
    seconds: float

    @property
    def own(self) -> "xarray.Dataset":
        return self.record.isel(run=slice(self.rows))

    def claims(self) -> list[dict[str, Any]]:
        return swept_claims(self.own)

    @property
    def holds(self) -> bool:
        return self.failed == 0 and all(entry["holds"] == entry["runs"] for entry in self.claims())

    def reasons(self) -> dict[str, int]:
        """Why runs failed, and how many did for each reason."""
        found = self.own["reason"].values[self.own["status"].values == FAILED].tolist()
        return {reason: found.count(reason) for reason in dict.fromkeys(found)}

    def example(self, reason: str) -> str:
        """The first run that failed for this reason, by the fields in which runs differ."""
        own = self.own
        fields = [json.loads(text) for text in own["configuration"].values.tolist()]
        first = fields[own["reason"].values.tolist().index(reason)]
        return ", ".join(f"{name}={value}" for name, value in first.items() if any(f[name] != value for f in fields))


def swept_claims(record: "xarray.Dataset") -> list[dict[str, Any]]:
    """For each claim in how many of a sweep's runs it was made, and in how many it holds; its medians over them."""
    entries = []
    for name in record["claim"].values.tolist() if {"claim", "claim_holds"} <= set(record.variables) else []:
        one = record.sel(claim=name)
        made = np.isfinite(one["claim_holds"].values)
        if np.any(made):
            entries.append(
                {
                    "name": name,
                    "source": str(one["claim_source"].values[made][0]),
                    "relation": str(one["claim_relation"].values[made][0]),
                    "predicted": finite(float(np.median(one["claim_predicted"].values[made]))),
                    "measured": finite(float(np.median(one["claim_measured"].values[made]))),
                    "runs": int(np.sum(made)),
                    "holds": int(np.sum(one["claim_holds"].values[made])),
                }
            )
    return entries


def sweep(
    listing: Listing,
    scenarios: Sequence[Scenario],
    path: Path,
    engine: Engine = in_process,
    *,
    together: bool = False,
    retry_failed: bool = False,
    report: Callable[[Progress, int], None] = lambda progress, total: None,
) -> Swept:
    """Solves those of `scenarios` that the sweep in `path` does not hold yet, and returns all that it then holds.

    Raises `ValueError` where the sweep belongs to another scenario or other code, or is running already; OSError where
    the store cannot be written. What was finished before stays.
    """
    began, source = time.perf_counter(), listing.path.read_text(encoding="utf-8")
    code = code_of(source)
    runs = [_run(code, scenario) for scenario in scenarios]
    order, total = [run.identity for run in runs], len(runs)
    ensembles = {run.identity: scenario.ensemble for run, scenario in zip(runs, scenarios, strict=True)}
    store = Store(path, listing.name, code)
    with store.opened():
        record = store.consolidate(order)
        known = store.statuses()
        settled = (DONE,) if retry_failed else (DONE, FAILED)
        wanted = [run for run in runs if known.get(run.identity) not in settled]
        forget_deaths(store.staging)
        failed = sum(known[run.identity] == FAILED for run in runs if known.get(run.identity) in settled)
        report(Progress(total - len(wanted) - failed, failed, 0), total)
        keys = [ensembles[run.identity] if together else None for run in wanted]
        job = Job(str(listing.path), source, str(store.staging.resolve()), together)

        def split(workers: int) -> list[list[Run]]:
            return chunks(wanted, keys, chunk_size(len(wanted), workers, together))

        try:
            # Without runs to solve there is no need for workers either.
            for progress in engine(job, split) if wanted else ():
                report(progress, total)
        except KeyboardInterrupt:
            store.consolidate(order)
            raise
        record = store.consolidate(order)
        if record is None or not set(order) <= set(record["identity"].values.tolist()):
            raise OSError(f"{store.staging} did not show all that was written to it; start the same sweep again")
    failed = int(np.sum(record["status"].values[:total] == FAILED))
    return Swept(record, total, len(wanted), failed, time.perf_counter() - began)


def chunk_size(runs: int, workers: int, together: bool) -> int:
    """Runs per task."""
    tasks = workers * (ENSEMBLES_PER_WORKER if together else TASKS_PER_WORKER)
    return min(LARGEST_CHUNK, max(1, math.ceil(runs / tasks)))


def _run(code: str, scenario: Scenario) -> Run:
    configuration = described(scenario)
    fields = {field.name: getattr(scenario, field.name) for field in dataclasses.fields(scenario)}
    return Run(identity(code, configuration), configuration, fields)


def summary_table(swept: Swept) -> "Table":
    """Each claim with its medians over the sweep, and in how many of the runs it holds."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("claim", ratio=3)
    table.add_column("source", ratio=2, style="dim")
    for column in ("predicted (median)", "measured (median)", "holds"):
        table.add_column(column, justify="right", no_wrap=True)
    for entry in swept.claims():
        holds = Text(f"{entry['holds']} of {entry['runs']}", "green" if entry["holds"] == entry["runs"] else "bold red")
        predicted, measured = (math.nan if entry[name] is None else entry[name] for name in ("predicted", "measured"))
        numbers = f"{SIGN[entry['relation']]} {predicted:.6g}", f"{measured:.6g}"
        table.add_row(Text(entry["name"]), Text(entry["source"]), *numbers, holds)
    return table


@contextlib.contextmanager
def progress_bar(shown: bool) -> Iterator[Callable[[Progress, int], None]]:
    """A bar on standard error: done, running and failed runs, their rate, and the time that remains."""
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    text = "{task.fields[done]} of {task.total} done, {task.fields[running]} running, {task.fields[failed]} failed"
    columns = BarColumn(), TextColumn(text), TextColumn("{task.fields[rate]:.3g}/s"), TimeRemainingColumn()
    done = failed = 0
    with Bar(*columns, console=Console(stderr=True), disable=not shown) as bar:
        task = bar.add_task("", total=0, rate=0.0, done=0, running=0, failed=0)

        def report(progress: Progress, total: int) -> None:
            nonlocal done, failed
            done, failed = done + progress.done, failed + progress.failed
            bar.update(task, total=total, completed=done + failed, rate=bar.tasks[0].speed or 0.0)
            bar.update(task, done=done, running=progress.running, failed=failed)

        yield report
