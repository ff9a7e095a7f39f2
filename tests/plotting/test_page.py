"""The page of a record in a real browser, and the film."""

import base64
import json
import re
import shutil
import sys
import zlib

import numpy as np
import pytest
import xarray

from gfsim.plotting.film import film
from gfsim.plotting.page import page
from gfsim.plotting.series import unfold
from gfsim.workbench import load_record, save_record
from gfsim.workbench.cli import main

pytestmark = pytest.mark.slow

BROWSER = shutil.which("chromium") and shutil.which("chromedriver")
REMEDY = "no browser for the page: apt-get install chromium chromium-driver"
CLAIM = {"name": "a < b & c", "source": "s", "predicted": 1.0, "measured": 1.0, "tolerance": 0.1, "relation": "close"}


def sweep(members: int = 60, rows: int = 300) -> xarray.Dataset:
    """Members on circles of their own in a plane of R^12, with observables that decay."""
    rng = np.random.default_rng(0)
    t = np.geomspace(1e-2, 1e4, rows)
    plane = np.linalg.qr(rng.standard_normal((12, 2)))[0].T
    phase = np.linspace(0, 6, rows)
    circles = np.stack([np.cos(phase), np.sin(phase)], axis=-1) * np.arange(1, members + 1)[:, None, None]
    noise = 1 + 0.1 * rng.random((10, members, rows))
    observed = {f"observable_{i}": (("member", "time"), np.exp(-phase) * noise[i]) for i in range(10)}
    theta = (("member", "time", "parameter"), circles @ plane)
    return xarray.Dataset({"t": ("time", t), "theta": theta, **observed}, {"member": np.arange(members)})


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "sweep.nc"
    claims = json.dumps([{**CLAIM, "scale": "relative", "holds": True}])
    attributes = {"scenario": "a-sweep", "configuration": '{"width": 7}', "claims": claims, "gfsim_record": 1}
    save_record(sweep(), path, attributes)
    return path


def test_what_runs_is_found():
    series, (plane,) = unfold(sweep(members=3, rows=50))
    assert [s.name for s in series] == [f"observable_{i}" for i in range(10)]
    assert {(s.clock, s.x_name, s.y.shape) for s in series} == {("time", "t", (3, 50))}
    assert series[0].labels == ["member 0", "member 1", "member 2"]
    # Circles stay circles: the principal plane keeps all distances.
    radii = np.linalg.norm(plane.points - plane.points.mean(axis=(0, 1)), axis=-1)
    true = np.asarray(sweep(3, 50)["theta"])
    np.testing.assert_allclose(radii, np.linalg.norm(true - true.mean(axis=(0, 1)), axis=-1), rtol=1e-10)
    assert sum(float(name.split("(")[1].split(" ")[0]) for name in plane.axes) == pytest.approx(100)


def test_tables_and_images_are_no_curves():
    grid = xarray.Dataset(
        {"loss": (("x", "y"), np.zeros((20, 20))), "inertia": (("case", "sign"), np.zeros((4, 3)))},
        {"x": np.arange(20.0), "y": np.arange(20.0)},
    )
    assert unfold(grid) == ([], [])
    assert "Claims" in page(grid, "grid")
    with pytest.raises(ValueError, match="record must hold a curve along a clock"):
        film(grid)


def test_what_cannot_be_drawn_is_left_out():
    lost = sweep(members=2, rows=20)
    lost["theta"][:, 1:] = lost["theta"][1] = np.nan
    lost["nobody"] = (("nobodys_member", "time"), np.zeros((0, 20)))
    series, planes = unfold(lost)
    assert (len(series), planes) == (10, [])
    days = np.array(["2026-01-01", "2026-01-02"], dtype="datetime64[ns]")
    assert unfold(lost.assign_coords(member=days))[0][0].labels[1].startswith("2026-01-02")
    far = sweep(members=2, rows=20)
    far["theta"] = far["theta"] * 1e200
    assert "(" in unfold(far)[1][0].axes[0]


