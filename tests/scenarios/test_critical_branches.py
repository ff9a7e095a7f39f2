"""The claims react to the record, bad input is one line, and the figure needs the record alone."""

import dataclasses

import numpy as np
import pytest
import xarray

from figures.critical_branches import figure
from scenarios.critical_branches import JUNCTIONS, SPAN, STRATA, CriticalBranches
from tests.drawing import check_figure

pytestmark = pytest.mark.slow

INERTIA = [(3, 0, 1), (2, 1, 1), (3, 1, 0), (3, 1, 0), (4, 0, 2), (3, 1, 2), (2, 2, 2), (4, 1, 1), (3, 2, 1), (4, 2, 0)]


@pytest.fixture
def record() -> xarray.Dataset:
    """What a solve would leave if every prediction came out."""
    measured = np.array([*INERTIA, (2, 0, 2), (3, 0, 3)])
    kinds = np.array(["strict saddle"] * 12, dtype="<U18")
    kinds[[0, 4]], kinds[10:] = "degenerate minimum", "non-strict saddle"
    fate = np.tile([0.0, 0.2, 0.8], (12, 1))
    fate[[0, 4]], fate[10:], fate[5:10] = (1, 0, 0), (0.5, 0.1, 0.4), np.nan
    random = np.tile([[[3, 1, 2], [3, 1, 2]]], (6, 10, 1, 1))
    axis = np.linspace(-1, 1, 5)
    return xarray.Dataset(
        {
            "predicted": (("stratum", "sign"), np.array(INERTIA)),
            "measured": (("point", "sign"), measured),
            "kind": ("point", kinds),
            "dimension": (("point", "way"), np.repeat(measured[:, 2:], 2, axis=1)),
            "fate": (("point", "end"), fate),
            "random": (("shape", "case", "way", "sign"), random),
            "value": 1.440803,
            "residual": -0.583784,
            "weight": 1.026104,
            "dead": 0.123265,
            "correlation": ("v", axis**3),
            "loss": (("at", "a2", "w2"), 1.44 + 0.01 * axis[:, None] * np.ones((3, 5, 5))),
            "centre": (("at", "coordinate"), np.ones((3, 2))),
            "wrong_correlation": -0.25,
            "wrong_gradient": 0.25,
        },
        {
            "point": [*STRATA, *JUNCTIONS],
            "stratum": list(STRATA),
            "end": ["returned", "lower", "infinity"],
            "sign": ["+", "-", "0"],
            "v": axis,
            "w2": SPAN[0] * axis,
            "a2": SPAN[1] * axis,
        },
    )


def failed(record: xarray.Dataset) -> list[str]:
    return [claim.name for claim in CriticalBranches().claims(record) if not claim.holds]


def test_the_predictions_themselves_hold(record):
    assert failed(record) == []


SPOILS = {
    "value": (lambda x: x + 1e-4, 1),
    "residual": (lambda x: x + 1e-4, 1),
    "weight": (lambda x: x + 1e-4, 1),
    "dead": (lambda x: x + 4e-4, 1),
    "predicted": (lambda x: x + np.eye(3, dtype=int)[0], 1),
    "random": (lambda x: x + np.eye(2, dtype=int)[0][:, None], 1),
    "dimension": (lambda x: x + np.array([0, 1]), 1),
    "measured": (lambda x: x + 1, 2),
    "kind": (lambda x: x.str.replace("non-strict", "strict").str.replace("degenerate ", ""), 2),
    "wrong_gradient": (lambda x: 0.1 * x, 2),
    "fate": (lambda x: x * 0.9 + 0.02, 3),
}


@pytest.mark.parametrize("name", SPOILS)
def test_every_claim_reacts(record, name):
    spoil, least = SPOILS[name]
    record[name] = spoil(record[name])
    assert len(failed(record)) >= least


def test_junctions_must_do_both(record):
    record["fate"].values[10:] = (1.0, 0.0, 0.0)
    assert failed(record) == ["returned, junction: not all"]
    record["fate"].values[10:] = (0.0, 0.0, 1.0)
    assert failed(record) == ["returned, junction: some"]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("cases", 7, "cases must be a positive multiple of 6, was 7"),
        ("perturbations", 3, "perturbations must lie between 10 and 100000, was 3"),
        ("clock", 1.0, "clock must lie between 100 and 1e7, was 1.0"),
        ("widest", 4, "widest must be 2 or 3, was 4"),
    ],
)
def test_bad_input_is_one_line(field, value, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        dataclasses.replace(CriticalBranches(), **{field: value})


def test_figure(record):
    check_figure(figure, record, "icml", 3 + 1 + 3)
