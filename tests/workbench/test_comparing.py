"""`gfsim compare` on a file of one's own: table, record, refusals in one line."""

import pytest

from gfsim.workbench.cli import main
from gfsim.workbench.record import load_record

PROBLEM = """
import jax.numpy as jnp
import gfsim as gf

problem = gf.Problem.from_loss(lambda x: jnp.sum(jnp.cosh(x)), jnp.array([1.0, -0.5]))
theta0 = jnp.array([0.8, 0.2])
"""


def test_table_and_record(tmp_path, capsys):
    file = tmp_path / "valley.py"
    file.write_text(PROBLEM)
    arguments = ["--t1", "1", "--step-sizes", "0.05", "0.1", "--models", "flow", "--out", str(tmp_path)]
    assert main(["compare", str(file), *arguments]) == 0
    shown = capsys.readouterr().out
    assert "order at the end" in shown
    assert "reached_end" in shown
    record = load_record(tmp_path / "valley-compare.nc")
    assert record["distance"].sizes == {"step_size": 2, "model": 1, "row": 11}
    assert float(record["order"][0]) == pytest.approx(1, abs=0.1)
    assert record["regime"].values[0, 0] == "flow"


@pytest.mark.parametrize(
    ("content", "arguments", "message"),
    [
        (None, [], "gfsim: file must be an existing Python file, was"),
        ("x = 1", [], "must define problem, a gf.Problem, was NoneType"),
        (PROBLEM, ["--step-sizes", "0.1", "0.05"], "gfsim: step_sizes must be positive, finite and increasing"),
        (PROBLEM, ["--models", "heavy-ball"], "gfsim: models must be flow, modified-k"),
        (
            PROBLEM,
            ["--step-sizes", "0.9", "--models", "modified-1"],
            "gfsim: step_size of a modified flow must be below",
        ),
    ],
)
def test_refusals_are_one_line(tmp_path, capsys, content, arguments, message):
    file = tmp_path / "mine.py"
    if content is not None:
        file.write_text(content)
    given = {"--t1": ["4"], "--step-sizes": ["0.05"]}
    options = [part for name, values in given.items() if name not in arguments for part in (name, *values)]
    assert main(["compare", str(file), *options, *arguments, "--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not list(tmp_path.glob("*.nc"))
