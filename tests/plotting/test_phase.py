"""Portraits as pictures: against reference images, the same bytes every time, and no setting left behind."""

import dataclasses
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest

from gfsim.plotting import (
    COLOURS,
    basin_palette,
    iterates,
    path,
    phase_portrait,
    sheets,
    sphere_points,
    sphere_portrait,
    style,
)
from tests.drawing import made_up_portrait

mpl.use("Agg")
REFERENCES = Path(__file__).parent / "references"
# Of 255, on average over the image: other versions of FreeType move the edges of letters.
TOLERANCE = 2.0
DPI = 50


def plane():
    from matplotlib import pyplot as plt

    portrait = made_up_portrait()
    with style("neurips"):
        fig, axes = plt.subplots(1, 3, figsize=(4.5, 1.6))
        phase_portrait(portrait, ax=axes[0], nullclines=True)
        phase_portrait(portrait, ax=axes[1], background="basin", arrows=False)
        phase_portrait(portrait, ax=axes[2], background="level")
        t = np.linspace(0, 3, 40)
        path(np.stack([np.exp(-t), 0.5 * t], axis=1), t, (1, 2), ax=axes[2])
        iterates(np.stack([-np.exp(-t), 0.4 * t], axis=1)[::8], ax=axes[2])
    return fig


def sphere():
    from matplotlib import pyplot as plt

    with style("neurips"):
        fig, axes = plt.subplots(1, 2, figsize=(3.6, 1.9))
        sphere_portrait(made_up_portrait(spherical=True), axes=axes, background="basin")
        sphere_points(np.array([[0.6, 0.0, 0.8], [0.0, 0.6, -0.8]]), axes, color=COLOURS["flow"])
    return fig


@pytest.mark.parametrize("draw", [plane, sphere])
def test_against_the_reference(draw, tmp_path):
    from matplotlib import pyplot as plt

    before = dict(mpl.rcParams)
    fig = draw()
    file = tmp_path / "drawn.png"
    fig.savefig(file, dpi=DPI, metadata={"Software": None})
    plt.close(fig)
    assert dict(mpl.rcParams) == before
    reference = REFERENCES / f"{draw.__name__}.png"
    assert reference.stat().st_size < 30_000
    drawn, expected = (255 * plt.imread(name)[..., :3] for name in (file, reference))
    assert drawn.shape == expected.shape
    assert np.mean(np.abs(drawn - expected)) < TOLERANCE


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_the_same_bytes_every_time(suffix, tmp_path):
    from gfsim.workbench.drawing import draw

    script = tmp_path / "figure_script.py"
    script.write_text("from tests.plotting.test_phase import plane\n\ndef figure(record, venue):\n    return plane()\n")
    import xarray

    files = [draw(script, xarray.Dataset(), "neurips", tmp_path / name, "drawn") for name in ("first", "second")]
    first, second = (next(f for f in written if f.suffix == f".{suffix}").read_bytes() for written in files)
    assert first == second


