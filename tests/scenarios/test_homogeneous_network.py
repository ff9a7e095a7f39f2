"""The claims react to the record, bad input is one line, and the figure needs the record alone."""

import dataclasses

import numpy as np
import pytest
import xarray

from figures.homogeneous_network import figure
from scenarios.homogeneous_network import DEGREES, SCALES, HomogeneousNetworks
from tests.drawing import check_figure

pytestmark = pytest.mark.slow


@pytest.fixture
def record() -> xarray.Dataset:
    """What a solve would leave if every law held exactly."""
    radii, k, factor = 10.0 ** np.arange(7), np.arange(4), 0.4
    returns = []
    for mu in DEGREES:
        ratio = factor**-mu
        returns.append([2 + 3 * np.cumsum(np.append(0, ratio ** k[:-1])), factor**k])
    turn = np.linspace(0, 12, 60)
    return xarray.Dataset(
        {
            "error": (("radius", "kind"), np.stack([np.full(7, 5e-4), np.append(5e-4, np.ones(6))], axis=1)),
            "identity": 1e-14,
            "shift": 1.0,
            "norm_gap": ("derivative", np.full(3, 1e-15)),
            "wrong_degree": 1e3**0.1 - 1,
            "wrong_generator": ("radius", radii**0.5),
            "identified": ("way", [1e-14, 0.01]),
            "balance": 1.0,
            "returns": (("mu", "quantity", "return"), np.array(returns)),
            "symmetry": ("mu", np.full(3, 1e-12)),
            "orbit": (("moment", "axis"), np.stack([np.sin(turn), np.cos(turn)], axis=1)),
            "field_error": ("place", [0.007, 0.007]),
            "accuracy": (("kind", "scale"), np.array([np.ones(5), [1 / 3, 1 / 3, 1, 1 / 3, 1 / 3]])),
        },
        {"radius": radii, "kind": ["homogeneous", "plain"], "mu": list(DEGREES), "scale": list(SCALES)},
    )


def failed(record: xarray.Dataset) -> list[str]:
    return [claim.name for claim in HomogeneousNetworks().claims(record) if not claim.holds]


def test_the_laws_themselves_hold(record):
    assert failed(record) == []


SPOILS = {
    "error": lambda x: 3 * x[:, ::-1],
    "identity": lambda x: x + 1e-11,
    "shift": lambda x: x * (1 + 1e-12),
    "norm_gap": lambda x: x + 1e-11,
    "wrong_degree": lambda x: x * (1 + 1e-9),
    "wrong_generator": lambda x: x**1.1,
    "identified": lambda x: 10 * x,
    "balance": lambda x: x * (1 + 1e-11),
    "returns": lambda x: x * np.array([1, 1, 1.01, 1]),
    "symmetry": lambda x: x + 1e-7,
    "field_error": lambda x: x * np.array([1, 1.01]),
    "accuracy": lambda x: x[::-1],
}


@pytest.mark.parametrize("name", SPOILS)
def test_every_claim_reacts(record, name):
    record[name] = (record[name].dims, np.asarray(SPOILS[name](record[name].values)))
    assert failed(record)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("least", 1e-3, "least must lie between 1e-9 and 1e-4, was 0.001"),
        ("shapes", 10, "shapes must lie between 60 and 1000, was 10"),
    ],
)
def test_bad_input_is_one_line(field, value, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        dataclasses.replace(HomogeneousNetworks(), **{field: value})


def test_figure(record):
    check_figure(figure, record, "icml", 4)