def test_a_sweeps_page_has_its_claims(tmp_path):
    names = np.array(["escapes", "ends"], dtype=object)
    text = {f"claim_{name}": (("run", "claim"), np.full((3, 2), value, dtype=object)) for name, value in
            {"source": "theorem 1", "relation": "at_most"}.items()}  # fmt: skip
    numbers = {f"claim_{name}": (("run", "claim"), values) for name, values in {
        "predicted": np.ones((3, 2)), "measured": np.array([[1, 2], [3, np.nan], [5, 6.0]]),
        "holds": np.array([[1, 1], [1, np.nan], [0, 1.0]])}.items()}  # fmt: skip
    path = tmp_path / "swept.nc"
    save_record(xarray.Dataset({**text, **numbers}, {"claim": names}), path)
    assert main(["view", str(path)]) == 0
    packed = re.findall(r"[A-Za-z0-9+/=]{200,}", path.with_suffix(".html").read_text())[-1]
    first, second = json.loads(zlib.decompress(base64.b64decode(packed)))["claims"]
    assert (first["name"], first["holds"]) == ("escapes: in 2 of 3 runs, medians", False)
    assert (second["name"], second["holds"], second["measured"]) == ("ends: in 2 of 2 runs, medians", True, 4)


def test_the_page_is_small_and_needs_nothing_else(record, capsys):
    assert main(["view", str(record)]) == 0
    path = record.with_suffix(".html")
    assert capsys.readouterr().out == f"page: {path}\n"
    assert path.stat().st_size < 6e6
    text = path.read_text()
    assert "://" not in text
    assert " src=" not in text
    assert list(record.parent.glob(".*")) == []


def test_without_plotly_the_remedy_is_one_line(record, capsys, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "plotly.offline", None)
    assert main(["view", str(record), "--out", str(record.with_name("none.html"))]) == 2
    assert capsys.readouterr().err == (
        "gfsim: plotly must be installed for a page (pip install 'gfsim[view]'), was not found\n"
    )
    assert not record.with_name("none.html").exists()


def drive(record, tmp_path):
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service
    from selenium.webdriver.support.ui import WebDriverWait

    main(["view", str(record), "--out", str(tmp_path / "page.html")])
    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1300,1000"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, Service(shutil.which("chromedriver")))
    try:
        driver.set_script_timeout(60)
        driver.get(f"file://{tmp_path / 'page.html'}")
        WebDriverWait(driver, 60).until(lambda d: d.execute_script("return document.body.dataset.ready") == "yes")
        before = heads(driver)
        # One event a frame for a second's worth of a drag, timed inside the page.
        slowest = driver.execute_async_script(
            """
            const done = arguments[0], slider = document.getElementById("moment"), times = [];
            let count = 0, last = performance.now();
            function step() {
              const now = performance.now(); times.push(now - last); last = now;
              if (count === 20) return done(times.slice(1).sort((a, b) => a - b)[10]);
              count += 1; slider.value = 5 * count; slider.dispatchEvent(new Event("input"));
              requestAnimationFrame(() => requestAnimationFrame(step));
            }
            step();
            """
        )
        after, readout = heads(driver), driver.execute_script("return document.getElementById('readout').value")
        claims = driver.execute_script("return document.getElementById('claims').innerText")
        width = driver.execute_script("return document.getElementById('configuration').innerText")
        empty = "tables({claims: [], configuration: {}, about: {}}); return document.body.innerText"
        assert driver.execute_script(empty).count("The record states none.") == 3
        errors = [entry for entry in driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]
        requests = [
            json.loads(entry["message"])["message"]["params"]["request"]["url"]
            for entry in driver.get_log("performance")
            if 'Network.requestWillBeSent"' in entry["message"]
        ]
        driver.save_screenshot(str(tmp_path / "page.png"))
    finally:
        driver.quit()
    return before, after, readout, claims, width, errors, requests, slowest


def heads(driver):
    """Where the heads of every panel are drawn: x and y of all lines, and the picture."""
    return driver.execute_script(
        "return shown.map(([p, node]) => [p.heads.map(h => h[0]), p.heads.map(h => h[1]),"
        " node.querySelector('canvas').toDataURL()])"
    )


