"""Grids become configurations, finished runs become one record, and bad sweeps are one line."""

import json
import re
import resource
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import xarray

from gfsim.workbench import load_record
from gfsim.workbench.cli import main
from gfsim.workbench.stacking import stack
from gfsim.workbench.store import Row, Store, stage
from gfsim.workbench.sweep import chunks
from tests.workbench.sweeps import assert_same, start, write_drop


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    write_drop(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def swept(capsys, *arguments: str, code: int = 0) -> dict:
    assert main(["sweep", "drop.py", "--json", *arguments]) == code
    return json.loads(capsys.readouterr().out)


def test_a_sweep_is_one_record(folder, capsys):
    found = swept(capsys, "--grid", "height=1,2", "points=3,5", "--seeds", "2:4")
    assert (found["runs"], found["solved"], found["failed"]) == (8, 8, 0)
    record = load_record(found["record"])
    assert record["seed"].values.tolist() == [2, 3] * 4
    assert record["height"].values.tolist() == [1.0] * 4 + [2.0] * 4
    assert record["points"].values.tolist() == [3, 3, 5, 5] * 2
    exact = np.sqrt(2 * record["height"]) * (1 + 0.01 * np.sin(record["seed"]))
    np.testing.assert_allclose(record["time"], exact, rtol=1e-14)
    assert np.sum(np.isnan(record["path"].values)) == 4 * 2
    assert set(record["outcome"].values) == {"landed"}
    assert set(record["status"].values) == {"done"}
    assert sorted(path.name for path in (folder / "records").iterdir()) == ["drop-sweep.nc"]


def test_what_is_known_is_not_solved_again_and_stays(folder, capsys):
    swept(capsys, "--grid", "height=1,2", "--seeds", "0:3")
    found = swept(capsys, "--grid", "height=3,2", "--seeds", "1:4")
    assert (found["runs"], found["solved"]) == (6, 4)
    record = load_record(found["record"])
    pairs = list(zip(record["height"].values, record["seed"].values, strict=True))
    assert pairs == [(3, 1), (3, 2), (3, 3), (2, 1), (2, 2), (2, 3), (1, 0), (1, 1), (1, 2), (2, 0)]


def test_failed_runs_say_why_and_are_solved_again_on_request(folder, capsys):
    arguments = ["--grid", "height=1,13", "--seeds", "0:2"]
    found = swept(capsys, *arguments, code=1)
    assert found["failed"] == 2
    assert found["reasons"] == {"ValueError: height must be lucky, was 13": 2}
    assert np.isnan(load_record(found["record"])["time"].values).tolist() == [False, False, True, True]
    (folder / "luck").touch()
    assert swept(capsys, *arguments, code=1)["solved"] == 0
    assert main(["sweep", "drop.py", *arguments]) == 1
    printed = capsys.readouterr()
    assert "2 failed: ValueError: height must be lucky, was 13 (the first: height=13.0, seed=0)" in printed.out
    assert "2 of 4 done, 0 running, 2 failed" in printed.err
    again = swept(capsys, *arguments, "--retry-failed")
    assert (again["solved"], again["failed"]) == (2, 0)
    assert np.all(np.isfinite(load_record(found["record"])["time"]))


def test_members_of_equal_shapes_are_solved_together(folder, capsys):
    found = swept(capsys, "--grid", "points=3,4", "--seeds", "0:6", "--vmap")
    record = load_record(found["record"])
    assert record["members"].values.tolist() == [6] * 12
    alone = swept(capsys, "--grid", "points=3,4", "--seeds", "0:6", "--out", "alone")
    assert load_record(alone["record"]).equals(record.drop_vars("members"))
    # One member that fails does not take the others with it.
    found = swept(capsys, "--grid", "height=1,13", "--seeds", "0:2", "--vmap", "--out", "third", code=1)
    assert found["failed"] == 2


def test_samples_are_drawn_with_a_seed(folder, capsys):
    def drawn(*arguments: str) -> np.ndarray:
        found = swept(capsys, "--sample", "height=1e-3:10:log", "points=2:4", *arguments)
        record = load_record(found["record"]).isel(run=slice(found["runs"]))
        return np.stack([record["height"], record["points"]])

    twelve = drawn("--samples", "12")
    assert np.all((twelve[0] > 1e-3) & (twelve[0] < 10))
    assert 2 <= np.sum(twelve[0] < 0.1) <= 10
    assert set(twelve[1]) == {2, 3, 4}
    np.testing.assert_array_equal(drawn("--samples", "20")[:, :12], twelve)
    assert not np.array_equal(drawn("--samples", "12", "--sample-seed", "1"), twelve)


def test_any_field_may_be_swept(folder, capsys):
    grid = ["--grid", "kind=stone,feather", "heights=(1,2),(3,4,5)", "drag=none,0.5", "height=2"]
    record = load_record(swept(capsys, *grid)["record"])
    assert record["kind"].values.tolist() == ["stone"] * 4 + ["feather"] * 4
    assert record["heights"].values.tolist() == ["[1.0, 2.0]", "[1.0, 2.0]", "[3.0, 4.0, 5.0]", "[3.0, 4.0, 5.0]"] * 2
    np.testing.assert_array_equal(record["drag"], [np.nan, 0.5] * 4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "sweep must vary something with --grid, --sample or --seeds, was given none of them"),
        (["--grid", "hieght=1"], "field must be one of rtol, seed, height, .*, was 'hieght'"),
        (["--grid", "height=1,tall"], "height must be float, was 'tall'"),
        (["--grid", "points=3.5"], "points must be int, was '3.5'"),
        (["--grid", "points=True"], "points must be int, was 'True'"),
        (["--grid", "heights=1,2"], r"heights must be tuple\[float, \.\.\.\], was '1'"),
        (["--grid", "drag=much"], r"drag must be float \| None, was 'much'"),
        (["--grid", "height="], "--grid must be FIELD=VALUES, was 'height='"),
        (["--grid", "height=1,,2"], "height must be float, was ''"),
        (["--grid", "height"], "--grid must be FIELD=VALUES, was 'height'"),
        (["--grid", "height=1", "height=2"], "every field must be swept in one way, was height in two"),
        (["--grid", "height=1", "--grid", "points=3"], "--grid must be given once, with all fields .* was given again"),
        (["--grid", "seed=1", "--seeds", "0:2"], "every field must be swept in one way, was seed in two"),
        (["--grid", "height=1,-2"], "height must be positive, was -2.0"),
        (["--seeds", "3:3"], "seeds must be FIRST:END with 0 <= FIRST < END <= 9223372036854775807, was '3:3'"),
        (["--seeds", "7"], "seeds must be FIRST:END with 0 <= FIRST < END <= 9223372036854775807, was '7'"),
        (["--seeds", "0:10000000000"], "sweep of more than 10000 runs must be confirmed with --yes, was of 10{10}"),
        (["--sample", "height=1:2", "--samples", "2", "--sample-seed", "-1"], "sample-seed must be at least 0, was -1"),
        (["--sample", "height=1:2"], "samples must be positive with --sample and 0 without, was 0"),
        (["--sample", "height=2:1", "--samples", "3"], "--sample must be FIELD=LOW:HIGH .* was height=2:1"),
        (["--sample", "height=0:1:log", "--samples", "3"], "--sample must be FIELD=LOW:HIGH .* was height=0:1:log"),
        (["--sample", "kind=a:b", "--samples", "3"], "a sampled field must be a number, was 'kind'"),
        (["--seeds", "0:2", "--cluster", "nowhere"], "cluster must be local:N, tcp://HOST:PORT, .* was 'nowhere'"),
        (["--seeds", "0:2", "--out", "drop.py"], "out must be, or lie in, a folder .*, was 'drop.py'"),
        (["--seeds", "0:2", "--out", "/proc/nothing"], ".*'/proc/nothing'"),
    ],
)  # fmt: skip
def test_bad_sweeps_are_one_line_and_exit_2(folder, capsys, arguments, message):
    assert main(["sweep", "drop.py", "--json", *arguments]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert re.fullmatch(f"gfsim: {message}\n", printed.err), printed.err
    assert not (folder / "records").exists() or not any((folder / "records").iterdir())


def test_texts_that_look_like_something_else_are_texts(folder, capsys):
    swept(capsys, "--grid", "kind=none,1,true,stone", "drag=none,1")
    record = load_record("records/drop-sweep.nc")
    assert record["kind"].values.tolist() == [kind for kind in ("none", "1", "true", "stone") for _ in range(2)]
    np.testing.assert_array_equal(record["drag"], [np.nan, 1.0] * 4)


def test_an_option_that_would_replace_another_is_refused(folder, capsys):
    assert main(["sweep", "drop.py", "--grid=height=1", "--grid", "points=3"]) == 2
    assert "--grid must be given once" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("claims", "failed", "measured"),
    [
        ('[gf.Claim("a", "s", 1.0, float("nan"), 0.1)]', 0, [None]),
        ('[gf.Claim("a", "s", 1.0, 1.0, 0.1)] * 2', 2, []),
    ],
)
def test_claims_of_a_sweep_are_those_of_its_runs(folder, capsys, claims, failed, measured):
    path = folder / "drop.py"
    path.write_text("import gfsim as gf\n" + path.read_text().replace("return []", f"return {claims}"))
    found = swept(capsys, "--seeds", "0:2", code=1)
    assert found["failed"] == failed
    assert [claim["measured"] for claim in found["claims"]] == measured
    if failed:
        assert list(found["reasons"]) == ["ValueError: Drop.claims must have different names, was ['a', 'a']"]


