"""The claims react to the record, bad input is one line, and the figure needs the record alone.

The record is made up from the laws themselves, so that every claim holds exactly until the record is spoiled.
"""

import dataclasses
import math

import numpy as np
import pytest
import xarray

import gfsim as gf
from figures.early_convergence import figure
from scenarios.early_convergence import CASES, EarlyConvergence
from tests.drawing import check_figure, made_up_portrait

pytestmark = pytest.mark.slow

N_STAR, KAPPA, T_STAR = 0.5, (0.8, 1.1), 3.0


@pytest.fixture
def record() -> xarray.Dataset:
    return lawful_record()


def lawful_record() -> xarray.Dataset:
    """What a solve would leave if N* = ½ in every case and every law held without corrections."""
    degree = np.array([3, 3, 7, 7])
    norm = np.array([0.2, 0.2, 0.4, 0.4])
    ladder = np.array([[0.1, 0.03, 0.01]] * 2 + [[0.35, 0.25, 0.18]] * 2)
    delta = np.array([[1e-2, 3e-3, 1e-3]] * 2 + [[0.08, 0.056, 0.04]] * 2)
    power = (degree - 2)[:, None]
    deficit = (delta / norm[:, None]) ** power / (degree[:, None] * power * N_STAR)
    rho = np.exp(np.linspace(0, 25, 1000))
    # The last case aligns slowly: its law of the deficit is not yet asymptotic.
    exponent = np.array([KAPPA, (0.6, 0.65), KAPPA, (0.2, 0.9)])
    turn = np.stack([np.stack([rho, rho, 0.1 * rho ** (-2 * e)], axis=1) for e in (0.8, 0.61)])
    u_norm = np.geomspace(1, 1e4, 400)
    left = u_norm ** (2 - degree[:, None]) / (degree * (degree - 2) * N_STAR)[:, None]
    path = np.stack([np.stack([T_STAR - rest, u_norm, 0.1 / u_norm], axis=1) for rest in left])
    return xarray.Dataset(
        {
            "degree": ("case", degree),
            "start_value": ("case", 0.9 / (degree * (degree - 2) * T_STAR)),
            "kkt_value": ("case", np.full(4, N_STAR)),
            "stationarity": ("case", np.full(4, 1e-15)),
            "decay_rates": (("case", "mode"), exponent * (degree * N_STAR)[:, None]),
            "split_error": ("case", np.zeros(4)),
            "rank_ratio": ("case", np.zeros(4)),
            "blow_up": ("case", np.full(4, T_STAR)),
            "largest_fall": ("case", np.zeros(4)),
            "drift": ("case", np.full(4, 0.1)),
            "ladder": (("case", "rung"), ladder),
            "error": (("case", "rung"), 0.7 * ladder ** degree[:, None]),
            "escape_norm": ("case", norm),
            "delta": (("case", "escape"), delta),
            "escape_time": (("case", "escape"), T_STAR - deficit),
            "path": (("case", "flow", "row", "quantity"), np.repeat(path[:, None], 4, axis=1)),
            "turn": (("shallow", "step", "quantity"), turn),
            "own_blow_up": ("shallow", np.full(2, T_STAR)),
            "neurons": ("shallow", np.ones(2)),
            "label": (("sample", "member"), np.array([[0, 0, 1, -1], [0, 0, -1, 0]])),
            "initial_value": (("sample", "member"), np.array([[1.0, 1.0, -1.0, -1.0], [1.0, 1.0, -1.0, -1.0]])),
            "balance": (("sample", "member"), np.array([[1.0, 1.0, -1.0, -1.0], [1.0, 1.0, -1.0, 1.0]])),
            "leaky_delta": ("decade", 10.0 ** -np.arange(2, 7)),
            "leaky_time": ("decade", math.log(10) / (2 * 0.3) * np.arange(5)),
            "leaky_value": 0.3,
            "leaky_neurons": 3.5,
            "descent_gradients": 2000.0,
            "flow_gradients": 900,
            "weights": (("moment", "neuron", "pixel"), np.linspace(-1, 1, 3 * 6 * 64).reshape(3, 6, 64)),
            "moment_norm": ("moment", np.array([0.01, 0.1, 1.0])),
            "large_misalignment": 0.35,
            "sphere_start": (
                ("direction", "sphere_axis"),
                # The third lies on the boundary of the made-up portrait's basins.
                np.tile([[0.6, 0.0, 0.8], [-0.6, 0.0, 0.8], [0.0, 0.6, 0.8], [0.6, 0.0, -0.8]], (10, 1)),
            ),
            "sphere_label": ("direction", np.tile([2, 0, 0, 2], 10)),
            "sphere_solved": ("direction", np.tile([2, 0, 0, 2], 10)),
        },
        {"case": list(CASES)},
    ).merge(made_up_portrait(spherical=True).to_xarray("sphere"))


def verdicts(record: xarray.Dataset) -> dict[str, bool]:
    return {claim.name: claim.holds for claim in EarlyConvergence().claims(record)}


