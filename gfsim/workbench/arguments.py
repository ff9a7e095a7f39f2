"""The command line as dataclasses, and tyro's errors as one line each."""

import contextlib
import dataclasses
import io
import itertools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import tyro

from gfsim.workbench.scenario import Scenario
from gfsim.workbench.sweep import Request

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Files:
    venue: str = "neurips"
    """Style of the figure."""
    out: Path | None = None
    """Folder of record and figures (default: records/, and figures/out/ in a clone, figures-out/ elsewhere)."""
    reduced: bool = False
    """Use the small configuration that CI runs; its files end in -reduced."""

    def record(self, label: str) -> Path:
        return (self.out or Path("records")) / f"{label}.nc"

    def figures(self) -> Path:
        return self.out or (Path("figures/out") if Path("figures").is_dir() else Path("figures-out"))


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunOptions(Files):
    confirm: bool = False
    """Solve again at rtol/10; a claim holds only if it moves by less than a third of its tolerance."""
    table: Literal["text", "tex"] = "text"
    """How the claim table is printed."""
    json: bool = False
    """Print one JSON object on standard output and nothing else."""


Name = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")]


@dataclasses.dataclass(frozen=True)
class List:
    """Scenarios found in ./scenarios and in the installed copy, with their claims."""


@dataclasses.dataclass(frozen=True)
class Run(RunOptions):
    """Solve, save, check the claims, draw. `gfsim run NAME --help` shows the scenario's own options."""

    name: Name
    """A scenario of `gfsim list`, or the path of a scenario's file."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sweep(Request):
    """Solve many configurations of one scenario; what is finished is kept, and the same command goes on."""

    name: Name
    """A scenario of `gfsim list`, or the path of a scenario's file."""
    vmap: bool = False
    """Solve configurations of equal shapes as one ensemble, where the scenario can."""
    cluster: str | None = None
    """local:N (N workers here), tcp://HOST:PORT, or a scheduler file (default: this process)."""
    retry_failed: bool = False
    """Solve again what failed before."""
    reduced: bool = False
    """Vary the small configuration that CI runs; its file ends in -reduced-sweep."""
    out: Path = Path("records")
    """Folder of the record."""
    json: bool = False
    """Print one JSON object on standard output and nothing else."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fit:
    """A scaling law read off a sweep: exponent, interval by bootstrap over seeds, figure with the theory's exponent."""

    record: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RECORD")]
    """A record that `gfsim sweep` wrote."""
    x: str
    """A field or variable with one number per run. Runs that differ in other fields are fitted apart."""
    y: str
    """What is fitted, a field or variable with one number per run."""
    form: Literal["power", "exponential", "logarithmic"] = "power"
    """y = c·x^e, y = c·exp(e·x), or y = c + e·ln x."""
    predicted: float | None = None
    """The theory's exponent e; drawn, and claimed to within the tolerance."""
    tolerance: float = 0.05
    """How far the fitted exponent may be from the predicted one."""
    level: float = 0.95
    """Confidence of interval and band."""
    venue: str = "neurips"
    """Style of the figure."""
    out: Path | None = None
    """Folder of the figures (default: figures/out/ in a clone, figures-out/ elsewhere)."""
    json: bool = False
    """Print one JSON object on standard output and nothing else."""

    def figures(self) -> Path:
        return Files(out=self.out).figures()


@dataclasses.dataclass(frozen=True)
class Draw(Files):
    """Redraw from the saved record, without solving."""

    name: Name
    """A scenario of `gfsim list`, or the path of a scenario's file."""


@dataclasses.dataclass(frozen=True)
class Cite:
    """BibTeX of the scenario's theorem, method and solver."""

    name: Name
    """A scenario of `gfsim list`, or the path of a scenario's file."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Compare:
    """Gradient descent beside its continuous models, for the `problem` of your own Python file."""

    file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]
    """A Python file that defines `problem`, a gf.Problem; a vector `theta0` in it is the start instead of its own."""
    t1: float
    """Time up to which they are compared."""
    step_sizes: tuple[float, ...]
    """Step sizes of descent, increasing."""
    models: tuple[str, ...] = ("flow", "modified-1", "modified-2")
    """flow, modified-k, modified-quadratic, central or central-k."""
    rtol: float = 1e-10
    """Tolerance of the flows."""
    out: Path = Path("records")
    """Folder of the record."""


Record = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RECORD")]


@dataclasses.dataclass(frozen=True, kw_only=True)
class View:
    """One HTML page of a record, which works offline: time slider, planes, curves, claims, configuration."""

    record: Record
    """A record's file, such as records/early-convergence.nc."""
    out: Path | None = None
    """The page's file (default: beside the record)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Animate:
    """A film of a record: its paths and curves drawn in time."""

    record: Record
    """A record's file, such as records/early-convergence.nc."""
    form: Annotated[Literal["gif", "mp4"], tyro.conf.arg(name="format")] = "gif"
    """mp4 needs ffmpeg."""
    clock: str | None = None
    """The dimension that runs (default: the one of most curves)."""
    frames: int = 120
    """Number of images; 20 are shown per second."""
    out: Path | None = None
    """The film's file (default: beside the record)."""