def test_what_a_record_cannot_hold_is_the_failure_of_its_run(folder, capsys):
    path = folder / "drop.py"
    path.write_text(path.read_text().replace('("moment", path)', '("run" if self.seed == 1 else "moment", path)'))
    found = swept(capsys, "--seeds", "0:3", code=1)
    assert load_record(found["record"])["status"].values.tolist() == ["done", "failed", "done"]
    assert list(found["reasons"]) == ["ValueError: simulate must leave the dimension run to the sweep, had its own"]


def test_a_sweep_needs_a_scenario(capsys):
    assert main(["sweep", "--grid", "height=1"]) == 2
    assert re.fullmatch("gfsim: scenario must be one of .*\n", capsys.readouterr().err)


def test_other_code_does_not_go_on_with_the_sweep(folder, capsys):
    swept(capsys, "--seeds", "0:2")
    text = (folder / "drop.py").read_text()
    (folder / "drop.py").write_text(text.replace("0.01 *", "0.02 *"))
    assert main(["sweep", "drop.py", "--seeds", "0:3"]) == 2
    assert "sweep must go on with the code it began with" in capsys.readouterr().err
    (folder / "drop.py").write_text(text)
    assert swept(capsys, "--seeds", "0:3")["solved"] == 1


def test_only_one_process_at_a_time(folder, capsys):
    with Store(Path("records/drop-sweep.nc"), "drop", "code").opened():
        assert main(["sweep", "drop.py", "--seeds", "0:2"]) == 2
    assert "sweep must run once at a time, was running already" in capsys.readouterr().err
    assert swept(capsys, "--seeds", "0:2")["solved"] == 2


