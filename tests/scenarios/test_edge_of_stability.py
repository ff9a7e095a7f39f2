"""The claims react to the record, bad input is one line, and the figure needs the record alone."""

import dataclasses

import numpy as np
import pytest
import xarray

from figures.edge_of_stability import figure
from scenarios.edge_of_stability import CASES, SHARPENING, UNSEEDED, EdgeOfStability
from tests.drawing import check_figure

pytestmark = pytest.mark.slow

STEPS = 201


@pytest.fixture
def record() -> xarray.Dataset:
    """What a solve would leave if theory held exactly; the controls, in the last two places, fail as they should."""
    cases = [*CASES, UNSEEDED, SHARPENING]
    count, step = len(cases), np.arange(STEPS)
    curve = np.tile(1 / (1 + 0.01 * step), (count, 1))
    edge = np.array([8.0, 16.0, 20.0, 9.0, 8.0, 4.0])
    moments = np.arange(0, STEPS, 5)
    sharpness = np.ones((count, 3, moments.size)) * edge[:, None, None]
    sharpness[:, 1] *= 1 + 0.01 * moments
    off = np.array([0.1, 0.1, 0.35, 0.1, 0.3, 0.9])
    return xarray.Dataset(
        {
            **dict.fromkeys(("descent_loss", "flow_loss", "predicted_loss"), (("case", "step"), curve)),
            "central_loss": (("case", "step"), curve),
            "to_flow": (("case", "step"), np.tile(0.01 * step, (count, 1))),
            "to_central": (("case", "step"), off[:, None] * 0.01 * step),
            "variance": (("case", "step"), np.ones((count, STEPS))),
            "moment_step": (("case", "moment"), np.tile(moments, (count, 1))),
            "sharpness": (("case", "dynamics", "moment"), sharpness),
            "edge": ("case", edge),
            "crossing": ("case", np.ones(count)),
            "loss_ratio": ("case", np.ones(count)),
            "variance_ratio": ("case", np.array([1.0, 1.0, 1.0, 1.0, 0.3, 1e-3])),
        },
        {"case": cases, "dynamics": ["gradient descent", "gradient flow", "central flow"]},
    )


def failed(record: xarray.Dataset) -> list[str]:
    return [claim.name for claim in EdgeOfStability().claims(record) if not claim.holds]


def test_theory_itself_holds(record):
    assert failed(record) == []
    assert len(EdgeOfStability().claims(record)) == 4 * len(CASES) + 3
    few = record.isel(case=[0, 4])
    assert all(claim.holds for claim in EdgeOfStability().reduced().claims(few))


SPOILS = {
    "to_central": ([1, 6, 1, 1, 1, 1], 2),
    "loss_ratio": ([1, 1, 1.06, 1, 1, 1], 1),
    "variance_ratio": ([0.9, 1, 1, 1, 3, 1], 2),
    "sharpness": ([1, 1, 1, 1.02, 1, 1], 1),
    "to_flow": ([1, 1, 1, 1, 1, 3], 1),
}


@pytest.mark.parametrize("name", SPOILS)
def test_every_claim_reacts(record, name):
    factors, least = SPOILS[name]
    record[name] = record[name] * xarray.DataArray(np.array(factors), dims="case")
    assert len(failed(record)) >= least
    record[name] = record[name] * np.nan
    assert len(failed(record)) >= least


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("steps", 50, "steps must lie between 100 and 5000, was 50"),
        ("substeps", 0, "substeps must lie between 1 and 32, was 0"),
        ("rtol", -1.0, "rtol must lie between 0 and 1"),
    ],
)
def test_bad_input_is_one_line(field, value, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(EdgeOfStability(), **{field: value})


@pytest.mark.parametrize("cases", [6, 2])
def test_figure(record, cases):
    check_figure(figure, record.isel(case=slice(cases)), "icml", 3 * cases)
