"""The claims react to the record, bad input is one line, and the figure needs the record alone.

The record is made up from the laws themselves, so that every claim holds exactly until the record is spoiled.
"""

import dataclasses

import numpy as np
import pytest
import xarray

import gfsim as gf
from figures.max_margin import figure
from gfsim.verification.infinity import largest_fall, turning
from scenarios.max_margin import MaxMargin, Spiral
from tests.drawing import check_figure

pytestmark = pytest.mark.slow

DEGREES = {
    "linear L=1": 1,
    "linear L=2": 2,
    "two layers L=3": 3,
    "three layers L=7": 7,
    "digits L=1": 1,
    "digits L=3": 3,
}
MARGIN = 0.5


def lawful_case(degree: int) -> xarray.Dataset:
    """A run on which every law holds without corrections, with γ̄ = γ̃ = ½ throughout."""
    depth = np.geomspace(1.0, 1e6, 60)
    # 𝓛 t (log t)^{2−2/L} L²γ̄^{2/L} = 1, solved for log t by iteration.
    log_time = depth + 10.0
    for _ in range(100):
        log_time = depth - np.log(degree**2 * MARGIN ** (2 / degree)) - (2 - 2 / degree) * np.log(log_time)
        log_time = np.maximum(log_time, 0.5)
    misaligned, settled = 0.3 / depth, 3.0 / depth
    epsilon = np.sqrt(2 * misaligned) * MARGIN ** (-1 / degree)
    delta = 20 / (np.e * degree * MARGIN ** (2 / degree) * depth)
    return xarray.Dataset(
        {
            "log_loss": ("row", -depth),
            "log_time": ("row", log_time),
            "norm": ("row", (depth / MARGIN) ** (1 / degree)),
            "margin": ("row", np.full(60, MARGIN)),
            "smoothed": ("row", np.full(60, MARGIN)),
            "misaligned": ("row", misaligned),
            "kkt": (("row", "part"), np.stack([epsilon, delta], axis=1)),
            "residual": ("row", settled),
            "away": ("row", settled),
            "kinks": 0,
            "degree": degree,
            "samples": 20,
            "largest_fall": 0.0,
            "settling": 10 ** (-0.8 / degree),
            "limit_rate": 0.8,
            "limit_margin": MARGIN,
            "limit_residual": 1e-15,
            "limit_type": "strict minimum",
            "reference_angle": 1e-15,
        }
    )


@pytest.fixture
def record() -> xarray.Dataset:
    cases = xarray.concat([lawful_case(L) for L in DEGREES.values()], dim=xarray.IndexVariable("case", list(DEGREES)))
    angle = np.linspace(1.5, 4.0, 50)
    r = np.sqrt(1 - 1 / angle)
    rows = np.stack([np.geomspace(1, 1e40, 50), r * np.cos(angle), r * np.sin(angle), angle**-0.5, angle], axis=1)
    controls = {"spiral_settling": 0.96, "spiral_off_curve": 1e-7, "mixed_log_loss": 0.8, "mixed_margin": -0.1}
    return xarray.merge([cases, xarray.Dataset({"spiral": (("step", "quantity"), rows), **controls})])


def verdicts(record: xarray.Dataset) -> dict[str, bool]:
    held: dict[str, bool] = {}
    for claim in MaxMargin().claims(record):
        held[claim.name] = held.get(claim.name, True) and claim.holds
    return held


def test_every_claim_holds_on_lawful_data(record):
    held = verdicts(record)
    assert all(held.values()), [name for name, holds in held.items() if not holds]
    for claim in MaxMargin().claims(record):
        assert "arXiv" in claim.source
        assert len(claim.name) <= 52


