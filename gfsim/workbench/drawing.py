"""From a record to figure files, the same bytes every time."""

import contextlib
import gc
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gfsim.workbench.discovery import load_module
from gfsim.workbench.record import whole

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure, FigureBase, SubFigure

# With their own metadata every file would carry the time. PNG follows the layout, whose formulas it can reuse; packed
# as tightly as can be it would be 7 % smaller and take twice as long to write.
_FILES: dict[str, dict[str, Any]] = {
    "png": {"metadata": {"Software": None}, "pil_kwargs": {"compress_level": 1}},
    "pdf": {"metadata": {"CreationDate": None}},
    "svg": {"metadata": {"Date": None}},
}


def draw(figure_file: Path, record: "xarray.Dataset", venue: str, folder: Path, label: str) -> list[Path]:
    """Calls `figure(record, venue)` of `figure_file` and writes PDF, PNG and SVG to `folder`; nothing where it is None.

    Of a list of several figures, such as slides, each gets its number behind the label.

    Raises `ValueError` where the file cannot be imported or defines no such function, TypeError where that returns
    something else, RuntimeError where it cannot be drawn; nothing is written then.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    mpl.use("Agg")
    module = load_module(figure_file, "figure")
    if not callable(getattr(module, "figure", None)):
        raise ValueError(f"{figure_file} must define figure(record, venue), was without it")
    with _uncollected():
        drawn = module.figure(record, venue)
        figures = drawn if isinstance(drawn, list) else [] if drawn is None else [drawn]
        if other := [type(one).__name__ for one in figures if not isinstance(one, Figure)]:
            raise TypeError(f"figure of {figure_file} must return matplotlib figures or None, was {other[0]}")
        labels = [label] if len(figures) == 1 else [f"{label}-{k}" for k in range(1, len(figures) + 1)]
        try:
            return [path for one, own in zip(figures, labels, strict=True) for path in save_figure(one, folder, own)]
        except (ValueError, TypeError) as error:
            # Such as a formula that cannot be set: it is laid out here, and written there.
            raise RuntimeError(f"what figure of {figure_file} returned could not be drawn: {error}") from error


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """No search for dead cycles inside: each would walk the 10⁵ small objects of a figure, which live to its end, and
    all of them together take a quarter of the time."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


def save_figure(figure: "Figure", folder: Path, label: str) -> list[Path]:
    """Writes the figure as PDF, PNG and SVG to `folder` and closes it."""
    import matplotlib as mpl
    from matplotlib import pyplot

    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    # With any layout engine left, even the empty one, matplotlib would walk through the figure twice for each file.
    with mpl.rc_context({"svg.hashsalt": "gfsim", "figure.constrained_layout.use": False, "figure.autolayout": False}):
        _settle(figure)
        for suffix, options in _FILES.items():
            paths.append(folder / f"{label}.{suffix}")
            with whole(paths[-1]) as unfinished:
                figure.savefig(unfinished, format=suffix, **options)
            if suffix == "png":
                _hold_labels(figure)
    pyplot.close(figure)
    return sorted(paths)


def _settle(figure: "Figure") -> None:
    """Everything in its form and place, for all three files.

    Places are rounded to 10⁻⁶ of the figure, since the engine's last digits differ from one run to the next.
    """
    from matplotlib.transforms import Bbox

    from gfsim.plotting.decades import plain_decades

    for ax in figure.axes:
        plain_decades(ax.xaxis)
        plain_decades(ax.yaxis)
    if engine := figure.get_layout_engine():
        engine.execute(figure)
        figure.set_layout_engine(None)
    for part in _subfigures(figure):
        part.bbox_relative.set_points(part.bbox_relative.get_points().round(6))
    for ax in figure.axes:
        ax.set_position(Bbox(ax.get_position(original=True).get_points().round(6)))


def _hold_labels(figure: "Figure") -> None:
    """The axes' labels stay where they are: to find a label's place all ticks are laid out once more."""
    for ax in figure.axes:
        for axis in (ax.xaxis, ax.yaxis):
            label = axis.label
            place = label.get_transform().transform(label.get_position())
            axis.set_label_coords(*ax.transAxes.inverted().transform(place))


def _subfigures(figure: "FigureBase") -> "Iterator[SubFigure]":
    """Those of all depths; `findobj` would make and search every tick of the figure."""
    for part in figure.subfigs:
        yield part
        yield from _subfigures(part)
