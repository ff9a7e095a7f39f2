"""Venues, colours, and no trace left behind."""

import itertools

import matplotlib as mpl
import numpy as np
import pytest

from gfsim.plotting import COLOURS, VENUES, power_law, residuals, shades, sheets, style, weight_images
from gfsim.plotting.decades import plain_decades
from gfsim.workbench.drawing import save_figure

mpl.use("Agg")


@pytest.mark.parametrize("venue", VENUES)
@pytest.mark.parametrize("column", ["full", "half"])
def test_every_venue_draws_and_leaves_no_trace(venue, column):
    from matplotlib import pyplot as plt

    before = dict(mpl.rcParams)
    with style(venue, column):
        fig, ax = plt.subplots()
        ax.set_title("∝ ‖θ‖ ≤ 10⁻⁸, $\\kappa$")
        fig.canvas.draw()
        assert mpl.rcParams["font.sans-serif"] == ["DejaVu Sans"]
        assert not mpl.rcParams["text.usetex"]
        plt.close(fig)
    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize("venue", VENUES)
def test_tex_is_opt_in(venue):
    with style(venue, usetex=True):
        assert mpl.rcParams["text.usetex"]
        assert mpl.rcParams["font.family"] != ["DejaVu Sans"]
        assert mpl.rcParams["font.size"] == 7
    assert not mpl.rcParams["text.usetex"]


def test_columns():
    widths = {}
    for venue, column in itertools.product(VENUES, ("full", "half")):
        with style(venue, column):
            widths[venue, column] = mpl.rcParams["figure.figsize"][0]
    for venue in VENUES:
        assert 0.4 < widths[venue, "half"] / widths[venue, "full"] < 0.6
    assert widths["neurips", "full"] == 5.5


@pytest.mark.parametrize(
    ("venue", "expected"),
    [("icml", [[0.3, 0.3, 0.4, 0.9]]), ("beamer", [[0.3, 0.3], [0.4], [0.62]])],
)
def test_rows_that_a_slide_does_not_hold_are_on_the_next(venue, expected):
    from matplotlib import pyplot as plt

    with style(venue):
        figures, rows = sheets(venue, 0.3, 0.3, 0.4, 0.9)
        width = mpl.rcParams["figure.figsize"][0]
    assert len(rows) == 4
    found = [[row.bbox.height / row.bbox.width for row in rows if row.figure is one] for one in figures]
    assert [len(group) for group in found] == [len(group) for group in expected]
    np.testing.assert_allclose(np.concatenate(found), np.concatenate(expected), rtol=1e-6)
    for one in figures:
        assert one.get_size_inches()[0] == pytest.approx(width)
        plt.close(one)


@pytest.mark.parametrize(("body", "names"), [("[Figure(), Figure()]", ["a-1", "a-2"]), ("[Figure()]", ["a"])])
def test_every_sheet_gets_its_files(body, names, tmp_path):
    import xarray

    from gfsim.workbench.drawing import draw

    script = tmp_path / "sheets_script.py"
    script.write_text(f"from matplotlib.figure import Figure\n\ndef figure(record, venue):\n    return {body}\n")
    written = draw(script, xarray.Dataset(), "beamer", tmp_path / "out", "a")
    assert {path.name for path in written} == {f"{name}.{end}" for name in names for end in ("pdf", "png", "svg")}
    assert all(path.stat().st_size > 0 for path in written)


def test_unknown_venue_and_column():
    with pytest.raises(
        ValueError, match=r"^venue must be one of neurips, icml, iclr, jmlr, aistats, beamer, was 'nature'$"
    ):
        style("nature")
    with pytest.raises(ValueError, match=r"^column must be full or half, was 'third'$"):
        style("icml", "third")


def test_colours_differ_in_lightness_or_hue():
    colours = [np.array(mpl.colors.to_rgb(colour)) for colour in COLOURS.values()]
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(colours, 2)) > 0.25


def test_shades_end_at_the_colour():
    ladder = shades("flow", 3)
    assert np.allclose(ladder[-1], mpl.colors.to_rgb(COLOURS["flow"]))
    assert np.all(np.diff([sum(colour) for colour in ladder]) < 0)
    assert len(shades("flow", 1)) == 1


