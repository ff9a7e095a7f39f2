"""Bad arguments, files and records on the command line: one line, exit code 2, and nothing left behind."""

import dataclasses
import json
import re

import numpy as np
import pytest
import xarray
from hypothesis import given, settings
from hypothesis import strategies as st

from gfsim.workbench import Scenario, load_record, save_record
from gfsim.workbench.arguments import parse_run
from gfsim.workbench.cli import main

pytestmark = pytest.mark.slow

RUNNING = xarray.Dataset({"y": ("time", np.arange(5.0))})
PROBLEM = "import gfsim as gf, jax.numpy as jnp\nproblem = gf.Problem.from_loss(lambda p: jnp.sum(p**2), jnp.ones(2))\n"


@pytest.fixture
def desk(house):
    """A house with files of every wrong kind."""
    save_record(RUNNING, house / "good.nc", {"gfsim_record": 1, "scenario": "unit-parabola"})
    save_record(xarray.Dataset({"y": 1.0}), house / "still.nc", {"gfsim_record": 1, "scenario": "unit-parabola"})
    save_record(RUNNING, house / "claims.nc", {"gfsim_record": 1, "claims": "[{"})
    RUNNING.to_netcdf(house / "foreign.nc")
    whole_file = (house / "good.nc").read_bytes()
    (house / "half.nc").write_bytes(whole_file[: len(whole_file) // 2])
    (house / "records").mkdir()
    (house / "records/unit-parabola.nc").write_bytes(whole_file[:3000])
    for name, text in {
        "empty.nc": "",
        "text.nc": "words",
        "empty.py": "",
        "broken.py": "def",
        "binary.py": "\x00",
        "three.py": "problem = 3",
        "raises.py": "1 / 0",
        "problem.py": PROBLEM,
        "start.py": PROBLEM + "theta0 = jnp.ones(7)",
        "script": "x = 1",
    }.items():
        (house / name).write_text(text)
    return house


BAD = [
    (["view"], "RECORD"),
    (["view", "good.nc", "other.nc"], "other.nc"),
    (["view", "good.nc", "--out", "."], "out must be a file that ends in .html, was '.'"),
    (["view", "good.nc", "--out", "page.txt"], "out must be a file that ends in .html, was 'page.txt'"),
    (["view", "nowhere.nc"], "record must be an existing file, was 'nowhere.nc'"),
    (["view", "."], "record must be an existing file, was '.'"),
    (["view", "empty.nc"], "record must be a complete netCDF file, was 'empty.nc'"),
    (["view", "text.nc"], "record must be a complete netCDF file, was 'text.nc'"),
    (["view", "half.nc"], "record must be a complete netCDF file, was 'half.nc'"),
    (["view", "foreign.nc"], "record must be written by gfsim (format 1), was 'foreign.nc' (format None)"),
    (["view", "claims.nc"], "claims of a record must be JSON, a list, was '[{'"),
    (["view", "unit-parabola"], "record must be an existing file, was 'unit-parabola'"),
    (
        ["view", "good.nc", "--out", "script/page.html"],
        "out must be, or lie in, a folder that can be written to, was 'script'",
    ),
    (["animate", "good.nc", "--out", "script/film.gif"], "out must be, or lie in, a folder that can be written to"),
    (
        ["compare", "problem.py", "--t1", "1", "--step-sizes", "0.1", "--out", "script/a"],
        "out must be, or lie in, a folder",
    ),
    (["sweep", "unit-parabola", "--seeds", "0:2", "--out", "script"], "out must be, or lie in, a folder"),
    (
        ["run", "unit-parabola", "--out", "script/a/b"],
        "out must be, or lie in, a folder that can be written to, was 'script/a/b'",
    ),
    (["animate"], "RECORD"),
    (["animate", "nowhere.nc"], "record must be an existing file, was 'nowhere.nc'"),
    (["animate", "half.nc"], "record must be a complete netCDF file, was 'half.nc'"),
    (["animate", "still.nc"], "record must hold a curve along a clock"),
    (["animate", "good.nc", "--format", "avi"], "'avi'"),
    (["animate", "good.nc", "--clock", "epoch"], "clock must be one of time, was 'epoch'"),
    (["animate", "good.nc", "--frames", "1"], "frames must be at least 2 and at most 2000, was 1"),
    (["animate", "good.nc", "--frames", "many"], "'many'"),
    (["draw", "unit-parabola"], "record must be a complete netCDF file, was 'records/unit-parabola.nc'"),
    (["draw", "unit-parabola", "--out", "nowhere"], "record must be an existing file, was 'nowhere/unit-parabola.nc'"),
    (["draw", "nowhere.py"], "scenario must be a name or an existing .py file, was 'nowhere.py'"),
    (["sweep", "unit-parabola", "--seeds", "0:2", "--vmap"], "vmap must be left out for unit-parabola"),
    (["run", "empty.py"], "must define exactly one subclass of gfsim.Scenario, was 0"),
    (["run", "broken.py"], "must import, was stopped by SyntaxError"),
    (["run", "binary.py"], "must import, was stopped by"),
    (["run", "raises.py"], "must import, was stopped by ZeroDivisionError: division by zero"),
    (["run", "script"], "unit-parabola, or a .py file, was 'script'"),
    (["run", "."], "unit-parabola, or a .py file, was '.'"),
    (["run", ""], "or a .py file, was ''"),
    (["run", "unit-parabola", "--points", "1e99"], "'1e99'"),
    (["run", "unit-parabola", "--points", "3.5"], "'3.5'"),
    (["run", "unit-parabola", "--slope", "steep"], "'steep'"),
    (["run", "unit-parabola", "--seed", "0.5"], "'0.5'"),
    (["run", "unit-parabola", "--rtol", "inf"], "rtol must lie between 0 and 1, was inf"),
    (["run", "unit-parabola", "--rtol", "1"], "rtol must lie between 0 and 1, was 1.0"),
    (["run", "unit-parabola", "--confirm", "maybe"], "maybe"),
    (
        ["run", "unit-parabola", "--out", "script"],
        "out must be, or lie in, a folder that can be written to, was 'script'",
    ),
    (["cite"], "cite must be given a scenario's name"),
    (["cite", "nowhere.py"], "was 'nowhere.py'"),
    (["compare"], "FILE"),
    (["compare", "problem.py", "--step-sizes", "0.1"], "--t1"),
    (["compare", "problem.py", "--t1", "1"], "--step-sizes"),
    (["compare", "nowhere.py", "--t1", "1", "--step-sizes", "0.1"], "file must be an existing Python file"),
    (["compare", "three.py", "--t1", "1", "--step-sizes", "0.1"], "must define problem, a gf.Problem, was int"),
    (["compare", "raises.py", "--t1", "1", "--step-sizes", "0.1"], "was stopped by ZeroDivisionError"),
    (["compare", "problem.py", "--t1", "soon", "--step-sizes", "0.1"], "'soon'"),
    (["compare", "problem.py", "--t1", "-1", "--step-sizes", "0.1"], "t1 must be a positive finite number, was -1.0"),
    (["compare", "problem.py", "--t1", "1", "--step-sizes", "0.2", "0.1"], "step_sizes must be positive, finite and"),
    (["compare", "problem.py", "--t1", "1", "--step-sizes", "0.1", "--models", "fluw"], "models must be flow,"),
    (["compare", "start.py", "--t1", "1", "--step-sizes", "0.1"], "theta0 must have shape (2,) or (B, 2), was (7,)"),
    (["doctor", "--loud"], "--loud"),
    (["list", "all"], "all"),
    (["--version", "doctor"], "command must be one of"),
    (["animate", "x.nc", "--format", "png"], "Expected one of ('gif', 'mp4'). (see gfsim animate --help)"),
    (["RUN", "unit-parabola"], "command must be one of"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=[" ".join(arguments) for arguments, _ in BAD])
def test_one_line_exit_2_and_nothing_left(desk, capsys, arguments, message):
    before = {path: path.read_bytes() for path in desk.rglob("*") if path.is_file()}
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("gfsim: ")
    assert printed.err.count("\n") == 1
    assert message in printed.err
    after = {path: path.read_bytes() for path in desk.rglob("*") if path.is_file() and path.suffix != ".pyc"}
    assert after == before


@pytest.mark.parametrize("stop", [KeyboardInterrupt, OSError])
@pytest.mark.parametrize("command", ["view", "animate", "run"])
def test_an_interrupted_write_leaves_the_old_file(desk, capsys, monkeypatch, command, stop):
    target, arguments = {
        "view": ("good.html", ["view", "good.nc"]),
        "animate": ("good.gif", ["animate", "good.nc", "--frames", "2"]),
        "run": ("records/unit-parabola.nc", ["run", "unit-parabola"]),
    }[command]
    (desk / target).write_text("old")

    def stopped(path, *arguments, **options):
        raise stop("no space left")

    monkeypatch.setattr("pathlib.Path.replace", stopped)
    assert main(arguments) == (130 if stop is KeyboardInterrupt else 2)
    assert capsys.readouterr().err.splitlines()[-1].startswith("gfsim: ")
    assert (desk / target).read_text() == "old"
    assert list((desk / target).parent.glob(".*")) == []


WORDS = st.one_of(
    st.sampled_from(["--points", "--slope", "--seed", "--rtol", "--confirm", "--table", "tex", "--reduced", "--out"]),
    st.floats().map(str),
    st.integers().map(str),
    st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=8),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fuzzed(Scenario):
    """Anything."""

    points: int = 11
    slope: float = 2.0

    def simulate(self):
        raise AssertionError

    def claims(self, record):
        return []


@settings(max_examples=60)
@given(st.lists(WORDS, max_size=5))
def test_any_configuration_is_parsed_or_refused_in_one_line(words):
    if {"-h", "--help"} & set(words):
        return
    scenario, refusal = None, ""
    try:
        scenario, _ = parse_run("fuzzed", Fuzzed, words)
    except ValueError as error:
        refusal = str(error)
    if scenario is None:
        assert refusal.strip()
        assert len(refusal.splitlines()) == 1
    else:
        assert isinstance(scenario.points, int)
        assert 0 < scenario.rtol < 1
        assert scenario.seed >= 0


@settings(max_examples=60)
@given(st.data())
def test_any_damage_to_a_record_is_refused_or_harmless(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("damage") / "run.nc"
    content = bytearray(good_record(tmp_path_factory))
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, min(len(content), 2000) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    record, refusal = None, ""
    try:
        record = load_record(path)
    except ValueError as error:
        refusal = str(error)
    if record is None:
        assert re.fullmatch("record must be .*", refusal)
    else:
        assert record.attrs["gfsim_record"] == 1


def good_record(factory) -> bytes:
    path = factory.getbasetemp() / "good.nc"
    if not path.exists():
        save_record(RUNNING, path, {"gfsim_record": 1, "scenario": "x", "configuration": json.dumps({"a": 1})})
    return path.read_bytes()
