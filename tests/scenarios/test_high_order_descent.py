"""The claims react to the record, bad input is one line, and the figure needs the record alone."""

import dataclasses

import numpy as np
import pytest
import xarray

from figures.high_order_descent import figure
from scenarios.high_order_descent import POWERS, HighOrderDescent
from tests.drawing import check_figure

pytestmark = pytest.mark.slow


@pytest.fixture
def record() -> xarray.Dataset:
    """What a solve would leave if every law held exactly."""
    line, t = np.linspace(1, 0, 21), np.geomspace(1e-2, 1e2, 12)
    monitor = {}
    for name in ("square", "entropy"):
        monitor |= {f"{name}_t": ("monitor_row", t), f"{name}_loss": ("monitor_row", 1 / t)}
        for bound, factor in {"lower": 0.1, "upper": 10.0, "sandwich_lower": 0.1, "sandwich_upper": 10.0}.items():
            monitor[f"{name}_{bound}"] = ("monitor_row", factor / t)
            monitor[f"{name}_{bound}_holds"] = ("monitor_row", np.ones(12, bool))
    monitor["entropy_upper_holds"] = ("monitor_row", np.arange(12) < 3)
    return xarray.Dataset(
        {
            "cycle": 0.05**2,
            "halving": 0.5**30,
            "below": 0.1,
            "above": 1e100,
            "crawl": 1.0,
            "tenths": 0.9**30,
            "control": 0.5**1.5,
            "biased_mean": 2**0.5 - 1,
            "power_error": ("power", np.full(len(POWERS), 1e-11)),
            "power_extinct": 2 * 1.5**0.5,
            "orbit": (("row", "axis"), np.stack([line, line**10], axis=1)),
            "orbit_coordinate": (("row", "axis"), np.stack([line, line**3], axis=1)),
            "clock_time": 5.0,
            "direct_time": 5.0,
            "extinct": 5.1,
            "physical": (("degree", "rate_row"), np.tile(np.linspace(0, 5, 9), (3, 1))),
            "fall": (("degree", "rate_row"), np.tile(np.geomspace(1, 1e-9, 9), (3, 1))),
            "gd_loss": ("iterate", np.full(40, 1e-3)),
            "hgd_loss": ("iterate", np.geomspace(1, 1e-20, 40)),
            "entropy_correlation": 0.995,
            "log_least": (("skips", "depth"), np.array([[0.0, 0.0, 0.0], [1.0, 2.0, 3.0]])),
            "spread": ("width", [5.5, 5.2, 5.0]),
            **monitor,
        },
        {
            "degree": [1.5, 2.0, 3.0],
            "iterate": np.arange(40),
            "skips": [False, True],
            "depth": [2, 4, 8],
            "width": [16, 64, 256],
        },
    )


def failed(record: xarray.Dataset) -> list[str]:
    return [claim.name for claim in HighOrderDescent().claims(record) if not claim.holds]


def test_the_laws_themselves_hold(record):
    assert failed(record) == []


SPOILS = {
    "cycle": lambda x: x * (1 + 1e-6),
    "halving": lambda x: x * (1 + 1e-6),
    "below": lambda x: x * 100,
    "above": lambda x: x * 0,
    "crawl": lambda x: x * 1.01,
    "tenths": lambda x: x * (1 + 1e-6),
    "control": lambda x: 0 * x,
    "biased_mean": lambda x: 0 * x + 1 / 3,
    "power_error": lambda x: x + 1e-7,
    "power_extinct": lambda x: x + 1e-6,
    "orbit": lambda x: x + 1e-6,
    "direct_time": lambda x: x + 1e-5,
    "gd_loss": lambda x: 0 * x,
    "square_upper_holds": lambda x: ~x,
    "entropy_lower_holds": lambda x: ~x,
    "entropy_upper_holds": lambda x: x | True,
    "entropy_correlation": lambda x: 0.9 * x,
    "log_least": lambda x: -x,
    "spread": lambda x: x[::-1],
}


@pytest.mark.parametrize("name", SPOILS)
def test_every_claim_reacts(record, name):
    record[name] = (record[name].dims, np.asarray(SPOILS[name](record[name].values)))
    assert failed(record)


def test_bad_input_is_one_line():
    with pytest.raises(ValueError, match=r"^seeds must lie between 1 and 100, was 0$"):
        dataclasses.replace(HighOrderDescent(), seeds=0)


def test_figure(record):
    check_figure(figure, record, "icml", 6)