@dataclasses.dataclass(frozen=True)
class Doctor:
    """Is this installation numerically sound?"""


Command = (
    Annotated[List, tyro.conf.subcommand("list")]
    | Annotated[Run, tyro.conf.subcommand("run")]
    | Annotated[Sweep, tyro.conf.subcommand("sweep")]
    | Annotated[Fit, tyro.conf.subcommand("fit")]
    | Annotated[Draw, tyro.conf.subcommand("draw")]
    | Annotated[Cite, tyro.conf.subcommand("cite")]
    | Annotated[Compare, tyro.conf.subcommand("compare")]
    | Annotated[View, tyro.conf.subcommand("view")]
    | Annotated[Animate, tyro.conf.subcommand("animate")]
    | Annotated[Doctor, tyro.conf.subcommand("doctor")]
)

_COMMANDS = ("list", "run", "sweep", "fit", "draw", "cite", "compare", "view", "animate", "doctor")


_ABOUT = "A laboratory for gradient flow. `gfsim --version` prints its version."


def parse_command(
    arguments: Sequence[str],
) -> List | Run | Sweep | Fit | Draw | Cite | Compare | View | Animate | Doctor:
    """Everything but the options of one scenario, which need the scenario's file.

    Raises `ValueError` for what cannot be parsed; `--help` prints and raises `SystemExit(0)`.
    """
    if arguments[0] not in (*_COMMANDS, "-h", "--help"):
        raise ValueError(f"command must be one of {', '.join(_COMMANDS)}, or --version, was {arguments[0]!r}")
    named = arguments[0] in ("run", "draw", "cite") and not {"-h", "--help"} & set(arguments)
    if named and split_name(arguments[1:])[0] is None:
        raise ValueError(f"{arguments[0]} must be given a scenario's name (gfsim list) or file, was given none")
    for option in ("--grid", "--sample"):
        # The last one would silently replace the others.
        if sum(argument == option or argument.startswith(f"{option}=") for argument in arguments) > 1:
            raise ValueError(f"{option} must be given once, with all fields behind it, was given again")
    asked = f"gfsim {arguments[0]}" if arguments[0] in _COMMANDS else "gfsim"
    return _parse(Command, arguments, "gfsim", asked)  # pyright: ignore[reportArgumentType]


def split_name(arguments: Sequence[str]) -> tuple[str | None, list[str]]:
    """The scenario named in the arguments of `gfsim run`, and all other arguments."""
    valued = {f"--{field.name}" for field in dataclasses.fields(RunOptions) if field.type is not bool}
    position = 0
    while position < len(arguments) and arguments[position].startswith("-"):
        position += 2 if arguments[position] in valued else 1
    if position >= len(arguments):
        return None, list(arguments)
    return arguments[position], [*arguments[:position], *arguments[position + 1 :]]


def parse_run(name: str, scenario: type[Scenario], arguments: Sequence[str]) -> tuple[Scenario, RunOptions]:
    """The configuration and the runner's options from one flat list of arguments to `gfsim run name`.

    With `--reduced` the scenario's own options override its reduced configuration.

    Raises `ValueError` for what cannot be parsed and what the scenario refuses.
    """
    default = scenario()
    if "--reduced" in arguments:
        default = default.reduced()
    both = dataclasses.make_dataclass("both", [("scenario", scenario, default), ("runner", RunOptions, RunOptions())])
    prog = f"gfsim run {name}"
    parsed = _parse(both, arguments, prog, prog)
    return parsed.scenario, parsed.runner


def _parse(kind: type[T], arguments: Sequence[str], prog: str, asked: str) -> T:
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(
                kind,
                prog=prog,
                description=_ABOUT if prog == "gfsim" else None,
                args=arguments,
                config=(tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff),
            )
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
    raise ValueError(f"{_first_section(complaint.getvalue())} (see {asked} --help)")


def _first_section(box: str) -> str:
    """The message inside the box that tyro draws (with or without its lines), without title and hints, as one line.

    tyro has no public way to intercept its errors; whatever it prints, one line remains.
    """
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line).strip("│╭╮╰╯ \t") for line in box.splitlines()]
    _, *body = [line for line in lines if line] or ["", "bad arguments"]
    sections = itertools.groupby(body, key=lambda line: set(line) <= {"─", "-"})
    message = next((" ".join(section) for is_rule, section in sections if not is_rule), "bad arguments")
    message = re.sub(r"^Error parsing (scenario|runner|both): ", "", message)
    return re.sub(r" +([.,;)])", r"\1", message)
