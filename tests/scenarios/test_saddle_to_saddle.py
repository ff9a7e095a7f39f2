"""The claims react to the record, bad input is one line, and the figure needs the record alone."""

import dataclasses

import numpy as np
import pytest
import xarray

from figures.saddle_to_saddle import figure
from scenarios.saddle_to_saddle import ALPHAS, DEPTHS, SaddleToSaddle
from tests.drawing import check_figure

pytestmark = pytest.mark.slow

NORM = np.sqrt(2.0**2 + 1.5**2) + np.sqrt(1.0 + 0.25)


@pytest.fixture
def record() -> xarray.Dataset:
    """What a solve would leave if every prediction came out, with errors 0.5/ln(1/α) of the jumps."""
    logs, times = -np.log(ALPHAS), np.array([1.0, 2.0, 5.0])
    reached = times * (1 + 0.5 / logs[:, None] * np.array([0.2, 0.5, 1.0]))
    clock = np.linspace(0, 6.5, 40)
    levels = np.tril(np.ones((3, 3)))
    path = (clock[:, None] > times).astype(float)
    return xarray.Dataset(
        {
            "ratio": (("depth", "alpha"), np.array([[0.99, 0.999, 0.99999]] * 3)),
            "linear_time": ("linear_row", np.linspace(0, 140, 50)),
            "linear_loss": ("linear_row", np.linspace(3.5, 0, 50)),
            "linear_predicted": ("step", [0.8333, 0.1667]),
            "linear_plateau": ("step", [0.8333, 0.1667]),
            "linear_jumps": ("jump", [13.8, 27.6, 55.3]),
            "linear_first": 13.9,
            "relu_time": ("relu_row", np.linspace(0, 400, 50)),
            "relu_loss": ("relu_row", np.linspace(0.9375, 0, 50)),
            "relu_predicted": 0.15625,
            "relu_plateau": 0.156251,
            "relu_jumps": ("side", [73.7, 164.8]),
            "relu_norm": NORM,
            "jump_time": ("jumps", times),
            "jump_beta": (("jumps", "coordinate"), levels),
            "first_jump": 1.0,
            "clock": ("diagonal_row", clock),
            "beta": (("start", "diagonal_row", "coordinate"), np.array([path] * 4)),
            "half": (("start", "entry", "way"), np.stack([np.tile(times, (4, 1)), reached], axis=2)),
            "wrong_support": ("start", [0, 0, 0, 20]),
            "energy": ("start", np.full(4, 1e-7)),
            "end_gap": ("start", [1e-9, 1e-9, 1e-9, 0.2]),
        },
        {"depth": list(DEPTHS), "alpha": [0.1, 0.01, 0.001], "start": list(ALPHAS)},
    )


def failed(record: xarray.Dataset) -> list[str]:
    return [claim.name for claim in SaddleToSaddle().claims(record) if not claim.holds]


def test_the_predictions_themselves_hold(record):
    assert failed(record) == []


SPOILS = {
    "ratio": (lambda x: x + 0.01, 3),
    "linear_plateau": (lambda x: 1.01 * x, 2),
    "linear_first": (lambda x: 1.2 * x, 1),
    "relu_plateau": (lambda x: x + 1e-4, 1),
    "relu_loss": (lambda x: x + 1e-3, 1),
    "relu_norm": (lambda x: 1.05 * x, 1),
    "first_jump": (lambda x: 1.01 * x, 1),
    "half": (lambda x: x * np.array([1.0, 1.02]), 2),
    "wrong_support": (lambda x: x + 1, 1),
    "energy": (lambda x: 1e4 * x, 1),
}


@pytest.mark.parametrize("name", SPOILS)
def test_every_claim_reacts(record, name):
    spoil, least = SPOILS[name]
    record[name] = (record[name].dims, np.asarray(spoil(record[name].values)))
    assert len(failed(record)) >= least


def test_the_control_must_fail_the_prediction(record):
    record["end_gap"].values[3] = 0.01
    assert failed(record) == ["control, α = 0.1: gap of the last β"]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("width", 3, "width must lie between 12 and 200, was 3"),
        ("features", 100, "features must lie between 3 and 60, was 100"),
    ],
)
def test_bad_input_is_one_line(field, value, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        dataclasses.replace(SaddleToSaddle(), **{field: value})


def test_figure(record):
    check_figure(figure, record, "icml", 5)
