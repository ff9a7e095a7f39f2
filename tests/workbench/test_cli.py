"""The command line, run in this process on scenarios that solve nothing."""

import json
import os
import re
import subprocess
import sys

import pytest
import xarray

import gfsim
from gfsim.workbench import load_record, save_record
from gfsim.workbench.cli import main
from tests.workbench.conftest import SCENARIO, files_in

FIGURES = [f"figures/out/unit-parabola.{suffix}" for suffix in ("pdf", "png", "svg")]


def write_scenario(house, name: str, old: str, new: str) -> str:
    """The fixture's scenario with one passage replaced, as a file beside the folders."""
    assert old in SCENARIO
    (house / name).write_text(SCENARIO.replace(old, new))
    return name


def test_run_solves_saves_checks_and_draws(house, capsys):
    assert main(["run", "unit-parabola"]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert "squaring" in printed.out
    assert "3 of 3 claims hold" in printed.out
    for path in ("records/unit-parabola.nc", *FIGURES):
        assert (house / path).stat().st_size > 0
        assert path in printed.out


def test_json_is_one_object_and_nothing_else(house, capsys):
    assert main(["run", "unit-parabola", "--json"]) == 0
    printed = capsys.readouterr()
    result = json.loads(printed.out)
    assert list(result) == ["scenario", "record", "figures", "outcome", "seconds", "claims"]
    assert result["scenario"] == "unit-parabola"
    assert result["record"] == "records/unit-parabola.nc"
    assert result["figures"] == FIGURES
    assert result["outcome"] == "reached_end"
    assert result["claims"][1] == {
        "name": "slope", "source": "calculus", "predicted": 2.0, "measured": 2.0, "tolerance": 0.01,
        "relation": "close", "scale": "relative", "holds": True,
    }  # fmt: skip
    # Whoever reads the record needs no scenario for its claims.
    assert json.loads(load_record("records/unit-parabola.nc").attrs["claims"]) == result["claims"]
    # What the scenario prints goes to standard error; its progress is silent.
    assert printed.err == "a scenario prints\n"


def test_options_may_come_before_the_name(house, capsys):
    assert main(["run", "--json", "--out", "there", "unit-parabola", "--points", "5"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["record"] == "there/unit-parabola.nc"
    assert load_record(house / result["record"]).sizes["x"] == 5


def test_claims_are_checked_on_what_the_file_holds(house, capsys):
    mine = write_scenario(house, "mine.py", 'record["y"][-1]', 'record.attrs["gfsim_record"]')
    assert main(["run", mine]) == 0


def test_a_failing_claim_exits_1_after_saving_and_drawing(house, capsys):
    assert main(["run", "unit-parabola", "--slope", "3"]) == 1
    out = capsys.readouterr().out
    assert "2 of 3 claims hold" in out
    assert re.search(r"slope +calculus +(= )?2 .* NO", out)
    assert files_in(house)[-1] == "records/unit-parabola.nc"


def test_nan_is_null_and_fails(house, capsys):
    assert main(["run", "unit-parabola", "--slope", "nan", "--json"]) == 1
    slope = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)["claims"][1]
    assert slope["measured"] is None
    assert slope["holds"] is False


def test_reduced_uses_other_files_and_can_be_overridden(house, capsys):
    assert main(["run", "unit-parabola", "--reduced"]) == 0
    assert load_record("records/unit-parabola-reduced.nc").sizes["x"] == 3
    assert main(["run", "unit-parabola", "--reduced", "--points", "4"]) == 0
    assert load_record("records/unit-parabola-reduced.nc").sizes["x"] == 4
    assert not (house / "records/unit-parabola.nc").exists()
    assert (house / "figures/out/unit-parabola-reduced.pdf").exists()


def test_confirm_accepts_what_stays_and_refuses_what_moves(house, capsys):
    assert main(["run", "unit-parabola", "--confirm", "--json"]) == 0
    moved = [claim["moved"] for claim in json.loads(capsys.readouterr().out)["claims"]]
    assert moved == [0, 0, pytest.approx(9e-4)]
    # drift = 1e3·rtol = 5e-3 holds by itself, and moves by 4.5e-3, more than a third of its tolerance 1e-2.
    assert main(["run", "unit-parabola", "--rtol", "5e-6"]) == 0
    capsys.readouterr()
    assert main(["run", "unit-parabola", "--rtol", "5e-6", "--confirm", "--json"]) == 1
    assert [claim["holds"] for claim in json.loads(capsys.readouterr().out)["claims"]] == [True, True, False]


def test_table_tex(house, capsys):
    assert main(["run", "unit-parabola", "--table", "tex"]) == 0
    out = capsys.readouterr().out
    assert r"y(1) \& more & algebra & $= 1$ & $1$ & 0.0001 \% & yes \\" in out
    # The table alone, to be redirected into a file.
    assert out.startswith(r"\begin{tabular}")
    assert out.rstrip().endswith(r"\end{tabular}")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "return xarray.Dataset(",
            "return (lambda *parts: {})(",
            r"Parabola\.simulate must return an xarray\.Dataset, was dict",
        ),
        ('"drift": 1e3 * self.rtol})', '"drift": 0}) and None', r"Parabola\.simulate must return .*, was None"),
        ("return [", "[", r"Parabola\.claims must return a list of gfsim\.Claim, was None"),
        (
            'gf.Claim("drift", "numerics", 0.0,',
            "max(0.0,",
            r"Parabola\.claims must return .*, was \['Claim', 'float64'\]",
        ),
    ],
)
def test_what_a_scenario_must_return_is_one_line(house, capsys, old, new, message):
    mine = write_scenario(house, "mine.py", old, new)
    if "max" in new:
        (house / mine).write_text((house / mine).read_text().replace(', 1e-2, scale="absolute")', ")"))
    assert main(["run", mine, "--json"]) == 2
    assert re.search(f"^gfsim: {message}$", capsys.readouterr().err, re.MULTILINE)


