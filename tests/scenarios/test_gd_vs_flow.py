"""The claims react to the record, bad input is one line, and the figure needs the record alone."""

import dataclasses

import numpy as np
import pytest
import xarray

from figures.gd_vs_flow import figure
from scenarios.gd_vs_flow import CASES, MODELS, GdVsFlow
from tests.drawing import check_figure

pytestmark = pytest.mark.slow


@pytest.fixture
def record() -> xarray.Dataset:
    """What a solve would leave if every law held exactly."""
    eta, escape = np.array([0.0125, 0.025, 0.05]), np.array([0.1, 0.3, 0.6])
    local, ends = np.arange(2.0, 5.0), np.arange(1.0, 4.0)
    distance = np.stack([eta[:, None] ** local, eta[:, None] ** ends], axis=-1)
    drift = np.linspace(0, 1e-3, 51)[:, None] * np.array([1.0, -0.5])
    return xarray.Dataset(
        {
            "distance": (("case", "step_size", "model", "row"), np.stack([distance] * 3)),
            "local_order": (("case", "model"), np.tile(local, (3, 1))),
            "order": (("case", "model"), np.tile(ends, (3, 1))),
            "quadratic_error": 1e-13,
            "control_distance": 0.9**5,
            "drift_time": ("moment", np.linspace(0, 10, 51)),
            "drift": (("moment", "neuron"), drift),
            "drift_predicted": (("moment", "neuron"), drift),
            "escape_ratio": ("escape_step", escape / np.log1p(escape)),
            "flow_gradients": ("horizon", [3000, 8000, 20000]),
            "descent_gradients": ("horizon", [600.0, 6000.0, 60000.0]),
        },
        {
            "case": list(CASES),
            "model": list(MODELS),
            "row": ["one step", "t = 1"],
            "step_size": eta,
            "escape_step": escape,
            "horizon": [1e2, 1e3, 1e4],
        },
    )


def failed(record: xarray.Dataset) -> list[str]:
    return [claim.name for claim in GdVsFlow().claims(record) if not claim.holds]


def test_the_laws_themselves_hold(record):
    assert failed(record) == []
    assert len(GdVsFlow().claims(record)) == 18 + 3 + 4
    assert all(claim.holds for claim in GdVsFlow().reduced().claims(record.isel(case=slice(1))))


SPOILS = {
    "local_order": (lambda x: x + 0.2, 9),
    "order": (lambda x: x - 0.2, 9),
    "quadratic_error": (lambda x: x + 1e-9, 1),
    "control_distance": (lambda x: 0.9 * x, 1),
    "drift": (lambda x: 1.1 * x, 1),
    "escape_ratio": (lambda x: 1.05 * x, 3),
    "flow_gradients": (lambda x: 4 * x, 1),
}


@pytest.mark.parametrize("name", SPOILS)
def test_every_claim_reacts(record, name):
    spoil, least = SPOILS[name]
    record[name] = spoil(record[name])
    assert len(failed(record)) >= least
    record[name] = record[name] * np.nan
    assert len(failed(record)) >= least


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ((0.05,), "ladder must hold two or more positive, increasing step sizes"),
        ((0.05, 0.02), "ladder must hold two or more positive, increasing step sizes"),
        ((0.0, 0.02), "ladder must hold two or more positive, increasing step sizes"),
        ((0.05, 0.2), "ladder must end at 0.1 at most, was 0.2"),
    ],
)
def test_bad_input_is_one_line(value, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(GdVsFlow(), ladder=value)


@pytest.mark.parametrize("cases", [3, 1])
def test_figure(record, cases):
    check_figure(figure, record.isel(case=slice(cases)), "icml", 4 + 3)


def test_one_point_of_a_sweep_is_a_distance_of_first_order():
    points = [GdVsFlow(step_size=eta, width=3, delta=0.5, rtol=1e-10) for eta in (0.025, 0.05)]
    coarse, fine = points[1].simulate(), points[0].simulate()
    assert abs(np.log2(float(coarse["distance"] / fine["distance"])) - 1) < 0.05
    assert abs(np.log2(float(coarse["modified_distance"] / fine["modified_distance"])) - 2) < 0.1
    (claim,) = points[0].claims(fine)
    assert claim.holds
    (claim,) = points[0].claims(fine.assign(modified_distance=fine["distance"]))
    assert not claim.holds
    assert figure(fine, "neurips") is None
