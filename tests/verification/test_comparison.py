"""Descent beside its models: orders, regimes, ends, refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gfsim as gf

pytestmark = pytest.mark.slow


def networks() -> dict[str, gf.Problem]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20, 3))
    signs, values = gf.Dataset(x, np.sign(x[:, 0] + 0.1)), gf.Dataset(x, np.sin(x[:, 0]))
    two = gf.networks.TwoLayer(3, 5, gf.networks.Tanh(), key=jax.random.key(3))
    deep = gf.networks.FeedForward((3, 4, 4, 1), gf.networks.Softplus(), key=jax.random.key(1), bias=True)
    linear = gf.networks.DeepLinear((3, 3, 1), key=jax.random.key(2))
    return {
        "two-layer, logistic": gf.Problem(two, signs, gf.losses.Logistic()),
        "deep, logistic": gf.Problem(deep, signs, gf.losses.Logistic()),
        "deep linear, square": gf.Problem(linear, values, gf.losses.Square()),
    }


@pytest.mark.parametrize(
    "name",
    [
        "two-layer, logistic",
        pytest.param("deep, logistic", marks=pytest.mark.verify),
        pytest.param("deep linear, square", marks=pytest.mark.verify),
    ],
)
def test_orders(name):
    problem = networks()[name]
    record = gf.compare(problem, problem.theta, 1.0, (0.0125, 0.025, 0.05), rows=4, rtol=1e-13)
    np.testing.assert_allclose(record["local_order"], [2, 3, 4], atol=0.1)
    np.testing.assert_allclose(record["order"], [1, 2, 3], atol=0.1)
    assert np.all(record["valid"])
    assert np.all(np.diff(record["function_distance"].isel(row=-1), axis=1) < 0)


def test_a_diverging_descent_is_an_outcome_and_no_curve_is_nan():
    problem = gf.Problem.from_loss(lambda x: jnp.sum(x**4) / 4, jnp.array([2.0]))
    record = gf.compare(problem, problem.theta, 6.0, (0.1, 0.6), ("flow",))
    assert record["outcome"].values.tolist() == ["reached_end", "diverged"]
    assert "function_distance" not in record
    for variable in record.data_vars.values():
        assert variable.dtype.kind != "f" or variable.name in ("order", "local_order") or np.all(np.isfinite(variable))
    valid = record["valid"].values[:, 0]
    assert np.all(valid[0])
    assert not valid[1, -1]
    last = record["distance"].values[1, 0][~valid[1]]
    assert np.all(last == last[0])
    assert record["regime"].values[0, 0] == "alternating"
    assert record["regime"].values[0, -1] == "flow"
    assert record["regime"].values[1, 0] == "edge of stability"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"step_sizes": (0.1, 0.0)}, r"step_sizes must be positive, finite and increasing, was \(0.1, 0.0\)"),
        ({"step_sizes": (0.1, 0.1)}, "step_sizes must be positive, finite and increasing"),
        ({"step_sizes": ()}, "step_sizes must be positive"),
        ({"step_sizes": (3.0,)}, "step_sizes must leave two steps up to t1 = 1, was 3"),
        ({"models": ("modified-x",)}, "models must be flow, modified-k, modified-quadratic, central or central-k, was"),
        ({"t1": -1.0}, "t1 must be a positive finite number, was -1.0"),
    ],
)
def test_bad_input_is_one_line(arguments, message):
    problem = gf.Problem.from_loss(lambda x: jnp.sum(x**4) / 4, jnp.array([2.0]))
    with pytest.raises(ValueError, match=message):
        gf.compare(problem, problem.theta, **{"t1": 1.0, "step_sizes": (0.1,), **arguments})


def test_rows_before_a_models_end_are_valid():
    """The series ends between two iterates; the last one before it is compared."""
    well = gf.Problem.from_loss(lambda p: -jnp.sum(p**2) / 2 + jnp.sum(p**4) / 4, jnp.array([0.3]))
    record = gf.compare(well, [0.05], 6.0, [0.6], ("modified-1",))
    end = gf.simulate(gf.ModifiedFlow(well, 0.6, 1), [0.05], 6.0, rtol=1e-10)
    assert end.outcome == "series_diverges"
    times, valid = record["t"].values[0], record["valid"].values[0, 0].astype(bool)
    np.testing.assert_array_equal(valid[: times.size], times < end.t[-1])
