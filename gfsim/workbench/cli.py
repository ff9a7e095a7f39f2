"""The command `gfsim`. It parses before JAX is imported.

Exit codes: 0 all claims hold (and the installation is sound), 1 a claim fails (or it is not), 2 bad input, 3 an error
in a scenario's or a figure's own code, with its traceback.
"""

import contextlib
import functools
import json
import linecache
import os
import shutil
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import TextIO

from gfsim import __version__
from gfsim.workbench import arguments as cl
from gfsim.workbench.discovery import Listing, figure_file, find, is_loaded, listings, load_scenario, readable

HOLDS, FAILS, BAD_INPUT, BUG, INTERRUPTED, CLOSED = 0, 1, 2, 3, 130, 141


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code; a bad argument or file is one line on standard error."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        code = _dispatch(arguments)
        # Here, where a reader that has gone is met, and not on the way out.
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        print("gfsim: interrupted; nothing half-written was left", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever reads the output, such as `head`, has seen enough; what is left of it goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CLOSED
    except Exception as error:
        if not _says_what_is_wrong(error):
            traceback.print_exc()
            return BUG
        print(f"gfsim: {' '.join(str(error).split())}{_asked_for_in(error)}", file=sys.stderr)
        return BAD_INPUT


def _dispatch(arguments: Sequence[str]) -> int:
    if arguments and arguments[0] == "run":
        name, rest = cl.split_name(arguments[1:])
        if name is not None:
            return _run(name, rest)
    if list(arguments) == ["--version"]:
        print(f"gfsim {__version__}")
        return HOLDS
    match cl.parse_command(arguments or ["--help"]):
        case cl.List():
            return _list()
        case cl.Sweep() as command:
            return _sweep(command)
        case cl.Fit() as command:
            return _fit(command)
        case cl.Draw() as command:
            return _draw(command)
        case cl.Cite(name):
            return _cite(name)
        case cl.Compare() as command:
            return _compare(command)
        case cl.View() as command:
            return _view(command)
        case cl.Animate() as command:
            return _animate(command)
        case cl.Doctor():
            return _doctor()
        case cl.Run():
            raise AssertionError("parsed above, or refused for want of a name")


def _says_what_is_wrong(error: Exception) -> bool:
    """Whether the error is a refusal, raised on purpose, rather than an accident whose traceback is needed."""
    if isinstance(error, OSError):
        return True
    *_, (frame, line) = traceback.walk_tb(error.__traceback__)
    on_purpose = linecache.getline(frame.f_code.co_filename, line).lstrip().startswith("raise ")
    # What another library refuses to a scenario's own code is an accident there.
    below = [_package(frame) for frame, _ in _from_own_code(error)[1:]]
    return isinstance(error, ValueError | TypeError) and on_purpose and ("gfsim" in below or not below)


def _asked_for_in(error: Exception) -> str:
    """The line of a scenario's or figure's file that called what refused; nothing where it is the file that refuses."""
    own = _from_own_code(error)
    below = [_package(frame) for frame, _ in own[1:]]
    # A disk that is full is not to be looked for there.
    elsewhere = "gfsim" in below if isinstance(error, OSError) else not below
    if not own or elsewhere or own[-1][0].f_globals["__name__"].startswith("gfsim.workbench"):
        return ""
    frame, line = own[0]
    return f" ({frame.f_code.co_filename}, line {line})"


def _from_own_code(error: Exception) -> list[tuple[FrameType, int]]:
    """The last place in a scenario's or figure's file and what it called; nothing where none is involved."""
    frames = list(traceback.walk_tb(error.__traceback__))
    own = [k for k, (frame, _) in enumerate(frames) if is_loaded(frame.f_globals)]
    return frames[own[-1] :] if own else []


def _package(frame: FrameType) -> str:
    return frame.f_globals.get("__name__", "").partition(".")[0]


def _list() -> int:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True, style="bold")
    table.add_column()
    for listing in listings():
        table.add_row(Text(listing.name), Text(listing.claim))
    _console().print(table)
    return HOLDS


