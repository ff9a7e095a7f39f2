"""The claims react to the record, bad input is one line, and the figure needs the record alone."""

import dataclasses

import numpy as np
import pytest
import xarray

from figures.saddle_escape import figure
from scenarios.saddle_escape import EPSILONS, SADDLES, SaddleEscape
from tests.drawing import check_figure, made_up_portrait

pytestmark = pytest.mark.slow

RATE, STEP = np.array([0.1, 0.4, 0.5]), np.array([0.1, 0.2, 0.1])


@pytest.fixture
def record() -> xarray.Dataset:
    """What a solve would leave if every prediction came out."""
    logs, rows = np.log(1 / EPSILONS), np.linspace(0, 1, 30)
    flow = logs / RATE[:, None] + 1
    descent = logs * (STEP / np.log1p(STEP * RATE))[:, None] + 1
    values = np.linspace([-0.1, 0.1, 1.0], [0.01, 0.1, 1.0], 30)
    return xarray.Dataset(
        {
            "rate": ("saddle", RATE),
            "step": ("saddle", STEP),
            "escape_time": (("saddle", "dynamics", "epsilon"), np.stack([flow, descent], axis=1)),
            "at_infinity": 1.0,
            "path_time": (("side", "row"), np.tile(np.geomspace(1, 1e3, 30), (2, 1))),
            "path_loss": (("side", "row"), np.tile(0.2 - 0.1 * rows, (2, 1))),
            "path_eigenvalues": (("side", "row", "eigenvalue"), np.tile(values, (2, 1, 1))),
            "path_distance": (("side", "row"), np.tile(1e-3 + rows, (2, 1))),
            "end_neurons": ("side", [2, 2]),
            "end_gradient": ("side", [1e-16, 1e-16]),
            "saddle_loss": 0.2,
            "saddle_inertia": ("sign", np.array([2, 1, 0])),
            "plane_path": (
                ("side", "row", "plane_axis"),
                np.stack([rows, rows**2, -rows, rows], axis=1).reshape(2, 30, 2),
            ),
            "tau": ("moment", rows),
            "loss": ("moment", 1.01 - rows),
            "norms": (("moment", "neuron"), 1e-3 * np.exp(rows[:, None] * np.arange(1, 5))),
            "saddle_tau": 0.5,
            "flow_plateau": 0.09,
            "pursuit_loss": ("round", [0.09, 1e-12]),
            "zero_rows": 3.0,
            "misaligned": 0.01,
            "overlap": (("flow", "round"), np.array([[0.9, 0.3], [0.2, 0.9]])),
            "gap": (("start", "halving"), np.array([4.0 ** -np.arange(4), 2.0 ** -np.arange(4)])),
            "halved": ("halving", 0.04 * 0.5 ** np.arange(4)),
        },
        {"saddle": list(SADDLES), "epsilon": EPSILONS, "dynamics": ["flow", "descent"], "sign": ["+", "-", "0"]},
    ).merge(made_up_portrait().to_xarray("plane"))


def failed(record: xarray.Dataset) -> list[str]:
    return [claim.name for claim in SaddleEscape().claims(record) if not claim.holds]


def test_the_predictions_themselves_hold(record):
    assert failed(record) == []


SPOILS = {
    "escape_time": (lambda x: 1.002 * x, 3),
    "step": (lambda x: 1.5 * x, 3),
    "at_infinity": (lambda x: 0.9 * x, 1),
    "path_loss": (lambda x: x + 0.2, 1),
    "path_eigenvalues": (lambda x: x - 0.1, 1),
    "end_neurons": (lambda x: x - 1, 1),
    "end_gradient": (lambda x: x + 1e-9, 1),
    "saddle_inertia": (lambda x: 0 * x, 1),
    "flow_plateau": (lambda x: 1.1 * x, 1),
    "zero_rows": (lambda x: 4 * x, 1),
    "misaligned": (lambda x: 20 * x, 1),
    "overlap": (lambda x: x[::-1], 1),
    "gap": (lambda x: x ** np.array([[0.8], [2.0]]), 2),
}


@pytest.mark.parametrize("name", SPOILS)
def test_every_claim_reacts(record, name):
    spoil, least = SPOILS[name]
    record[name] = (record[name].dims, np.asarray(spoil(record[name].values)))
    assert len(failed(record)) >= least


def test_bad_input_is_one_line():
    with pytest.raises(ValueError, match=r"^delta must lie between 1e-5 and 0.01, was 0.1$"):
        dataclasses.replace(SaddleEscape(), delta=0.1)


@pytest.mark.parametrize("venue", ["icml", "beamer"])
def test_figure(record, venue):
    check_figure(figure, record, venue, 6 + 3)