def test_the_laws_themselves_hold(record):
    held = verdicts(record)
    assert len(held) == len(EarlyConvergence().claims(record))
    assert all(held.values())
    assert "digits L=7: T* − τ_esc ∝ δ^(L−2)" in held
    assert "teacher L=7: T* − τ_esc / u's own" in held
    assert "digits L=3: 1 − cos ∝ ρ^(−2κ/LN*)" in held
    assert "teacher L=3: 1 − cos, not asymptotic" in held


SPOILS = {
    "error": (lambda x: x * np.array([1.0, 1.0, 1.9]), 4),
    "escape_time": (lambda x: x - 0.3 * (T_STAR - x) * np.array([1, 0, 0]), 3),
    "turn": (lambda x: x ** np.array([1.0, 1.0, 0.9]), 1),
    "blow_up": (lambda x: 0.01 * x, 1),
    "start_value": (lambda x: 2 * x, 1),
    "leaky_time": (lambda x: 1.1 * x, 1),
    "neurons": (lambda x: 2 * x, 1),
    "leaky_neurons": (lambda x: 0.4 * x, 1),
    "large_misalignment": (lambda x: 0.1 * x, 1),
    "flow_gradients": (lambda x: 3 * x, 1),
    "stationarity": (lambda x: x + 1e-9, 1),
    "split_error": (lambda x: x + 1e-3, 1),
    "rank_ratio": (lambda x: x + 1e-3, 1),
    "largest_fall": (lambda x: x + 1e-3, 1),
    "drift": (lambda x: 400 * x, 1),
    "own_blow_up": (lambda x: 1.01 * x, 1),
    "label": (lambda x: x - 2, 2),
    "sphere_label": (lambda x: x + np.arange(40) // 39, 1),
    "sphere_solved": (lambda x: x + np.arange(40) // 39, 2),
    "sphere_start": (lambda x: x * np.array([0.0, 1.0, 1.0]), 1),
}


@pytest.mark.parametrize("name", SPOILS)
def test_every_claim_reacts(record, name):
    spoil, least = SPOILS[name]
    record[name] = spoil(record[name])
    failed = [claim for claim, holds in verdicts(record).items() if not holds]
    assert len(failed) >= least


GIVEN = {"degree", "ladder", "delta", "escape_norm", "leaky_delta", "initial_value", "balance"}
SPHERE = {name for name in lawful_record().data_vars if name.startswith("sphere_")}
DRAWN = {"weights", "moment_norm", "path"} | SPHERE - {"sphere_gradient_norm", "sphere_label", "sphere_solved"}


@pytest.mark.parametrize("name", sorted(set(lawful_record().data_vars) - GIVEN - DRAWN - {"label"}))
def test_a_measured_nan_fails(record, name):
    record[name] = record[name] * np.nan
    assert not all(verdicts(record).values())


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("deltas", (1e-2, 0.0), r"deltas must be two or more different norms between 0 and 0.2, was \(0.01, 0.0\)"),
        ("deltas", (1e-2,), "deltas must be two or more different norms"),
        ("deltas", (1e-2, math.nan), "deltas must be two or more different norms"),
        ("deep_deltas", (0.1, 0.6), "deep_deltas must be two or more different norms between 0 and 0.4"),
        ("width", 0, "width must lie between 2 and 200, was 0"),
        ("teacher_width", 1, "teacher_width must lie between 2 and 200, was 1"),
        ("directions", 5, "directions must lie between 20 and 10000, was 5"),
        ("delta", 0.3, "delta must be between 0 and 0.2 and depth 2 or 3, was 0.3 and 2"),
        ("depth", 4, "delta must be between 0 and 0.2 and depth 2 or 3, was None and 4"),
        ("rtol", 1e-3, "rtol must lie between 1e-13 and 1e-06"),
        ("rtol", -1.0, "rtol must lie between 0 and 1"),
    ],
)
def test_bad_input_is_one_line(field, value, message):
    with pytest.raises(ValueError, match=f"^{message}") as raised:
        dataclasses.replace(EarlyConvergence(), **{field: value})
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("case", CASES)
def test_starts_point_uphill(case):
    start = EarlyConvergence(width=2).start(case)
    assert start.problem.correlation(start.u0) > 0
    np.testing.assert_allclose(np.linalg.norm(start.u0), 1, rtol=1e-12)


@pytest.mark.parametrize("venue", ["neurips", "icml", "beamer"])
def test_figure(record, venue):
    check_figure(figure, record, venue, 2 + 3 + 6 + 3)


def test_without_the_deep_cases(record):
    held = verdicts(record.isel(case=slice(2)))
    assert all(held.values())
    assert not any("L=7" in name for name in held)


def test_claims_name_their_source(record):
    for claim in EarlyConvergence().claims(record):
        assert "arXiv" in claim.source or claim.source in ("counted", "numerics")
        assert len(claim.name) <= 38
    assert isinstance(EarlyConvergence().reduced(), gf.Scenario)
