"""From a record to figure files, the same bytes every time."""

from pathlib import Path
from typing import TYPE_CHECKING

from gfsim.workbench.discovery import load_module
from gfsim.workbench.record import whole

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure

# Without these, every file would carry the time or a random salt.
_METADATA = {"pdf": {"CreationDate": None}, "png": {"Software": None}, "svg": {"Date": None}}


def draw(figure_file: Path, record: "xarray.Dataset", venue: str, folder: Path, label: str) -> list[Path]:
    """Calls `figure(record, venue)` of `figure_file` and writes PDF, PNG and SVG to `folder`; nothing where it is None.

    Of a list of several figures, such as slides, each gets its number behind the label.

    Raises `ValueError` where the file cannot be imported or defines no such function.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    module = load_module(figure_file, f"_gfsim_figure_{figure_file.stem}")
    if not callable(getattr(module, "figure", None)):
        raise ValueError(f"{figure_file} must define figure(record, venue), was without it")
    drawn = module.figure(record, venue)
    figures = drawn if isinstance(drawn, list) else [] if drawn is None else [drawn]
    labels = [label] if len(figures) == 1 else [f"{label}-{k}" for k in range(1, len(figures) + 1)]
    return [path for one, own in zip(figures, labels, strict=True) for path in save_figure(one, folder, own)]


def save_figure(figure: "Figure", folder: Path, label: str) -> list[Path]:
    """Writes the figure as PDF, PNG and SVG to `folder` and closes it."""
    import matplotlib as mpl
    from matplotlib import pyplot

    # The layout is solved once for the three files; with an engine left, each would be drawn twice.
    if engine := figure.get_layout_engine():
        engine.execute(figure)
        figure.set_layout_engine(None)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    with mpl.rc_context({"svg.hashsalt": "gfsim"}):
        for suffix, metadata in _METADATA.items():
            paths.append(folder / f"{label}.{suffix}")
            with whole(paths[-1]) as unfinished:
                figure.savefig(unfinished, format=suffix, metadata=metadata)
    pyplot.close(figure)
    return paths
