"""A law read off a sweep, with the interval that its seeds leave."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import xarray

from gfsim.verification import bootstrap_fit
from gfsim.workbench.cli import main
from gfsim.workbench.record import save_record
from tests.workbench.sweeps import write_drop


def lawful(seeds: int, scatter: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """y = 2·x^−1.5 with a factor and an exponent of its own for every seed."""
    x = np.tile(np.geomspace(1e-3, 1, 5), seeds)
    group = np.repeat(np.arange(seeds), 5)
    slopes = -1.5 + scatter * rng.standard_normal(seeds)
    return x, 2 * np.exp(rng.standard_normal(seeds))[group] * x ** slopes[group], group


def test_exact_laws_are_recovered():
    x, y, group = lawful(4, 0.0, np.random.default_rng(0))
    law = bootstrap_fit(x, y, group)
    np.testing.assert_allclose([law.exponent, *law.interval], -1.5, rtol=1e-12)
    law = bootstrap_fit(x, 3 * np.exp(-2 * x), group, "exponential")
    np.testing.assert_allclose([law.exponent, *law.interval], -2, rtol=1e-12)
    np.testing.assert_allclose(law.curve(law.at), 3 * np.exp(-2 * law.at), rtol=1e-12)
    np.testing.assert_allclose(law.band, np.stack([law.curve(law.at)] * 2), rtol=1e-12)
    law = bootstrap_fit(x, 3 - 2 * np.log(x), group, "logarithmic")
    np.testing.assert_allclose([law.exponent, *law.interval], -2, rtol=1e-12)
    np.testing.assert_allclose(law.curve(law.at), 3 - 2 * np.log(law.at), rtol=1e-12)
    np.testing.assert_allclose(law.band, np.stack([law.curve(law.at)] * 2), rtol=1e-12)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(1)
    laws = [bootstrap_fit(*lawful(30, 0.1, rng), level=0.9, draws=300) for _ in range(200)]
    covered = np.mean([law.interval[0] <= -1.5 <= law.interval[1] for law in laws])
    # Percentiles of 30 groups cover a little less than they say; four standard errors beside that.
    assert 0.9 - 0.02 - 0.085 <= covered <= 0.9 + 0.085
    # The width is that of a mean over 30 seeds, not over 150 points.
    width = np.mean([law.interval[1] - law.interval[0] for law in laws])
    np.testing.assert_allclose(width, 2 * 1.645 * 0.1 / 30**0.5, rtol=0.1)


def test_the_band_holds_the_curve():
    law = bootstrap_fit(*lawful(12, 0.1, np.random.default_rng(2)))
    assert np.all(law.band[0] < law.curve(law.at))
    assert np.all(law.band[1] > law.curve(law.at))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": [1.0, 2.0, -1.0, 3.0]}, "y of the power form must be positive and finite"),
        ({"x": [0.0, 1.0, 0.0, 1.0]}, "x of the power form must be positive and finite"),
        ({"y": [0.0, 1.0, 0.0, 1.0], "form": "exponential"}, "y of the exponential form must be positive and finite"),
        ({"x": [0.0, 1.0, 0.0, 1.0], "form": "logarithmic"}, "x of the logarithmic form must be positive and finite"),
        ({"y": [np.nan, 1.0, 0.0, 1.0], "form": "logarithmic"}, "y of the logarithmic form must be finite"),
        ({"x": [1.0, 1.0, 1.0, 1.0]}, "two different values each, had 1 and 2"),
        ({"group": [1, 1, 1, 1]}, "two different values each, had 2 and 1"),
        ({"group": [1, 1]}, "x, y and group must be 1-d of equal length"),
        ({"form": "linear"}, "form must be one of power, exponential, logarithmic, was 'linear'"),
        ({"level": 1.0}, "level must lie between 0 and 1, was 1.0"),
    ],
)
def test_bad_arguments(change, message):
    arguments = {"x": [1.0, 2.0, 1.0, 2.0], "y": [1.0, 2.0, 1.0, 3.0], "group": [0, 0, 1, 1], **change}
    with pytest.raises(ValueError, match=message):
        bootstrap_fit(**arguments)


@pytest.fixture(scope="module")
def record(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("fit")
    write_drop(folder)
    grid = ["--grid", "height=0.1,1,10", "points=3,4", "--seeds", "0:8"]
    assert main(["sweep", str(folder / "drop.py"), *grid, "--out", str(folder), "--json"]) == 0
    return folder / "drop-sweep.nc"


def test_fit_prints_a_table_and_draws(record, tmp_path, capsys):
    arguments = ["fit", str(record), "--x", "height", "--y", "time", "--out", str(tmp_path)]
    assert main([*arguments, "--predicted", "0.5", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [law["group"] for law in found["laws"]] == ["points 3", "points 4"]
    for law in found["laws"]:
        np.testing.assert_allclose(law["exponent"], 0.5, rtol=1e-12)
        assert law["holds"]
    stem = "drop-sweep-time-height"
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{stem}.{kind}" for kind in ("pdf", "png", "svg")]
    assert main([*arguments, "--predicted", "0.6"]) == 1
    assert re.search(r"points 4 .* 0\.5 .*0\.6 .*0\.05 .*NO", capsys.readouterr().out)


def test_a_field_may_be_fitted_against_a_variable_and_a_time_against_a_logarithm(record, tmp_path, capsys):
    """Runs that differ in what is fitted are no groups of their own."""
    arguments = ["fit", str(record), "--out", str(tmp_path), "--json"]
    assert main([*arguments, "--x", "time", "--y", "height", "--predicted", "2"]) == 0
    found = json.loads(capsys.readouterr().out)["laws"]
    assert [law["group"] for law in found] == ["points 3", "points 4"]
    assert main([*arguments, "--x", "height", "--y", "height", "--form", "logarithmic", "--predicted", "0"]) == 1
    (law, _) = json.loads(capsys.readouterr().out)["laws"]
    # The least-squares slope of 0.1, 1, 10 against their logarithms.
    np.testing.assert_allclose(law["exponent"], 9.9 / (2 * np.log(10)), rtol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.nc", "--x", "height", "--y", "time"], "record must be an existing file, was 'nowhere.nc'"),
        (["RECORD", "--x", "hieght", "--y", "time"], "x must be a variable of one number per run .* was 'hieght'"),
        (["RECORD", "--x", "height", "--y", "path"], "y must be a variable of one number per run .* was 'path'"),
        (["RECORD", "--x", "height", "--y", "outcome"], "y must be a variable .* was 'outcome'"),
        (["RECORD", "--x", "pause", "--y", "time"], "x of the power form must be positive and finite, .*"),
        (["RECORD", "--x", "height", "--y", "time", "--predicted", "nan"], "predicted must be a finite .*, was nan"),
        (["RECORD", "--x", "height", "--y", "time", "--tolerance", "-1"], "tolerance must be positive .*, was -1.0"),
        (["RECORD", "--x", "height"], ".*--y.*"),
    ],
)
def test_bad_fits_are_one_line_and_exit_2(record, capsys, arguments, message):
    assert main(["fit", *(str(record) if word == "RECORD" else word for word in arguments)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert re.fullmatch(f"gfsim: {message}\n", printed.err), printed.err


def test_a_record_of_one_run_has_no_law(tmp_path, capsys):
    path = tmp_path / "one.nc"
    # A scenario may call a variable of its own what a sweep calls the hash of a run.
    save_record(xarray.Dataset({"identity": 0.5, "time": 1.0}), path)
    assert main(["fit", str(path), "--x", "identity", "--y", "time"]) == 2
    assert re.fullmatch("gfsim: record must be one of gfsim sweep, was .*\n", capsys.readouterr().err)


def test_groups_are_of_values_and_not_of_their_looks(tmp_path, capsys, monkeypatch):
    """Of values that print alike, and of a field that is called like a dimension."""
    write_drop(tmp_path)
    path = tmp_path / "drop.py"
    path.write_text(path.read_text().replace("points: int", "moment: int = 0\n    points: int"))
    monkeypatch.chdir(tmp_path)
    grid = ["--grid", "height=1,2,4", "moment=1,2", "drag=1.0,1.0000001"]
    assert main(["sweep", "drop.py", "--json", *grid, "--seeds", "0:2"]) == 0
    assert main(["fit", "records/drop-sweep.nc", "--x", "height", "--y", "time", "--out", ".", "--json"]) == 0
    groups = [law["group"] for law in json.loads(capsys.readouterr().out.splitlines()[-1])["laws"]]
    assert groups == [f"drag {drag}, moment {k}" for k in (1, 2) for drag in ("1.0", "1.0000001")]


def test_a_sweep_of_failures_has_no_law(tmp_path, capsys, monkeypatch):
    write_drop(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main(["sweep", "drop.py", "--grid", "height=13", "--seeds", "0:2", "--json"]) == 1
    capsys.readouterr()
    assert main(["fit", "records/drop-sweep.nc", "--x", "height", "--y", "rtol"]) == 2
    assert "record must hold a run that is done" in capsys.readouterr().err