def kill_clients(folder: Path, capsys, kills: int, *cluster: str) -> None:
    """Kills the sweep at random moments and starts it again; in the end nothing is missing, double or different."""
    arguments = ["--grid", "height=1,2,13", "points=3,4", "pause=0.02", "--seeds", "0:10"]
    swept(capsys, *arguments, "--out", "undisturbed", code=1)
    random = np.random.default_rng(0)
    staging = folder / "records/drop-sweep.unfinished"
    seen = 0
    for _ in range(kills):
        process = start(folder, "sweep", "drop.py", *arguments, *cluster)
        limit = time.monotonic() + 60
        # Its own files are new; the moment after the first of them is random.
        while len(list(staging.glob("[!.]*.nc"))) <= 0 and process.poll() is None and time.monotonic() < limit:
            time.sleep(0.01)
        time.sleep(float(random.uniform(0, 0.3)))
        process.send_signal(signal.SIGKILL)
        seen += process.wait() == -signal.SIGKILL
        if staging.exists():
            (staging / ".half-0123.nc").write_bytes(b"half a file")
    found = swept(capsys, *arguments, *cluster, code=1)
    assert seen >= kills / 2
    assert found["solved"] < found["runs"] == 60
    assert_same(folder / "records/drop-sweep.nc", folder / "undisturbed/drop-sweep.nc")


def test_a_killed_sweep_goes_on(folder, capsys):
    kill_clients(folder, capsys, 1)


def test_a_full_disk_is_one_line_and_costs_nothing_finished(folder, capsys):
    mounted = folder / "small"
    mounted.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(mounted)]
    if subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("mounting is not permitted here")
    try:
        swept(capsys, "--seeds", "0:3", "--out", "small")
        before = (mounted / "drop-sweep.nc").read_bytes()
        assert main(["sweep", "drop.py", "--json", "--grid", "points=200000", "--seeds", "0:3", "--out", "small"]) == 2
        err = capsys.readouterr().err
        assert re.fullmatch("gfsim: .*/small/drop-sweep.* could not be written .* MB are free\n", err)
        assert (mounted / "drop-sweep.nc").read_bytes() == before
        assert swept(capsys, "--seeds", "0:4", "--out", "small")["solved"] == 1
    finally:
        subprocess.run(["umount", str(mounted)], check=True)


