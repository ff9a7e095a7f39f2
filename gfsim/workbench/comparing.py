"""`gfsim compare`: descent beside its continuous models, for a problem in anybody's own file."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from gfsim.workbench.arguments import Compare
from gfsim.workbench.discovery import load_module
from gfsim.workbench.record import installation, save_record

if TYPE_CHECKING:
    import xarray
    from rich.table import Table


def compare_file(command: Compare) -> "tuple[xarray.Dataset, Path]":
    """The comparison for the file's problem, and the path of its record.

    Raises `ValueError` where the file does not exist, cannot be imported, or defines no `problem`; what `gf.compare`
    refuses besides.
    """
    from gfsim.problems import Problem
    from gfsim.verification import compare

    if not command.file.is_file():
        raise ValueError(f"file must be an existing Python file, was {str(command.file)!r}")
    module = load_module(command.file.resolve(), "problem")
    problem: Any = getattr(module, "problem", None)
    if not isinstance(problem, Problem):
        raise ValueError(f"{command.file} must define problem, a gf.Problem, was {type(problem).__name__}")
    start = getattr(module, "theta0", problem.theta)
    record = compare(problem, start, command.t1, command.step_sizes, command.models, rtol=command.rtol)
    path = command.out / f"{command.file.stem}-compare.nc"
    save_record(record, path, {"problem": str(command.file), "t1": str(command.t1), **installation()})
    return record, path


def comparison_table(record: "xarray.Dataset") -> "Table":
    """For each step size regime and outcome of descent, and its distance to every model where both last ended."""
    from rich.table import Table

    models = list(record["model"].values)
    table = Table(box=None, pad_edge=False)
    for heading in ("η", "ηλ_max", "regime", "descent", *(f"to {model}" for model in models)):
        table.add_column(heading)
    for eta in record["step_size"].values:
        row = record.sel(step_size=eta).isel(row=-1)
        sharpest = float(eta * record["sharpness"].sel(step_size=eta).max())
        distances = [_distance(row.sel(model=model)) for model in models]
        table.add_row(f"{eta:g}", f"{sharpest:.3g}", str(row["regime"].values), str(row["outcome"].values), *distances)
    for name, label in (("local_order", "order of one step"), ("order", "order at the end")):
        table.add_row("", "", "", label, *(f"{float(value):.3f}" for value in record[name].values))
    return table


def _distance(cell: "xarray.Dataset") -> str:
    outcome = str(cell["model_outcome"].values)
    note = "" if outcome == "reached_end" else f" ({outcome})"
    return f"{float(cell['distance']):.3g}{note}"