def check_browser(record, tmp_path):
    before, after, readout, claims, configuration, errors, requests, frame = drive(record, tmp_path)
    saved = load_record(record)
    assert len(before) == len(after) == 11
    for i, (x, y, picture) in enumerate(after[1:]):
        assert picture != before[i + 1][2]
        np.testing.assert_allclose(x, np.full(60, saved["t"][100]), rtol=1e-4)
        np.testing.assert_allclose(y, saved[f"observable_{i}"][:, 100], rtol=1e-4)
        assert x != before[i + 1][0]
    assert after[0] != before[0]
    assert after[0][2] != before[0][2]
    assert readout.startswith("row 100, t = ")
    assert "a < b & c" in claims
    assert "width" in configuration
    assert errors == []
    assert [url for url in requests if not url.startswith(("file:", "data:", "blob:"))] == []
    return frame


@pytest.mark.skipif(not BROWSER, reason=REMEDY)
def test_the_slider_moves_all_curves(record, tmp_path):
    check_browser(record, tmp_path)


@pytest.mark.verify
def test_the_slider_moves_all_curves_here(record, tmp_path):
    """60 records of 300 times in eleven panels: a frame of the slider stays below a quarter of a second."""
    assert BROWSER, REMEDY
    assert check_browser(record, tmp_path) < 250


def test_the_film_follows_the_rows():
    running = sweep(members=2, rows=31)
    animation = film(running, frames=4)
    plane, curve, *others = animation._fig.axes
    assert len(others) == 2
    for frame, last in ((0, 0), (1, 10), (3, 30)):
        animation._func(frame)
        heads = [line for line in curve.lines if line.get_marker() == "o"]
        assert [float(line.get_ydata()[0]) for line in heads] == list(running["observable_0"].values[:, last])
        assert all(len(line.get_xdata()) == 1 for line in plane.lines if line.get_marker() == "o")
    animation._draw_was_started = True


def test_the_films_background_is_the_figure_as_it_was_laid_out(monkeypatch):
    """Axes, ticks and texts are a picture from the first frame on, pixel for pixel the one that was drawn."""
    module = sys.modules["gfsim.plotting.film"]
    pictures, still = [], module._still

    def seen(figure, moving):
        figure.canvas.draw()
        pictures.append(np.array(figure.canvas.buffer_rgba()))
        still(figure, moving)

    monkeypatch.setattr(module, "_still", seen)
    animation = film(sweep(members=2, rows=31), frames=4)
    animation._draw_was_started = True
    figure = animation._fig
    figure.canvas.draw()
    # Or else every frame would be laid out anew, and drawn twice.
    assert figure.get_layout_engine() is None
    # No frame has been drawn: nothing has moved yet.
    np.testing.assert_array_equal(np.array(figure.canvas.buffer_rgba()), pictures[0])
    animation._func(3)
    figure.canvas.draw()
    assert np.any(np.array(figure.canvas.buffer_rgba()) != pictures[0])


def test_a_film_is_written_whole(record, capsys, monkeypatch):
    assert main(["animate", str(record), "--frames", "2"]) == 0
    assert record.with_suffix(".gif").read_bytes()[:6] == b"GIF89a"
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert main(["animate", str(record), "--format", "mp4"]) == 2
    assert "apt-get install ffmpeg), was mp4" in capsys.readouterr().err
    assert not record.with_suffix(".mp4").exists()
    assert main(["animate", str(record), "--out", str(record.with_suffix(".png"))]) == 2
    assert re.fullmatch(r"gfsim: out must end in \.gif, as format says, was .*\.png'\n", capsys.readouterr().err)


def test_points_are_a_clock_only_where_they_have_times():
    from gfsim.plotting.series import unfold

    critical = xarray.Dataset({"measured": (("point", "sign"), np.arange(6.0).reshape(3, 2))})
    assert unfold(critical) == ([], [])
    path = xarray.Dataset({"height": ("point", np.arange(3.0)), "height_time": ("point", np.arange(3.0))})
    (series,), _ = unfold(path)
    assert (series.clock, series.x_name) == ("point", "height_time")