def test_each_file_is_one_walk_through_the_figure(tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    from gfsim.workbench.drawing import save_figure

    with style("neurips"):
        (fig,), rows = sheets("neurips", 0.3)
        rows[0].subplots(1, 2)
    walks = []
    walk = Figure.draw
    monkeypatch.setattr(Figure, "draw", lambda self, renderer: walks.append(renderer) or walk(self, renderer))
    assert [path.suffix for path in save_figure(fig, tmp_path, "sheet")] == [".pdf", ".png", ".svg"]
    assert len(walks) == 3


def test_places_do_not_hang_on_the_last_digits_of_the_layout(tmp_path):
    """The layout engine's own sums come out in another order from one run to the next."""
    from gfsim.workbench.drawing import save_figure

    with style("neurips"):
        (fig,), rows = sheets("neurips", 0.3, 0.4)
        left, right = rows[0].subfigures(1, 2, width_ratios=(2, 1.25))
        parts = [left.subplots(1, 2), right.subplots(2, 3), rows[1].subplots(2, 3, height_ratios=(3, 1), sharex="col")]
        axes = [ax for part in parts for ax in part.ravel()]
        for ax in axes:
            ax.loglog([1, 1e3], [1e-3, 1])
            ax.set(title="a", xlabel="time", ylabel="$L$")
    before = [ax.get_position(original=True).bounds for ax in axes]
    save_figure(fig, tmp_path, "sheet")
    # The layout was solved, and what it found is rounded.
    places = [*(ax.get_position(original=True).bounds for ax in axes), *(row.bbox_relative.bounds for row in rows)]
    assert not np.allclose(places[: len(before)], before)
    corners = np.array(places)
    corners[:, 2:] += corners[:, :2]
    np.testing.assert_allclose(corners, corners.round(6), rtol=0, atol=1e-15)


def test_what_is_asked_for_is_drawn():
    from matplotlib import pyplot as plt

    portrait = made_up_portrait()
    fig, ax = plt.subplots()
    artists = phase_portrait(portrait, ax=ax)
    assert {"background", "streamlines", "arrows", "stable manifold", "unstable manifold", "saddle"} <= set(artists)
    # The plane is left: what is shaded is by how much.
    np.testing.assert_array_equal(artists["background"].get_array(), portrait.outside)
    np.testing.assert_array_equal(np.transpose(artists["saddle"].get_data()), portrait.points[[1]])
    assert "background" not in phase_portrait(portrait, ax=ax, background="none")
    for call, message in (
        (lambda: phase_portrait(portrait, (0.0, 1.0), (0.0, 1.0), ax=ax), "x, y and options of the computation"),
        (lambda: phase_portrait(made_up_portrait(spherical=True), ax=ax), "field must be a portrait of the plane"),
        (lambda: sphere_portrait(portrait, axes=[ax, ax]), "field must be a portrait of the sphere"),
        (lambda: phase_portrait(np.cos, ax=ax), "x, y must be given as ranges"),
        (lambda: path(np.zeros((2, 2)), marks=(1.0,), ax=ax), "t must be given with marks"),
    ):
        with pytest.raises(ValueError, match=f"^{message}"):
            call()
    plt.close(fig)


def test_what_is_infinite_somewhere_is_drawn_where_it_is_not():
    from matplotlib import pyplot as plt

    portrait = made_up_portrait()
    velocity, conserved = portrait.velocity.copy(), np.sum(portrait.grid**2, axis=-1)
    velocity[0, 0], conserved[0, 0] = np.inf, np.inf
    fig, ax = plt.subplots()
    artists = phase_portrait(
        dataclasses.replace(portrait, velocity=velocity, conserved=conserved), ax=ax, background="speed"
    )
    assert artists["background"].get_array().count() == conserved.size - 1
    assert len(artists["conserved"].levels) == 9
    plt.close(fig)


def test_everything_is_where_the_portrait_says():
    from matplotlib import pyplot as plt

    portrait = made_up_portrait()
    fig, ax = plt.subplots()
    artists = phase_portrait(portrait, ax=ax, nullclines=True)
    for name in ("stable", "unstable", "streamlines"):
        drawn = artists[f"{name} manifold" if name != "streamlines" else name].get_xydata()
        np.testing.assert_array_equal(drawn, getattr(portrait, name))
    for kind in set(portrait.kind):
        chosen = [k for k, own in enumerate(portrait.kind) if own == kind]
        np.testing.assert_array_equal(artists[kind].get_xydata(), portrait.points[chosen])
    for name, wanted in (("degenerate minima", 1), ("degenerate, repelling", 0)):
        rows = artists[name].get_xydata()
        kept = np.isfinite(rows[:, 0])
        np.testing.assert_array_equal(kept, portrait.attracting == wanted)
        np.testing.assert_array_equal(rows[kept], portrait.curves[kept])
    # Every streamline runs to the right.
    assert len(artists["arrows"].U) == 4
    assert np.all(artists["arrows"].U > 0)
    image = artists["background"]
    assert image.origin == "lower"
    np.testing.assert_allclose(image.get_extent(), (-1.5, 1.5, -1.5, 1.5))
    # x' = x − x³ and y' = −y.
    across = np.concatenate([line.vertices for line in artists["nullcline 0"].get_paths()])
    along = np.concatenate([line.vertices for line in artists["nullcline 1"].get_paths()])
    assert np.abs(across[:, 0] - across[:, 0] ** 3).max() < 0.05
    assert set(np.round(across[:, 0])) == {-1.0, 0.0, 1.0}
    assert np.abs(along[:, 1]).max() < 1e-9
    plt.close(fig)


def test_basins_have_the_colours_of_their_palette():
    from matplotlib import pyplot as plt
    from matplotlib.colors import to_rgba

    portrait = made_up_portrait()
    fig, ax = plt.subplots()
    shown = np.asarray(phase_portrait(portrait, ax=ax, background="basin")["background"].get_array())
    palette = basin_palette(portrait)
    assert len(set(palette.values())) == len(palette) == 2
    for label, colour in palette.items():
        own = shown[portrait.basin == label]
        np.testing.assert_allclose(own, np.tile(to_rgba(colour), (len(own), 1)))
    plt.close(fig)


def test_times_are_marked_where_the_path_is_then():
    from matplotlib import pyplot as plt

    fig, ax = plt.subplots()
    t = np.linspace(0, 4, 41)
    artists = path(np.stack([t**2, -t], axis=1), t, (1, 3), ax=ax)
    np.testing.assert_allclose(artists[1].get_xydata(), [[0, 0]])
    np.testing.assert_allclose(artists[2].get_xydata(), [[1, -1], [9, -3]], atol=1e-12)
    assert [note.get_text() for note in artists[3:]] == ["1", "3"]
    plt.close(fig)


def test_hemispheres_show_their_own_half():
    from matplotlib import pyplot as plt

    portrait = made_up_portrait(spherical=True)
    fig, axes = plt.subplots(1, 2)
    halves = sphere_portrait(portrait, axes=axes, background="level")
    for half, side in zip(halves, (1, -1), strict=True):
        values = half["background"].get_array()
        np.testing.assert_allclose(values, portrait.level[0 if side > 0 else 1])
    # A point at height 0.6 lies 0.8/√1.6 from the centre.
    upper, lower = sphere_points(np.array([[0.8, 0.0, 0.6], [0.0, 0.8, -0.6]]), axes)
    np.testing.assert_allclose(upper.get_xydata(), [[0.8 / 1.6**0.5, 0.0]])
    np.testing.assert_allclose(lower.get_xydata(), [[0.0, 0.8 / 1.6**0.5]])
    plt.close(fig)


def test_equal_areas_stay_equal():
    """Of uniform directions, each ring of the drawing of equal area gets the same share."""
    from gfsim.plotting.sphere import hemisphere

    u = np.random.default_rng(0).standard_normal((20_000, 3))
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    upper = hemisphere(u[u[:, 2] > 0], 1)
    counts = np.histogram(np.sum(upper**2, axis=1), bins=5, range=(0, 1))[0]
    np.testing.assert_allclose(counts / counts.sum(), 0.2, atol=0.01)
