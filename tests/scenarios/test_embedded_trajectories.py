"""The claims react to the record, bad input is one line, and the figure needs the record alone."""

import dataclasses
import re

import numpy as np
import pytest
import xarray

import gfsim as gf
from figures.embedded_trajectories import figure
from gfsim.verification.shadow import shadow_error
from gfsim.verification.split_cases import KINDS
from scenarios.embedded_trajectories import BESIDE, CASES, EmbeddedTrajectories
from tests.drawing import check_figure, made_up_portrait

pytestmark = pytest.mark.slow


def lawful_record() -> xarray.Dataset:
    """What a solve would leave if every law held without rounding, and every control failed as predicted."""
    p = np.array([1, 2, 3])
    norm = np.geomspace(1e-4, 0.2, 200)
    # From ε‖η‖ on, so that the share of the distance in the norm grows like ‖η‖^{p−1}.
    beside = [np.stack([norm, e * norm[0] * (norm / norm[0]) ** q], axis=1) for q, e, _ in BESIDE]
    negative = np.array([[0, 0, 0], [0, 1, 3], [0, 2, 6]])
    lowest = np.where(np.arange(3) > 0, 1.0 - p[:, None], 2.0)
    saddle = {"points": np.zeros((1, 2)), "kind": ["saddle"], "gradient_norm": np.zeros(1)}
    plane = dataclasses.replace(made_up_portrait(), **saddle).to_xarray("plane")
    return xarray.Dataset(
        {
            "descent_error": (("case", "clock", "descent_step"), np.full((4, 2, 101), 1e-15)),
            "flow_error": (("case", "clock", "row"), np.full((4, 2, 100), 1e-9)),
            "flow_time": (("case", "row"), np.tile(np.geomspace(1e-2, 1e4, 100), (4, 1))),
            "descent_largest": (("case", "clock"), np.tile([1e-15, 0.4], (4, 1))),
            "flow_largest": (("case", "clock"), np.tile([1e-9, 0.1], (4, 1))),
            "flow_estimate": ("case", np.full(4, 1e-9)),
            "tau": ("case", np.array([1.0, 0.69, 0.71, 1.0])),
            "loss_fall": ("case", np.full(4, 1e-6)),
            "error": (("algorithm", "iterate"), np.full((3, 5), 1e-13)),
            "largest": ("algorithm", np.array([4e-13, 4e-13, 0.05])),
            "norm": ("iterate", np.linspace(1, 20, 5)),
            "path": (("start", "width", "point", "coordinate"), np.linspace(0.1, 4, 240).reshape(2, 2, 30, 2)),
            "path_time": (("start", "point"), np.tile(np.geomspace(1e-2, 1e3, 30), (2, 1))),
            "plane_gap": 1e-4,
            "start_error": ("start", np.full(2, 1e-9)),
            "goal": ("coordinate", np.ones(2)),
            "boundary": (("width", "y", "x"), np.tile(np.linspace(-1, 1, 9), (2, 9, 1))),
            "boundary_error": 0.0,
            "sample": (("datum", "xy"), np.array([[1.0, 1.0], [-1.0, -1.0]])),
            "label": ("datum", np.array([1.0, -1.0])),
            "limit": ("parameter", np.ones(3)),
            "limit_error": 0.0,
            "stationarity": ("width", np.full(2, 1e-7)),
            "multiplier_apart": 0.0,
            "goal_distance": 0.0,
            "digit_error": 0.0,
            "residual": (("degree", "copies"), np.zeros((3, 3))),
            "least_margin": (("degree", "copies"), np.ones((3, 3))),
            "multiplier_error": (("degree", "copies"), np.zeros((3, 3))),
            "lowest": (("degree", "copies"), lowest),
            "negative": (("degree", "copies"), negative),
            "flat": (("degree", "copies"), np.where(p[:, None] == 1, [0, 1, 3], 0)),
            "machine_error": 0.0,
            "opposite": 0.7,
            "beside": (("degree", "instant", "quantity"), np.stack(beside)),
            "embedding_gradient": 0.0,
            "embedding_loss": 0.0,
            "manifold_error": ("rates", np.array([1e-12, 0.5])),
            "violation": (("kind", "promise"), np.zeros((len(KINDS), 3))),
            "forced": (("control", "promise"), np.array([[0.5, 0.5, 4.0], [0.0, 0.272, 0.46]])),
        },
        {
            "case": list(CASES),
            "clock": ["own", "narrow"],
            "descent_step": np.arange(0, 2001, 20),
            "algorithm": ["descent", "same batches", "other batches"],
            "iterate": [1, 10, 100, 1000, 10000],
            "width": ["narrow", "wide"],
            "x": np.linspace(-4, 4, 9),
            "y": np.linspace(-4, 4, 9),
            "degree": p,
            "copies": [1, 2, 4],
            "rates": ["changed", "narrow"],
            "kind": list(KINDS),
            "promise": ["isometry", "output", "gradient"],
        },
        {"rtol": 1e-8},
    ).merge(plane)