def _run(name: str, arguments: Sequence[str]) -> int:
    from gfsim.workbench.run import run_scenario
    from gfsim.workbench.runtime import prepare_jax
    from gfsim.workbench.scenario import aloud

    listing = find(name)
    prepare_jax()
    scenario, options = cl.parse_run(name, load_scenario(listing), arguments)
    _check_files(options)
    label = _label(listing, options)
    path = options.record(label)
    # Whatever else is printed must not reach the standard output of who wants JSON or TeX there.
    output = sys.stdout
    apart = options.json or options.table == "tex"
    quiet = contextlib.redirect_stdout(sys.stderr) if apart else contextlib.nullcontext()
    with quiet, aloud(not options.json):
        scenario.announce(f"{label}: {listing.claim}")
        run = run_scenario(listing.name, scenario, path, options.confirm)
        scenario.announce(f"solved in {run.seconds:.1f} s")
        if not options.json:
            _print_verdicts(run.verdicts, options.table, output)
        figures = _draw_record(listing, run.record, options, label)
        if not options.json:
            holding = sum(verdict.holds for verdict in run.verdicts)
            print(f"{holding} of {len(run.verdicts)} claims hold")
            print(f"record: {path}")
            _print_figures(figures)
    if options.json:
        print(
            json.dumps(
                {
                    "scenario": listing.name,
                    "record": str(path),
                    "figures": [str(figure) for figure in figures],
                    "outcome": run.outcome,
                    "seconds": round(run.seconds, 3),
                    "claims": [verdict.to_json() for verdict in run.verdicts],
                },
                allow_nan=False,
            )
        )
    return HOLDS if run.holds else FAILS


def _sweep(command: cl.Sweep) -> int:
    from gfsim.workbench.runtime import prepare_jax
    from gfsim.workbench.sweep import configurations
    from gfsim.workbench.sweep_runs import in_process
    from gfsim.workbench.sweeping import progress_bar, summary_table, sweep

    listing = find(command.name)
    prepare_jax()
    base = load_scenario(listing)()
    scenarios = configurations(base.reduced() if command.reduced else base, command)
    if command.vmap and all(scenario.ensemble is None for scenario in scenarios):
        raise ValueError(f"vmap must be left out for {listing.name}, which solves no configurations together")
    _check_folder(command.out)
    path = command.out / f"{_label(listing, command)}-sweep.nc"
    engine = in_process
    if command.cluster is not None:
        from gfsim.workbench.cluster import on_cluster

        engine = on_cluster(command.cluster, functools.partial(print, file=sys.stderr))
    with progress_bar(not command.json) as report:
        swept = sweep(
            listing, scenarios, path, engine, together=command.vmap, retry_failed=command.retry_failed, report=report
        )
    if command.json:
        counts = {"runs": swept.rows, "solved": swept.fresh, "failed": swept.failed, "reasons": swept.reasons()}
        found = {"scenario": listing.name, "record": str(path), "seconds": round(swept.seconds, 3), **counts}
        print(json.dumps({**found, "claims": swept.claims()}, allow_nan=False))
    else:
        _console().print(summary_table(swept))
        for reason, count in swept.reasons().items():
            example = swept.example(reason)
            print(f"{count} failed: {reason}{f' (the first: {example})' if example else ''}")
        print(f"{swept.rows} runs, {swept.fresh} of them solved now in {swept.seconds:.1f} s, {swept.failed} failed")
        print(f"record: {path}")
    return HOLDS if swept.holds else FAILS


def _fit(command: cl.Fit) -> int:
    from gfsim.workbench.fitting import fit_record, fit_table
    from gfsim.workbench.table import finite

    _check_files(command)
    found, figures = fit_record(command)
    if command.json:
        laws = [
            {
                "group": group,
                "exponent": finite(law.exponent),
                "interval": [finite(end) for end in law.interval],
                "prefactor": finite(law.prefactor),
                "holds": None if claim is None else claim.holds,
            }
            for group, law, claim in found
        ]
        print(json.dumps({"record": str(command.record), "form": command.form, "laws": laws,
                          "figures": [str(figure) for figure in figures]}, allow_nan=False))  # fmt: skip
    else:
        _console().print(fit_table(found))
        _print_figures(figures)
    return HOLDS if all(claim is None or claim.holds for _, _, claim in found) else FAILS