def test_curves_use_the_given_axes_and_return_artists():
    from matplotlib import pyplot as plt

    fig, (upper, lower) = plt.subplots(2)
    x = np.array([0.1, 1.0, 10.0])
    y = 3 * x**2 * np.array([1.0, 1.1, 1.0])
    points, line = power_law(x, y, 2, 3.0, ax=upper, color="red")
    assert points.axes is upper
    assert points.get_color() == "red"
    ends, values = line.get_data()
    assert np.allclose(values, 3 * np.asarray(ends) ** 2)
    assert np.allclose(residuals(x, y, 2, 3.0, ax=lower).get_ydata(), [0, 10, 0])
    assert np.allclose(np.sum(np.log1p(residuals(x, y, 2, ax=lower).get_ydata() / 100)), 0)
    plt.close(fig)


@pytest.mark.parametrize(
    ("x", "y", "named"),
    [([], [], "x and y"), ([1, 2], [1], "x and y"), ([0, 1], [1, 1], "x of"), ([1, 2], [1, np.nan], "y of")],
)
@pytest.mark.parametrize("draw", [power_law, residuals])
def test_a_law_is_drawn_of_positive_pairs_alone(draw, x, y, named):
    from matplotlib import pyplot as plt

    with pytest.raises(ValueError, match=f"^{named}"):
        draw(x, y, 1)
    # Refused before anything is opened.
    assert not plt.get_fignums()


@pytest.mark.parametrize(
    ("shape", "limit", "named"),
    [((2, 5), 1, "weights"), ((4,), 1, "weights"), ((0, 4), 1, "weights"), ((2, 4), 0, "limit")],
)
def test_weight_images_of_another_shape_are_refused(shape, limit, named):
    from matplotlib import pyplot as plt

    with pytest.raises(ValueError, match=f"^{named}"):
        weight_images(np.ones(shape), limit)
    # Refused before anything is opened.
    assert not plt.get_fignums()


def test_weight_images():
    from matplotlib import pyplot as plt

    fig, ax = plt.subplots()
    images = weight_images(np.arange(8.0).reshape(2, 4), 7.0, ax=ax)
    assert np.array_equal(images[1].get_array(), [[4, 5], [6, 7]])
    (left, right, bottom, top), (start, *_) = images[0].get_extent(), images[1].get_extent()
    assert (left, bottom, top) == (0, 1, 0)
    assert start > right
    # Both are seen whole.
    assert ax.get_xlim() == (left, images[1].get_extent()[1])
    plt.close(fig)


def test_titles_stay_at_the_top_of_their_axes():
    from matplotlib import pyplot as plt

    with style("neurips"):
        fig, (plain, _) = plt.subplots(1, 2)
        plain.set_title("title", loc="left")
    fig.canvas.draw()
    assert plain._left_title.get_position()[1] == 1
    plt.close(fig)


def test_saving_moves_no_label(tmp_path):
    from matplotlib import pyplot as plt

    with style("neurips"):
        fig, axes = plt.subplots(2, 2)
        axes[1, 1].remove()
        axes[1, 1] = fig.add_subplot(2, 2, 4, projection="3d")
        axes[0, 0].loglog([1, 1e3], [1e-12, 1])
        for ax in axes.flat:
            ax.set(xlabel="time $t$", ylabel="loss")
            # As they are saved: what is labelled takes its room.
            plain_decades(ax.xaxis)
            plain_decades(ax.yaxis)
        fig.align_ylabels(axes[:, 0])
    axes[0, 1].yaxis.set_label_position("right")
    labels = [axis.label for ax in axes.flat for axis in (ax.xaxis, ax.yaxis)]
    places = lambda: [label.get_transform().transform(label.get_position()) for label in labels]  # noqa: E731
    fig.draw_without_rendering()
    before = places()
    save_figure(fig, tmp_path, "labels")
    # In pixels. Axes are rounded to 1e-6 of the figure.
    np.testing.assert_allclose(places(), before, rtol=0, atol=0.01)
    assert len(list(tmp_path.iterdir())) == 3


def test_a_title_dodges_what_stands_above_the_axes():
    from matplotlib import pyplot as plt

    with style("icml", "half"):
        figure, ax = plt.subplots()
        ax.plot([0, 1], [0, 3e-7])
        title = ax.set_title("loss", loc="left")
    figure.canvas.draw()
    offset = ax.yaxis.get_offset_text()
    assert offset.get_text() == "1e−7"
    assert not title.get_window_extent().overlaps(offset.get_window_extent())
    plt.close(figure)
