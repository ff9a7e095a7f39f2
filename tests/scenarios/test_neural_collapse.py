"""The claims react to the record, bad input is one line, and the figure needs the record alone."""

import dataclasses

import numpy as np
import pytest
import xarray

import gfsim as gf
from figures.neural_collapse import figure
from gfsim.verification.collapse import simplex_margin
from scenarios.neural_collapse import CASES, DIGITS, SKEWED, SQUARE, NeuralCollapse
from tests.drawing import check_figure

pytestmark = pytest.mark.slow


def lawful_case(case: str) -> xarray.Dataset:
    """A run on which every law holds without corrections, with √K‖w̄‖ = 1.2."""
    depth, classes = np.geomspace(1, 300, 60), 10 if case == DIGITS else 4
    reached = {SQUARE: 0.75, DIGITS: 0.5}.get(case, 1.0)
    size = depth / (reached * simplex_margin(classes))
    nc2 = {SQUARE: np.full(60, 2 / 3), SKEWED: 0.5 / size}.get(case, np.exp(-depth / 20))
    return xarray.Dataset(
        {
            "log_loss": ("row", -depth),
            "log_time": ("row", depth),
            "margin": ("row", depth),
            "classifier_norm": ("row", size),
            "nc1": ("row", np.exp(-depth)),
            "nc2": ("row", nc2),
            "nc3": ("row", 1.2 / size),
            "nc4": ("row", np.where(depth < 5, 0.1, 0.0)),
            "classes": classes,
            "mean_row": 1.2,
            "mean_row_moved": 0.0,
        }
    )


@pytest.fixture
def record() -> xarray.Dataset:
    return xarray.concat([lawful_case(case) for case in CASES], dim=xarray.IndexVariable("case", list(CASES)))


def failed(record: xarray.Dataset) -> list[str]:
    return [claim.name for claim in NeuralCollapse().claims(record) if not claim.holds]


def test_every_claim_holds_on_lawful_data(record):
    assert failed(record) == []
    for claim in NeuralCollapse().claims(record):
        assert "arXiv" in claim.source
        assert len(claim.name) <= 52


@pytest.mark.parametrize(
    ("name", "factor", "claims"),
    [
        ("nc1", 1e135, {"simplex: NC1", "unequal classes: NC1", f"{SQUARE}: NC1", "digits: NC1, last row/first"}),
        ("nc3", 1.02, {"simplex: NC3·‖W‖/(√K‖w̄‖)", f"{SQUARE}: NC3·‖W‖/(√K‖w̄‖)"}),
        (
            "margin",
            1.01,
            {"simplex: q_min/‖W‖·(K−1)/√K", f"{SQUARE}: q_min/‖W‖·(K−1)/√K"},
        ),
        ("margin", 0.99, {"unequal classes: what the margin lacks · |log 𝓛|"}),
        ("nc2", 1e4, {"simplex: NC2 at the end", f"{SQUARE}: NC2, the square's", f"{SKEWED}: power of ‖W‖ in NC2"}),
    ],
)
def test_a_spoiled_last_row_is_seen(record, name, factor, claims):
    values = record[name].copy(deep=True)
    values[:, -1] *= factor
    assert claims <= set(failed(record.assign({name: values})))


def test_a_moved_mean_row_and_late_errors_are_seen(record):
    assert len(failed(record.assign(mean_row_moved=record["mean_row_moved"] + 10.0))) == len(CASES)
    assert len(failed(record.assign(nc4=record["nc4"] + 0.01))) == len(CASES)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("cases", (), "cases must be one or more of"),
        ("depth", 10.0, "depth must lie between 50 and 100000, was 10.0"),
        ("width", 9, "width must lie between 10 and 200, was 9"),
        ("every", 0, "every must lie between 1 and 30, was 0"),
    ],
)
def test_bad_input_is_one_line(field, value, message):
    with pytest.raises(ValueError, match=f"^{message}") as raised:
        dataclasses.replace(NeuralCollapse(), **{field: value})
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("venue", ["neurips", "icml"])
def test_figure(record, venue):
    check_figure(figure, record, venue, 4)


def test_reduced_is_a_scenario():
    assert isinstance(NeuralCollapse().reduced(), gf.Scenario)