@pytest.fixture
def record() -> xarray.Dataset:
    return lawful_record()


def verdicts(record: xarray.Dataset) -> dict[str, bool]:
    return {claim.name: claim.holds for claim in EmbeddedTrajectories().claims(record)}


def test_the_laws_themselves_hold(record):
    held = verdicts(record)
    assert len(held) == len(EmbeddedTrajectories().claims(record))
    assert [name for name, holds in held.items() if not holds] == []


def test_without_the_deep_cases(record):
    held = verdicts(record.isel(case=slice(2)))
    assert all(held.values())
    assert not any("p = 3: flows" in name or "three layers: flows" in name for name in held)


DRAWN = {"descent_error", "flow_error", "flow_time", "error", "norm", "path", "goal", "boundary", "sample", "label"}
UNCLAIMED = {"limit", "tau", "path_time"}
CLAIMED_OF_THE_PLANE = {"plane_points", "plane_gradient_norm", "plane_gap"}
PLANE = {name for name in lawful_record().data_vars if str(name).startswith("plane_")} - CLAIMED_OF_THE_PLANE
MEASURED = sorted(set(lawful_record().data_vars) - DRAWN - UNCLAIMED - PLANE)


@pytest.mark.parametrize("name", MEASURED)
def test_a_measured_nan_fails(record, name):
    record[name] = record[name] * np.nan
    assert not all(verdicts(record).values())


@pytest.mark.parametrize("name", sorted(set(MEASURED) - {"opposite"}))
def test_every_claim_reacts(record, name):
    """Errors that grow fail; so do controls that do not fail."""
    controls = {"beside": lambda x: x**1.1, "forced": lambda x: 0.9 * x, "stationarity": lambda x: x * np.array([1, 2])}
    spoil = controls.get(name, lambda x: x + 1e-5 if "embedding" in name else x + 1.0)
    record[name] = spoil(record[name])
    assert not all(verdicts(record).values())


def test_a_spurious_or_missing_critical_point_is_seen(record):
    name = "one neuron's plane: points − the saddle at 0"
    assert not verdicts(record.assign(plane_kind=("plane_point", ["minimum"])))[name]
    assert not verdicts(record.isel(plane_point=slice(0)).assign(plane_gradient_norm=("plane_point", [])))[name]


@pytest.mark.parametrize(("name", "where"), [("largest", 2), ("manifold_error", 1)])
def test_controls_react(record, name, where):
    record[name][where] = 1e-13
    assert not all(verdicts(record).values())


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("steps", 10, "steps must lie between 1000 and 10000000, was 10"),
        ("digit_steps", 0, "digit_steps must lie between 10 and 1000000, was 0"),
        ("starts", 1, "starts must lie between 2 and 100, was 1"),
        ("rtol", 1e-3, "rtol must lie between 1e-12 and 1e-06, was 0.001"),
    ],
)
def test_bad_input_is_one_line(field, value, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        dataclasses.replace(EmbeddedTrajectories(), **{field: value})


@pytest.mark.parametrize("venue", ["neurips", "beamer"])
def test_figure(record, venue):
    check_figure(figure, record, venue, 6)


def test_claims_name_their_source(record):
    for claim in EmbeddedTrajectories().claims(record):
        assert "arXiv" in claim.source or claim.source in ("counted", "numerics")
    assert isinstance(EmbeddedTrajectories().reduced(), gf.Scenario)


def test_shadows_of_different_length_are_refused():
    both = EmbeddedTrajectories().shadow("published")
    long, _ = both.descents(both.problem.theta, 0.1, 3)
    _, short = both.descents(both.problem.theta, 0.1, 2)
    with pytest.raises(ValueError, match=r"^wide must have the 4 rows of narrow, had 3$"):
        shadow_error(both.split.lift, long, short)


@pytest.mark.verify
def test_the_published_experiment_is_fast():
    """Both networks' 1e5 steps with the error at every step, warm, on an idle machine."""
    import time

    both = EmbeddedTrajectories().shadow("published")
    seconds = []
    for _ in range(4):
        began = time.perf_counter()
        error = shadow_error(both.split.lift, *both.descents(both.problem.theta, 0.1, 100_000))
        seconds.append(time.perf_counter() - began)
    assert error.shape == (100_001,)
    assert error.max() < 1e-11
    assert min(seconds[1:]) < 1.5