@pytest.mark.parametrize(
    ("name", "factor", "claim"),
    [
        ("largest_fall", None, "γ̃, largest fall in a step/rtol"),
        ("limit_residual", 1e6, "KKT residual, polished"),
        ("settling", 12.0, "turn in last decade/one before"),
        ("limit_margin", 1.2, "ρ (γ̄/log t)^(1/L)"),
    ],
)
def test_a_spoiled_law_is_seen(record, name, factor, claim):
    spoiled = record.assign({name: record[name] + 1e-6 if factor is None else record[name] * factor})
    held = verdicts(spoiled)
    assert not held[f"linear L=1: {claim}"]
    assert held["control, mixed: margin"]


@pytest.mark.parametrize(
    ("name", "part", "scale", "claim"),
    [
        ("log_time", None, 1.05, "𝓛tγ², worst"),
        ("smoothed", None, 1.01, "two-sided bound on γ̃, excess/γ̄"),
        ("kkt", 0, 1.01, "ε of KKT, largest share of bound"),
        ("kkt", 1, 1.01, "δ of KKT, largest share of bound"),
        ("away", None, 3.0, "angle × |log 𝓛|, largest"),
    ],
)
def test_a_spoiled_row_is_seen(record, name, part, scale, claim):
    values = record[name].copy(deep=True)
    values[(..., -1) if part is None else (..., -1, part)] *= scale
    assert not verdicts(record.assign({name: values}))[f"linear L=1: {claim}"]


def test_controls_can_fail(record):
    for name, value in (("spiral_settling", 0.5), ("mixed_margin", 0.1), ("mixed_log_loss", -1.0)):
        held = verdicts(record.assign({name: value}))
        assert next(claim for claim, holds in held.items() if not holds).startswith("control")


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("cases", (), "cases must be one or more of"),
        ("cases", ("square",), "cases must be one or more of"),
        ("depth", 10.0, "depth must lie between 1e3 and"),
        ("depth", 1e9, "depth must lie between 1e3 and"),
        ("width", 1, "width must lie between 2 and 100, was 1"),
    ],
)
def test_bad_input_is_one_line(field, value, message):
    with pytest.raises(ValueError, match=f"^{message}") as raised:
        dataclasses.replace(MaxMargin(), **{field: value})
    assert "\n" not in str(raised.value)


def test_turning_tells_settling_from_circling():
    depth = np.geomspace(1, 1e6, 4001)
    settles = np.stack([np.cos(1 / depth), np.sin(1 / depth)], axis=1)
    circles = np.stack([np.cos(0.01 * np.log(depth)), np.sin(0.01 * np.log(depth))], axis=1)
    assert turning(settles, -depth)[-1] / turning(settles, -depth)[-2] == pytest.approx(0.1, rel=0.01)
    assert turning(circles, -depth)[-1] / turning(circles, -depth)[-2] == pytest.approx(1.0, rel=0.01)


def test_largest_fall_counts_from_unit_loss():
    assert largest_fall(np.array([3.0, 1.0, 2.0, 1.6]), np.array([1.0, -1.0, -2.0, -3.0])) == pytest.approx(0.25)


def test_spiral_is_homogeneous_and_its_curve_invariant():
    import jax
    import jax.numpy as jnp

    network = Spiral.on_the_curve(1.8)
    phi = lambda v: Spiral(v)(jnp.ones(1))  # noqa: E731
    assert float(phi(3.0 * network.v)) == pytest.approx(9 * float(phi(network.v)), rel=1e-14)
    gradient = np.asarray(jax.grad(phi)(network.v))
    u = np.asarray(network.v)
    motion = gradient - (gradient @ u) * u
    tangent = np.asarray(Spiral.on_the_curve(1.8 + 1e-6).v - Spiral.on_the_curve(1.8 - 1e-6).v)
    tangent = tangent / np.linalg.norm(tangent)
    assert np.linalg.norm(motion - (motion @ tangent) * tangent) < 1e-8 * np.linalg.norm(motion)
    assert motion @ tangent > 0


@pytest.mark.parametrize("venue", ["neurips", "icml"])
def test_figure(record, venue):
    check_figure(figure, record, venue, 6)


def test_reduced_is_a_scenario():
    assert isinstance(MaxMargin().reduced(), gf.Scenario)
