"""Powers of ten on logarithmic axes as plain text."""

import re

from matplotlib.axis import Axis
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
        label = self._formatter(x, pos).removeprefix(r"$\mathdefault{").removesuffix("}$")
        plain = re.sub(r"\^\{(.*)\}", lambda power: power[1].translate(_RAISED), label)
        return plain.replace(r"\times", "×").replace("-", "−")


def plain_decades(axis: Axis) -> None:
    """Labels matplotlib's own powers of ten by `Decades`, except where TeX sets the text."""
    if axis.label.get_usetex():
        return
    if isinstance(formatter := axis.get_major_formatter(), LogFormatterMathtext):
        axis.set_major_formatter(Decades(formatter))
    if isinstance(formatter := axis.get_minor_formatter(), LogFormatterMathtext):
        axis.set_minor_formatter(Decades(formatter))
