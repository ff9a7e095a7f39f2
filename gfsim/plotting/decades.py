"""Powers of ten on logarithmic axes as plain text."""

import functools
import re

from matplotlib.axis import Axis
from matplotlib.font_manager import findfont, get_font
from matplotlib.ticker import Formatter, LogFormatterMathtext
from numpy.typing import ArrayLike

_RAISED = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")


class Decades(Formatter):
    """10⁻³ in the font's own raised digits, where matplotlib asks its typesetter of formulas.

    That one takes every label apart anew for every file format, a tenth of a figure's time.
    """

    def __init__(self, formatter: LogFormatterMathtext):
        """`formatter` says what is labelled, and with which power."""
        self._formatter = formatter

    def set_locs(self, locs: ArrayLike) -> None:
        self._formatter.set_locs(locs)

    def __call__(self, x: float, pos: int | None = None) -> str:
        label = self._formatter(x, pos)
        whole = re.fullmatch(r"\$\\mathdefault\{([^^]*)(?:\^\{(-?\d+)\})?\}\$", label)
        # Of other powers, such as 10^0.3, there are no raised digits.
        if whole is None:
            return label
        base, power = whole.groups(default="")
        return base.replace(r"\times", "×").replace("-", "−") + power.translate(_RAISED)


def plain_decades(axis: Axis) -> None:
    """Labels matplotlib's own powers of ten by `Decades`, except where TeX sets the text or the font lacks a digit."""
    if axis.label.get_usetex() or not _has_raised_digits(findfont(axis.label.get_fontproperties())):
        return
    if isinstance(formatter := axis.get_major_formatter(), LogFormatterMathtext):
        axis.set_major_formatter(Decades(formatter))
    if isinstance(formatter := axis.get_minor_formatter(), LogFormatterMathtext):
        axis.set_minor_formatter(Decades(formatter))


@functools.cache
def _has_raised_digits(font: str) -> bool:
    """Whether the font file has a glyph for each of them."""
    characters = get_font(font).get_charmap()
    return all(code in characters for code in _RAISED.values())
