"""Portraits as pictures: against reference images, the same bytes every time, and no setting left behind."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest

from gfsim.plotting import COLOURS, iterates, path, phase_portrait, sphere_points, sphere_portrait, style
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


def test_equal_areas_stay_equal():
    """Of uniform directions, each ring of the drawing of equal area gets the same share."""
    from gfsim.plotting.sphere import hemisphere

    u = np.random.default_rng(0).standard_normal((20_000, 3))
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    upper = hemisphere(u[u[:, 2] > 0], 1)
    counts = np.histogram(np.sum(upper**2, axis=1), bins=5, range=(0, 1))[0]
    np.testing.assert_allclose(counts / counts.sum(), 0.2, atol=0.01)