def test_a_file_that_may_not_grow_is_one_line(folder, capsys):
    swept(capsys, "--seeds", "0:3")
    before = Path("records/drop-sweep.nc").read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, limits[1]))
    try:
        assert main(["sweep", "drop.py", "--json", "--grid", "points=100000", "--seeds", "0:3"]) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    err = capsys.readouterr().err
    assert re.fullmatch("gfsim: .* could not be written .* MB are free\n", err)
    assert Path("records/drop-sweep.nc").read_bytes() == before


def test_rows_are_the_same_however_they_are_divided():
    def run(k: int) -> xarray.Dataset:
        names = np.array(["b", "a", "c"][: 1 + k % 3], dtype=object)
        data = {"y": (("t", "case"), k + np.arange((2 + k % 2) * names.size).reshape(-1, names.size)), "n": k}
        return xarray.Dataset(data, {"t": np.arange(2 + k % 2) * 0.1 * (1 + k), "case": names})

    rows = [Row(str(k), "{}", run(k) if k != 2 else None).stacked() for k in range(6)]
    whole = stack(rows)
    assert whole["case"].values.tolist() == ["a", "b", "c"]
    np.testing.assert_array_equal(whole["y"].sel(case="a").values[1], [2, 4, 6])
    np.testing.assert_array_equal(whole["t_of_run"].values[3], [0, 0.4, 0.8])
    assert np.isnan(whole["n"].values[2])
    for cut in (1, 2, 3, 5):
        assert stack([stack(rows[:cut]), stack(rows[cut:])]).equals(whole)


def test_a_variable_of_other_dimensions_is_another_one():
    one, two = (("k",), np.arange(2.0)), (("k", "l"), np.ones((2, 2)))
    rows = [Row(str(k), "{}", xarray.Dataset({"w": w})).stacked() for k, w in enumerate((one, 5.0, two, one))]
    whole = stack(rows)
    assert {name: whole[name].dims[1:] for name in ("w", "w_of_k", "w_of_k_l")} == {
        "w": (),
        "w_of_k": ("k",),
        "w_of_k_l": ("k", "l"),
    }
    np.testing.assert_array_equal(whole["w"], [np.nan, 5, np.nan, np.nan])
    np.testing.assert_array_equal(whole["w_of_k"].values[[0, 3]], [[0, 1], [0, 1]])
    for cut in (1, 2, 3):
        assert stack([stack(rows[:cut]), stack(rows[cut:])]).equals(whole)


def test_what_the_sweep_needs_itself_gets_another_name():
    data = xarray.Dataset({"status": ("t", np.ones(3))}, attrs={"reason": "mine", "sizes": [1, 2]})
    row = Row("a", '{"x": 1}', data).stacked()
    assert row["status"].values.tolist() == ["done"]
    assert (row["result_reason"].item(), row["sizes"].item()) == ("mine", "[1, 2]")
    np.testing.assert_array_equal(row["result_status"], np.ones((1, 3)))
    for bad in (xarray.Dataset({"z": ("run", np.ones(4))}), xarray.Dataset({"z": 1j})):
        with pytest.raises(ValueError, match="must"):
            Row("a", "{}", bad).stacked()


def test_a_run_done_twice_counts_once_and_done_wins(tmp_path):
    store = Store(tmp_path / "s.nc", "drop", "code")
    with store.opened():
        one = xarray.Dataset({"y": 1.0})
        stage(store.staging, "first", [Row("a", '{"x": 1}', None, "no"), Row("b", '{"x": 2}', one)])
        stage(store.staging, "second", [Row("b", '{"x": 2}', one), Row("a", '{"x": 1}', one)])
        record = store.consolidate(["b", "a"])
    assert record is not None
    assert record["identity"].values.tolist() == ["b", "a"]
    assert record["status"].values.tolist() == ["done", "done"]
    assert record["x"].values.tolist() == [2, 1]
    assert [path.name for path in tmp_path.iterdir()] == ["s.nc"]


def test_tasks_are_of_one_shape():
    assert chunks(range(7), [0, 1, 0, 0, 1, 0, 0], 2) == [[0, 2], [3, 5], [6], [1, 4]]
