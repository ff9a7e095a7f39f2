"""Labels of logarithmic axes beside matplotlib's own."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest
from matplotlib.ticker import LogFormatterMathtext

from gfsim.plotting.decades import Decades, plain_decades
from gfsim.workbench.drawing import save_figure


def labels(ax) -> list[str]:
    ax.figure.canvas.draw()
    every = ax.xaxis.get_ticklabels(minor=False) + ax.xaxis.get_ticklabels(minor=True)
    return [text for label in every if (text := label.get_text())]


@pytest.fixture
def ax():
    figure, ax = plt.subplots()
    yield ax
    plt.close(figure)


def test_powers_are_raised_digits(ax):
    ax.set(xscale="log", xlim=(1e-12, 1e1))
    assert r"$\mathdefault{10^{-12}}$" in labels(ax)
    plain_decades(ax.xaxis)
    assert "10⁻¹²" in labels(ax)
    assert not any("$" in label for label in labels(ax))


@pytest.mark.parametrize(
    ("value", "label"),
    [(1e-12, "10⁻¹²"), (1.0, "10⁰"), (1e3, "10³"), (0.03, "3×10⁻²"), (-100.0, "−10²"), (0.0, "0")],
)
def test_every_form(ax, value, label):
    ax.set_xscale("symlog")
    formatter = ax.xaxis.get_major_formatter()
    assert Decades(formatter)(value) == label


def test_within_a_decade_the_same_ticks_are_labelled(ax):
    ax.set(xscale="log", xlim=(2, 7))
    own = labels(ax)
    plain_decades(ax.xaxis)
    assert len(labels(ax)) == len(own) >= 2
    assert "3×10⁰" in labels(ax)


def test_what_was_asked_for_stays(ax):
    ax.set(xscale="log", xlim=(1, 100), xticks=(1, 10, 100))
    ax.set_xticklabels(["a", "b", "c"])
    linear = ax.yaxis.get_major_formatter()
    plain_decades(ax.xaxis)
    plain_decades(ax.yaxis)
    assert labels(ax)[:3] == ["a", "b", "c"]
    assert ax.yaxis.get_major_formatter() is linear


def test_tex_sets_its_own(ax):
    ax.set_xscale("log")
    ax.xaxis.label.set_usetex(True)
    own = ax.xaxis.get_major_formatter()
    plain_decades(ax.xaxis)
    assert ax.xaxis.get_major_formatter() is own


@pytest.mark.parametrize(("family", "plain"), [("DejaVu Serif", True), ("STIXGeneral", False), ("cmr10", False)])
def test_a_font_without_raised_digits_keeps_the_typesetter(family, plain, recwarn, tmp_path):
    with mpl.rc_context({"font.family": family, "axes.formatter.use_mathtext": True}):
        figure, ax = plt.subplots()
        ax.loglog([1e-8, 1e6], [1e-8, 1e6])
        save_figure(figure, tmp_path, "figure")
    assert isinstance(ax.xaxis.get_major_formatter(), Decades) == plain
    assert not [w for w in recwarn if "missing from" in str(w.message)]


def test_other_powers_keep_the_typesetter(ax):
    ax.set_xscale("log")
    formatter = LogFormatterMathtext(labelOnlyBase=False)
    formatter.set_axis(ax.xaxis)
    assert Decades(formatter)(2.0) == r"$\mathdefault{10^{0.30}}$"


def test_saved_figures_have_them(ax, tmp_path):
    ax.set(xscale="log", xlim=(1e-4, 1))
    save_figure(ax.figure, tmp_path, "figure")
    assert isinstance(ax.xaxis.get_major_formatter(), Decades)
