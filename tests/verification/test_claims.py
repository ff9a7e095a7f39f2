"""When a claim holds, when it is confirmed, and what is no claim at all."""

import dataclasses
import math

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gfsim.verification import Claim

finite = st.floats(-1e6, 1e6)
tolerances = st.floats(0, 1)


def claim(predicted=2.0, measured=2.0, tolerance=0.125, **how) -> Claim:
    return Claim("slope", "theorem 1", predicted, measured, tolerance, **how)


@pytest.mark.parametrize(
    ("how", "measured", "holds"),
    [
        ({}, 2.25, True),
        ({}, 1.75, True),
        ({}, 2.26, False),
        ({}, 1.74, False),
        ({"scale": "absolute"}, 2.125, True),
        ({"scale": "absolute"}, 2.126, False),
        ({"relation": "at_most"}, -50, True),
        ({"relation": "at_most"}, 2.25, True),
        ({"relation": "at_most"}, 2.26, False),
        ({"relation": "at_least"}, 50, True),
        ({"relation": "at_least"}, 1.75, True),
        ({"relation": "at_least"}, 1.74, False),
        ({"relation": "at_least", "scale": "absolute"}, 1.87, False),
    ],
)
def test_relations(how, measured, holds):
    assert claim(measured=measured, **how).holds is holds


@given(finite, finite, tolerances)
def test_relative_slack_scales_with_the_prediction(predicted, measured, tolerance):
    assert claim(predicted, measured, tolerance).holds is (abs(measured - predicted) <= tolerance * abs(predicted))


@given(finite, tolerances, st.sampled_from(["close", "at_most", "at_least"]), st.sampled_from(["relative", "absolute"]))
def test_nan_never_holds(predicted, tolerance, relation, scale):
    assert not claim(predicted, math.nan, tolerance, relation=relation, scale=scale).holds
    assert not claim(math.nan, predicted, tolerance, relation=relation, scale=scale).holds


def test_an_infinite_bound_bounds_everything():
    for predicted, measured, relation in ((np.inf, 3.0, "at_most"), (-np.inf, 3.0, "at_least")):
        assert claim(predicted, measured, relation=relation).holds
        assert claim(predicted, predicted, 0.0, relation=relation).holds
        assert not claim(-predicted, measured, relation=relation).holds


@pytest.mark.parametrize(("predicted", "measured"), [(math.inf, 1.0), (1.0, math.inf), (math.inf, math.inf)])
def test_nothing_is_close_to_infinity(predicted, measured):
    assert not claim(predicted, measured).holds


@pytest.mark.parametrize("value", [3, np.float32(3), np.array(3), jnp.array(3.0), True])
def test_any_real_scalar_is_a_value(value):
    kept = claim(value, value)
    assert kept.measured == float(value)
    assert type(kept.measured) is float
    assert kept.holds


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"name": ""}, "name of a claim must be a non-empty string, was ''"),
        ({"source": "  "}, "source of a claim must be a non-empty string, was '  '"),
        ({"predicted": "2"}, "predicted of a claim must be one real number, was '2'"),
        ({"measured": None}, "measured of a claim must be one real number, was None"),
        ({"measured": 1j}, "measured of a claim must be one real number, was 1j"),
        ({"measured": np.ones(3)}, r"measured of a claim must be one real number, was an array of shape \(3,\)"),
        ({"tolerance": -1e-9}, "tolerance of a claim must be finite and at least 0, was -1e-09"),
        ({"tolerance": math.nan}, "tolerance of a claim must be finite and at least 0, was nan"),
        ({"tolerance": math.inf}, "tolerance of a claim must be finite and at least 0, was inf"),
        ({"relation": "near"}, "relation of a claim must be one of .*, was 'near'"),
        ({"scale": "log"}, "scale of a claim must be one of .*, was 'log'"),
    ],
)
def test_bad_arguments_are_named(bad, message):
    good = {"name": "slope", "source": "theorem 1", "predicted": 2.0, "measured": 2.0, "tolerance": 0.1}
    with pytest.raises((ValueError, TypeError), match=f"^{message}$"):
        Claim(**(good | bad))


def test_claims_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        claim().measured = 3.0  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize(
    ("first", "second", "confirmed"),
    [
        (2.05, 2.05 + 0.083, True),
        (2.05, 2.05 + 0.084, False),
        (2.05, 2.05 - 0.084, False),
        (2.3, 2.3, False),
        (2.24, 2.26, False),
        (2.0, math.nan, False),
    ],
)
def test_confirmation_allows_a_third_of_the_slack(first, second, confirmed):
    assert claim(measured=first).confirmed_by(claim(measured=second)) is confirmed


def test_counts_are_confirmed_only_by_themselves():
    count = claim(3, 3, 0, scale="absolute")
    assert count.confirmed_by(claim(3, 3, 0, scale="absolute"))
    assert not count.confirmed_by(claim(3, 4, 0, scale="absolute"))


@pytest.mark.parametrize(
    ("relation", "first", "second", "confirmed"),
    [
        # The bound is 2 and the distance from it 0.3.
        ("at_least", 2.3, 2.39, True),
        ("at_least", 2.3, 2.41, False),
        ("at_most", 1.7, 1.61, True),
        ("at_most", 1.7, 1.59, False),
        # On the other side of the bound there is no distance.
        ("at_least", 2.0, 2.01, False),
    ],
)
def test_an_inequality_is_confirmed_by_its_distance_from_the_bound(relation, first, second, confirmed):
    one, other = (claim(2, measured, 0, relation=relation) for measured in (first, second))
    assert one.confirmed_by(other) is confirmed


def test_an_infinite_value_that_stays_is_confirmed():
    endless = claim(measured=math.inf, relation="at_least")
    assert endless.confirmed_by(endless)
    assert not endless.confirmed_by(claim(measured=3.0, relation="at_least"))


def test_confirmation_must_be_of_the_same_claim():
    with pytest.raises(ValueError, match="must be of the claim 'slope', was of 'order'"):
        claim().moved(Claim("order", "theorem 1", 1, 1, 1))