def test_a_refusal_of_the_library_names_the_line_that_asked_for_it(house, capsys):
    mine = write_scenario(house, "mine.py", "x = np.linspace", "gf.log_spaced(1.0, 0.5, 3)\n        x = np.linspace")
    number = 1 + (house / mine).read_text().splitlines().index("        gf.log_spaced(1.0, 0.5, 3)")
    assert main(["run", mine]) == 2
    refusal = rf"gfsim: t0, t1 must satisfy 0 < t0 < t1 < inf, were 1.0, 0.5 \(.*/{mine}, line {number}\)"
    assert re.search(f"^{refusal}$", capsys.readouterr().err, re.MULTILINE)
    # What the file itself refuses says what it has to.
    assert main(["run", "unit-parabola", "--points", "1"]) == 2
    assert "line" not in capsys.readouterr().err


def test_what_another_library_refuses_a_scenario_is_the_scenarios_own_error(house, capsys):
    mine = write_scenario(
        house, "mine.py", "x = np.linspace", "xarray.Dataset({'a': 1}).isel(t=3)\n        x = np.linspace"
    )
    assert main(["run", mine]) == 3
    assert "Traceback" in capsys.readouterr().err


def test_a_docstring_is_no_markup(house, capsys):
    write_scenario(house, "scenarios/marked.py", "The square of one is one.", "All of [a, b] and of [/0, 1] is one.")
    assert main(["list"]) == 0
    assert "All of [a, b] and of [/0, 1] is one." in capsys.readouterr().out


def test_a_record_of_no_scenario_is_not_drawn(house, capsys):
    save_record(xarray.Dataset({"y": 1.0}), "records/unit-parabola.nc")
    assert main(["draw", "unit-parabola"]) == 2
    assert "record must be of unit-parabola, was of no scenario" in capsys.readouterr().err


def test_a_figure_that_is_none_leaves_no_file(house, capsys):
    script = house / "figures/unit_parabola.py"
    script.write_text(script.read_text().replace("return fig", "return [fig, 3]"))
    assert main(["run", "unit-parabola"]) == 2
    assert re.search(
        r"figure of .*unit_parabola\.py must return matplotlib figures or None, was int", capsys.readouterr().err
    )
    assert files_in(house) == ["figures/unit_parabola.py", "records/unit-parabola.nc"]


def test_a_figure_that_cannot_be_drawn_is_an_accident_of_its_file(house, capsys):
    figure = house / "figures/unit_parabola.py"
    figure.write_text(
        "from matplotlib.figure import Figure\n\n\ndef figure(record, venue):\n    drawn = Figure()\n"
        "    drawn.suptitle('$\\\\frac{$')\n    return drawn\n"
    )
    assert main(["run", "unit-parabola"]) == 3
    errors = capsys.readouterr().err
    assert re.search(r"what figure of .*unit_parabola\.py returned could not be drawn", errors)
    assert "Traceback" in errors
    assert files_in(house) == ["figures/unit_parabola.py", "records/unit-parabola.nc"]


