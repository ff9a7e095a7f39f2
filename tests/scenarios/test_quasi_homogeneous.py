"""The claims react to the record, bad input is one line, and the figure needs the record alone."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
import xarray

import gfsim as gf
from figures.quasi_homogeneous import figure
from gfsim import landscape
from gfsim.verification.two_balls import closed_form, programme, robust_margin, unit
from scenarios.quasi_homogeneous import QuasiHomogeneous
from tests.drawing import check_figure, made_up_portrait

pytestmark = pytest.mark.slow

HEIGHTS = (0.3, 0.9)


@pytest.fixture
def record() -> xarray.Dataset:
    """What exact flows would leave."""
    directions = np.stack([closed_form(2.0, b)[0] for b in HEIGHTS])
    # A plane that is not left, and on which nothing rests.
    empty = {"points": np.zeros((0, 2)), "kind": [], "gradient_norm": np.zeros(0), "outside": np.zeros((21, 21))}
    plane = dataclasses.replace(made_up_portrait(), **empty).to_xarray("plane")
    per_height = dict.fromkeys(("direction", "coarse_direction", "programme"), (("height", "coordinate"), directions))
    return xarray.Dataset(
        {
            **per_height,
            "polished": (("height", "coordinate"), directions),
            "homogeneous": (("height", "coordinate"), np.stack([unit(np.array([2.0, b])) for b in HEIGHTS])),
            "polished_residual": ("height", np.full(2, 1e-15)),
            "largest_fall": ("height", np.zeros(2)),
            "plane_path": (("run_row", "plane_axis"), np.linspace([0, 0], [1, 1], 20)),
            "plane_time": ("run_row", np.linspace(-3, 12, 20)),
            "plane_gap": 1e-4,
            "plane_height": 0.6,
            "sparse_depth": ("sparse_row", np.geomspace(10, 1e6, 20)),
            "sparse_share": ("sparse_row", np.geomspace(0.5, 0.01, 20)),
            "sparse_separable": 1.0,
            "separable_witnesses": 0.0,
            "a": 2.0,
        },
        coords={"height": list(HEIGHTS)},
    ).merge(plane)


def verdicts(record: xarray.Dataset) -> dict[str, bool]:
    return {claim.name: claim.holds for claim in QuasiHomogeneous().claims(record)}


def test_every_claim_holds_on_exact_data(record):
    assert all(verdicts(record).values())


@pytest.mark.parametrize(
    ("name", "change", "claim"),
    [
        ("direction", 2e-3, "b = 0.3: direction − closed form"),
        ("direction", 2e-3, "b = 0.9: robust margin"),
        ("coarse_direction", 2e-4, "b = 0.3: direction − linear programme"),
        ("polished", 1e-7, "b = 0.3: polished − linear programme"),
        ("homogeneous", 2e-3, "b = 0.3: homogeneous direction − μ/‖μ‖"),
        ("polished_residual", 1e-9, "b = 0.9: KKT residual, polished"),
        ("largest_fall", 1e-6, "b = 0.9: γ̃_Λ, fall in a step/rtol"),
        ("sparse_separable", -1.0, "control, b > r: separated without it"),
        ("separable_witnesses", 1.0, "b < r: separated without Λmax"),
        ("plane_outside", 1e-11, "plane u = v: share of ∇𝓛 out of it"),
        ("plane_gap", 2e-3, "plane: streamlines − solved flow, of the side"),
        ("sparse_share", 10.0, "control, b > r: β₁/‖β‖, last/first"),
    ],
)
def test_a_spoiled_record_is_seen(record, name, change, claim):
    assert not verdicts(record.assign({name: record[name] + change}))[claim]


def test_a_critical_point_that_should_not_be_is_seen(record):
    spoiled = record.drop_vars([name for name in record if str(name).startswith("plane_")])
    kept = record[["plane_path", "plane_time", "plane_gap", "plane_height"]]
    spoiled = spoiled.merge(kept).merge(made_up_portrait().to_xarray("plane"))
    assert not verdicts(spoiled)["plane: critical points"]


def test_closed_form_is_the_programme_of_a_fine_polygon():
    problem = QuasiHomogeneous().problem(0.6, 20_000)
    direction, margin = closed_form(2.0, 0.6)
    found = unit(programme(problem.data))
    np.testing.assert_allclose(found, direction, atol=2e-4)
    assert robust_margin(direction, 2.0, 0.6) == pytest.approx(margin, rel=1e-12)


def test_conditional_separability():
    scenario = QuasiHomogeneous()
    exponents = jnp.array([1.0, 0.5, 0.5])
    below = landscape.conditional_separability(scenario.problem(0.6, 32), exponents)
    assert below.holds is None
    assert below.best <= 0
    above = landscape.conditional_separability(scenario.problem(1.2, 32), exponents)
    assert above.holds is False
    assert above.witness is not None
    assert above.witness[0] == 0
    assert float(jnp.min(scenario.problem(1.2, 32).margins(above.witness))) > 0
    # All of a homogeneous network's parameters are Λmax: without them it is nil.
    whole = landscape.conditional_separability(scenario.problem(0.6, 32), jnp.full(3, 0.5))
    assert whole.holds is True


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("heights", (1.2,), "heights must lie between 0 and the radius 1"),
        ("sparse_height", 0.5, "sparse_height must lie between the radius 1 and 100, was 0.5"),
        ("mesh", 2, "mesh must lie between 8 and 100000, was 2"),
        ("rtol", 1e-6, "rtol must be at most 5e-8"),
    ],
)
def test_bad_input_is_one_line(field, value, message):
    with pytest.raises(ValueError, match=f"^{message}") as raised:
        dataclasses.replace(QuasiHomogeneous(), **{field: value})
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("venue", ["neurips", "icml"])
def test_figure(record, venue):
    check_figure(figure, record, venue, 3)


def test_claims_name_their_source(record):
    for claim in QuasiHomogeneous().claims(record):
        assert "arXiv" in claim.source or claim.source == "numerics"
        assert len(claim.name) <= 48
    assert isinstance(QuasiHomogeneous().reduced(), gf.Scenario)
