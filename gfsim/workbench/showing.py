"""`gfsim view` and `gfsim animate`: from a record to a page or a film, without the scenario that wrote it."""

import json
import shutil
from pathlib import Path
from typing import Any

from gfsim.workbench.arguments import Animate, View
from gfsim.workbench.record import load_record, whole
from gfsim.workbench.sweeping import swept_claims


def write_page(command: View) -> Path:
    """Writes the page and returns its path.

    Raises `ValueError` for a file that is no record, for an `out` of another kind, and where plotly is not installed.
    """
    from gfsim.plotting.page import page

    record = load_record(command.record)
    path = command.out or command.record.with_suffix(".html")
    if path.suffix != ".html" or path.is_dir():
        raise ValueError(f"out must be a file that ends in .html, was {str(path)!r}")
    if claims := [_over_runs(claim) for claim in swept_claims(record)]:
        record = record.assign_attrs(claims=json.dumps(claims))
    text = page(record, str(record.attrs.get("scenario", command.record.stem)))
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")
    return path


def _over_runs(claim: dict[str, Any]) -> dict[str, Any]:
    """A claim of a sweep as the page shows those of a run."""
    name = f"{claim['name']}: in {claim['holds']} of {claim['runs']} runs, medians"
    return {**claim, "name": name, "holds": claim["holds"] == claim["runs"]}


def write_film(command: Animate) -> Path:
    """Writes the film and returns its path.

    Raises `ValueError` for a file that is no record or holds nothing that runs, for an `out` of another format, and
    where ffmpeg is not installed.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    from gfsim.plotting.film import film

    if command.form == "mp4" and shutil.which("ffmpeg") is None:
        raise ValueError("format must be gif where ffmpeg is not installed (apt-get install ffmpeg), was mp4")
    path = command.out or command.record.with_suffix(f".{command.form}")
    if path.suffix != f".{command.form}":
        raise ValueError(f"out must end in .{command.form}, as format says, was {str(path)!r}")
    animation = film(load_record(command.record), command.clock, command.frames)
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as unfinished:
        animation.save(unfinished, writer="pillow" if command.form == "gif" else "ffmpeg", fps=20)
    pyplot.close("all")
    return path