def _draw(command: cl.Draw) -> int:
    from gfsim.workbench.record import load_record

    listing = find(command.name)
    _check_files(command)
    label = _label(listing, command)
    path = command.record(label)
    record = load_record(path)
    if (other := record.attrs.get("scenario")) != listing.name:
        raise ValueError(f"record must be of {listing.name}, was of {other or 'no scenario'} ({path})")
    figures = _draw_record(listing, record, command, label)
    if not figures:
        raise ValueError(f"scenario must have a figure to draw, was {listing.name} without one")
    _print_figures(figures)
    return HOLDS


def _check_files(options: cl.Files | cl.Fit) -> None:
    # Before anything is solved, which may take minutes.
    from gfsim.plotting import style

    style(options.venue)
    if options.out is not None:
        _check_folder(options.out)


def _check_folder(out: Path) -> None:
    # It is made where it is written to, below what there is.
    there = next(folder for folder in (out, *out.parents) if folder.exists())
    if not (there.is_dir() and os.access(there, os.W_OK)):
        raise ValueError(f"out must be, or lie in, a folder that can be written to, was {str(out)!r}")


def _draw_record(listing: Listing, record, options: cl.Files, label: str) -> list[Path]:
    from gfsim.workbench.drawing import draw

    file = figure_file(listing.path)
    return [] if file is None else draw(file, record, options.venue, options.figures(), label)


def _cite(name: str) -> int:
    from gfsim.workbench.citations import citation_of

    print(citation_of(readable(find(name)).docstring))
    return HOLDS


def _compare(command: cl.Compare) -> int:
    from gfsim.workbench.comparing import compare_file, comparison_table
    from gfsim.workbench.runtime import prepare_jax

    _check_folder(command.out)
    prepare_jax()
    record, path = compare_file(command)
    _console().print(comparison_table(record))
    print(f"record: {path}")
    return HOLDS


def _view(command: cl.View) -> int:
    from gfsim.workbench.showing import write_page

    _check_folder((command.out or command.record).parent)
    print(f"page: {write_page(command)}")
    return HOLDS


def _animate(command: cl.Animate) -> int:
    from gfsim.workbench.showing import write_film

    _check_folder((command.out or command.record).parent)
    print(f"film: {write_film(command)}")
    return HOLDS


def _doctor() -> int:
    from gfsim.workbench.doctor import examine
    from gfsim.workbench.runtime import prepare_jax

    prepare_jax()
    findings = examine()
    for finding in findings:
        print(f"{'ok ' if finding.sound else 'BAD'} {finding.name}: {finding.found}")
        if not finding.sound:
            print(f"    remedy: {finding.remedy}")
    return HOLDS if all(finding.sound for finding in findings) else FAILS


def _label(listing: Listing, options: cl.Files | cl.Sweep) -> str:
    return f"{listing.name}-reduced" if options.reduced else listing.name


def _print_verdicts(verdicts, form: str, output: TextIO) -> None:
    from gfsim.workbench.table import claim_table, claim_table_tex

    if form == "tex":
        print(claim_table_tex(verdicts), file=output)
    else:
        _console().print(claim_table(verdicts))


def _print_figures(figures: list[Path]) -> None:
    for figure in figures:
        print(f"figure: {figure}")


def _console():
    from rich.console import Console

    class Plain(Console):
        def on_broken_pipe(self) -> None:
            # Its own way is to exit with 1, which here says that a claim fails.
            raise

    # A pipe or a log has no width of its own; 80 columns would break every claim over several lines.
    return Plain(width=shutil.get_terminal_size((120, 24)).columns)