def test_a_finished_run_leaves_the_checkpoints_of_other_configurations(house, capsys):
    solve = """gf.simulate(
            gf.GradientFlow(gf.Problem.from_loss(lambda x: x @ x, np.ones(1))), np.ones(1), float(self.points)
        )
        if self.slope == 3.0:
            raise RuntimeError("a power cut")
        x = np.linspace"""
    mine = write_scenario(house, "mine.py", "x = np.linspace", solve)
    assert main(["run", mine, "--slope", "3"]) == 3
    left = list((house / "records/mine.unfinished").rglob("*.checkpoint"))
    assert len(left) == 1
    assert main(["run", mine, "--points", "5"]) == 0
    assert list((house / "records/mine.unfinished").rglob("*.checkpoint")) == left
    (house / mine).write_text((house / mine).read_text().replace("3.0", "4.0"))
    assert main(["run", mine, "--slope", "3"]) == 1
    assert not (house / "records/mine.unfinished").exists()


def test_a_scenario_edited_within_a_second_is_read_anew(house, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    mine = house / write_scenario(house, "mine.py", "x = np.linspace", "x = 0 * np.linspace")
    times = (mine.stat().st_atime_ns, mine.stat().st_mtime_ns)
    assert main(["run", "mine.py"]) == 1
    mine.write_text(mine.read_text().replace("x = 0 *", "x = 1 *"))
    os.utime(mine, ns=times)
    assert main(["run", "mine.py"]) == 0
    assert not list(house.glob("__pycache__/mine*"))


def test_draw_repeats_byte_for_byte_without_solving(house, capsys):
    assert main(["run", "unit-parabola"]) == 0
    drawn = {path: (house / path).read_bytes() for path in FIGURES}
    scenario = house / "scenarios/unit_parabola.py"
    scenario.write_text(scenario.read_text().replace("x = np.linspace", "raise RuntimeError; x = np.linspace"))
    assert main(["draw", "unit-parabola"]) == 0
    assert {path: (house / path).read_bytes() for path in FIGURES} == drawn
    # Dates have a resolution of a second: equal bytes alone could be luck.
    assert not any(b"Date" in content for content in drawn.values())
    assert main(["draw", "unit-parabola", "--venue", "icml"]) == 0
    assert (house / FIGURES[2]).read_bytes() != drawn[FIGURES[2]]


def test_a_figure_lies_beside_a_foreign_scenario(house, capsys):
    (house / "mine.py").write_text(SCENARIO)
    (house / "figures/unit_parabola.py").rename(house / "mine_figure.py")
    assert main(["run", "mine.py", "--json", "--out", "here"]) == 0
    assert json.loads(capsys.readouterr().out)["figures"] == [f"here/mine.{suffix}" for suffix in ("pdf", "png", "svg")]


def test_a_scenario_needs_no_figure_until_it_is_drawn(house, capsys):
    (house / "figures/unit_parabola.py").unlink()
    assert main(["run", "unit-parabola", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["figures"] == []
    assert main(["draw", "unit-parabola"]) == 2


def test_list_shows_names_and_claims(house, capsys):
    (house / "scenarios/broken.py").write_text("def (")
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(re.match(r"unit-parabola +The square of one is one\.$", line.rstrip()) for line in lines)
    assert any(line.startswith("broken ") and "unreadable" in line for line in lines)


def test_cite_names_every_paper_of_the_docstring(house, capsys):
    assert main(["cite", "unit-parabola"]) == 0
    out = capsys.readouterr().out
    keys = re.findall(r"^@\w+\{(\S+),$", out, re.MULTILINE)
    assert keys[:2] == ["kumar2024early", "arxiv299912345"]
    assert {"sommeijer1998rkc", "kidger2021on", "gfsim"} <= set(keys)
    assert out.count("{") == out.count("}")


def test_help_of_a_scenario_shows_its_fields(house, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["run", "unit-parabola", "--help"])
    assert stop.value.code in (0, None)
    out = capsys.readouterr().out
    for words in ("--points INT", "How many points.", "--rtol FLOAT", "--confirm", "The square of one is one."):
        assert words in out


def test_a_reader_that_has_seen_enough():
    read, write = os.pipe()
    os.close(read)
    run = "import sys; from gfsim.workbench.cli import main; sys.exit(main(['list']))"
    done = subprocess.run([sys.executable, "-c", run], stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


def test_the_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"gfsim {gfsim.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["frob"],
            "command must be one of list, .*, animate, doctor, or --version, was 'frob'",
        ),
        (["run"], "run must be given a scenario's name .* was given none"),
        (["draw", "--venue", "icml"], "draw must be given a scenario's name .* was given none"),
        (["run", "unit-parabla"], r"scenario must be one of .*was 'unit-parabla' \(did you mean 'unit-parabola'\?\)"),
        (["run", "nowhere.py"], "scenario must be a name or an existing .py file, was 'nowhere.py'"),
        (["cite", "nothing"], "scenario must be one of .*, was 'nothing'"),
        (["run", "unit-parabola", "--pionts", "3"], ".*--pionts.*"),
        (["run", "unit-parabola", "7"], ".*7.*"),
        (["run", "unit-parabola", "--points", "many"], ".*--points.*'many'.*"),
        (["run", "unit-parabola", "--points"], ".*--points.*"),
        (["run", "unit-parabola", "--points", "1"], "points must be at least 2, was 1.*"),
        (["run", "unit-parabola", "--rtol", "0"], "rtol must lie between 0 and 1, was 0.0.*"),
        (["run", "unit-parabola", "--rtol", "nan"], "rtol must lie between 0 and 1, was nan.*"),
        (["run", "unit-parabola", "--seed", "-1"], "seed must be at least 0, was -1.*"),
        (["run", "unit-parabola", "--table", "html"], ".*'html'.*--table.*'text', 'tex'.*"),
        (["run", "unit-parabola", "--venue", "nowhere"], "venue must be one of neurips, .*, was 'nowhere'"),
        (["draw", "unit-parabola", "--venue", "nowhere"], "venue must be one of neurips, .*, was 'nowhere'"),
        (["draw", "unit-parabola"], "record must be an existing file, was 'records/unit-parabola.nc'"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(house, capsys, arguments, message):
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert re.fullmatch(f"gfsim: {message}\n", printed.err), printed.err
    assert files_in(house) == ["figures/unit_parabola.py"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("import numpy as np", "import nonexistent", "must import, was stopped by ModuleNotFoundError"),
        ("class Parabola(gf.Scenario)", "class Parabola", "must define exactly one subclass of gfsim.Scenario, was 0"),
        ("    def claims", "    def assertions", "must define simulate and claims, was without claims"),
        ("@dataclasses", "# @dataclasses", "must be decorated with @dataclasses.dataclass"),
        ('gf.Claim("slope"', 'gf.Claim("drift"', "Parabola.claims must have different names"),
        ('"slope", "calculus"', '"slope", ""', "source of a claim must be a non-empty string"),
        ('"outcome": "reached_end"', '"scenario": "x"', "attributes of a record must leave .* was scenario"),
        ("self.announce(", "raise ValueError('data must be finite, was NaN'); (", "data must be finite, was NaN"),
        (
            "self.announce(",
            "open('nowhere.csv'); (",
            r"No such file or directory: 'nowhere.csv' \(.*mine.py, line \d+\)",
        ),
    ],
)
def test_a_defective_scenario_is_one_line_and_exit_2(house, capsys, old, new, message):
    assert main(["run", write_scenario(house, "mine.py", old, new), "--json"]) == 2
    err = capsys.readouterr().err.replace("a scenario prints\n", "")
    assert err.count("\n") == 1
    assert re.search(message, err)


@pytest.mark.parametrize(
    ("accident", "code"), [("1 / 0", 3), ("int('x')", 3), ("raise KeyboardInterrupt", 130), ("raise MemoryError", 3)]
)
def test_an_accident_keeps_its_traceback_and_leaves_no_record(house, capsys, accident, code):
    mine = write_scenario(house, "mine.py", "x = np.linspace(0, 1, self.points)", accident)
    assert main(["run", mine]) == code
    assert ("Traceback" in capsys.readouterr().err) is (code == 3)
    assert files_in(house) == ["figures/unit_parabola.py"]


def test_draw_refuses_the_record_of_another_scenario(house, capsys):
    assert main(["run", "unit-parabola"]) == 0
    (house / "scenarios/other.py").write_text(SCENARIO)
    (house / "records/other.nc").write_bytes((house / "records/unit-parabola.nc").read_bytes())
    capsys.readouterr()
    assert main(["draw", "other"]) == 2
    assert capsys.readouterr().err == "gfsim: record must be of other, was of unit-parabola (records/other.nc)\n"
