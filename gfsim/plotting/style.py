"""Figure size, fonts and colours of a venue."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from types import MappingProxyType
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.cbook import normalize_kwargs
from matplotlib.colors import to_rgb
from matplotlib.lines import Line2D
from tueplots import bundles, figsizes

from gfsim.checks import positive_integer

_BUNDLES: dict[str, Callable[..., dict[str, Any]]] = {
    "neurips": bundles.neurips2024,
    "icml": bundles.icml2024,
    "iclr": bundles.iclr2024,
    "jmlr": bundles.jmlr2001,
    "aistats": bundles.aistats2025,
    "beamer": bundles.beamer_moml,
}
# Venues with two columns: width of the whole page and of one column. The others have one column.
_FULL = {"icml": figsizes.icml2024_full, "aistats": figsizes.aistats2025_full}
VENUES = tuple(_BUNDLES)

# Okabe & Ito's palette, which people with any colour blindness can tell apart; a colour means one thing in all figures.
COLOURS = MappingProxyType(
    {
        "flow": "#0072B2",
        "gradient descent": "#D55E00",
        "modified": "#009E73",
        "central": "#CC79A7",
        "theory": "#000000",
        "correlation flow": "#E69F00",
        "other": "#56B4E9",
        "reference": "#777777",
    }
)


def style(venue: str, column: str = "full", *, usetex: bool = False) -> AbstractContextManager[None]:
    """A context in which matplotlib draws for a venue: `with style("icml"): …`. No setting survives it.

    `column` is "full" (the width of the text) or "half" (one of two columns, or half the text).

    Text is set by matplotlib itself in DejaVu, which comes with it: the same file everywhere, without TeX. With
    `usetex` it is set by TeX in the venue's own fonts, which must be installed; files then depend on that installation.

    Raises ValueError for a venue that is not one of neurips, icml, iclr, jmlr, aistats, beamer, or another column.
    """
    if venue not in VENUES:
        raise ValueError(f"venue must be one of {', '.join(VENUES)}, was {venue!r}")
    if column not in ("full", "half"):
        raise ValueError(f"column must be full or half, was {column!r}")
    settings = {**_settings(venue, column), **_GFSIM}
    if usetex:
        fonts = {name: value for name, value in _BUNDLES[venue]().items() if name.startswith(_FONTS)}
        settings |= {"font.serif": ["Times"], "font.family": "serif", **fonts, "text.usetex": True}
    return mpl.rc_context(settings)  # pyright: ignore[reportArgumentType]


def current_axes(ax: Axes | None) -> Axes:
    """`ax`, or the current axes without one. Raises TypeError for anything else."""
    if ax is None:
        return plt.gca()
    if not isinstance(ax, Axes):
        raise TypeError(f"ax must be matplotlib axes, was {ax!r}")
    return ax


def lined(look: dict[str, Any], **defaults: Any) -> dict[str, Any]:
    """Properties of a line, by matplotlib's long or short names, over defaults by their long names."""
    return defaults | normalize_kwargs(look, Line2D)


def _settings(venue: str, column: str) -> dict[str, Any]:
    # Fonts and TeX are overridden by `_GFSIM`; not every bundle takes an option for them.
    settings = dict(_BUNDLES[venue]())
    if column == "full" and venue in _FULL:
        settings |= _FULL[venue]()
    elif column == "half" and venue not in _FULL:
        width, height = settings["figure.figsize"]
        settings["figure.figsize"] = (width / 2, height * 0.75)
    return settings


def shades(name: str, count: int) -> list[tuple[float, float, float]]:
    """`count` lightnesses of one of `COLOURS`, from pale to full: an ordered family, such as a ladder of δ.

    Raises TypeError or ValueError for another name and for a count that is no positive integer.
    """
    if name not in tuple(COLOURS):
        raise ValueError(f"name must be one of {', '.join(COLOURS)}, was {name!r}")
    count = positive_integer("count", count)
    full = to_rgb(COLOURS[name])
    strengths = [1.0] if count == 1 else [0.4 + 0.6 * k / (count - 1) for k in range(count)]
    return [tuple(1 - s * (1 - c) for c in full) for s in strengths]  # pyright: ignore[reportReturnType]


# What a venue says about TeX, and what gfsim says about sizes, which its layouts are made for.
_FONTS = ("text.", "font.family", "font.serif")
_SIZES: dict[str, Any] = {
    "font.size": 7,
    "axes.labelsize": 7,
    "axes.titlesize": 7,
    "legend.fontsize": 6,
    "xtick.labelsize": 6,
    "ytick.labelsize": 6,
}
_GFSIM: dict[str, Any] = {
    **_SIZES,
    "text.usetex": False,
    "text.latex.preamble": "",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.weight": "normal",
    "axes.labelweight": "normal",
    "axes.titleweight": "normal",
    "mathtext.fontset": "dejavusans",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": "white",
    "axes.linewidth": 0.6,
    "lines.linewidth": 1.0,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
    "figure.dpi": 300,
    "pdf.fonttype": 42,
}
