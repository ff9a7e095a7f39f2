"""Flows from a small start beside closed forms: one degree-2 neuron on one sample, on its KKT ray.

N = a w² with w² = 2a² and ‖u‖ = ρ: ρ' = L N* ρ² with N* = 2/(3√3), so that ρ = 1/(1 − τ/T*) and T* = 1/(3N*).
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gfsim as gf
from gfsim.landscape import COLLAPSED
from gfsim.verification import fit_power_law
from gfsim.verification.small_start import SmallStart, approach, scatter

pytestmark = pytest.mark.slow

N_STAR = 2 / (3 * 3**0.5)
# θ holds w (2, 2), then a (2,): one neuron along the sample, the other dead.
RAY = jnp.zeros(6).at[0].set((2 / 3) ** 0.5).at[4].set((1 / 3) ** 0.5)


def one_neuron():
    network = gf.networks.TwoLayer(1, 1, gf.networks.ReLUPower(2), key=jax.random.key(0))
    return gf.Problem(network, gf.Dataset(jnp.ones((1, 1)), jnp.ones(1)), gf.losses.Square())


@pytest.fixture(scope="module")
def record():
    network = gf.networks.TwoLayer(2, 2, gf.networks.ReLUPower(2), key=jax.random.key(0))
    problem = gf.Problem(network, gf.Dataset(jnp.array([[1.0, 0.0]]), jnp.ones(1)), gf.losses.Square())
    return SmallStart(problem, RAY, 1e-9).compare((0.1, 0.05, 0.025), (0.01, 0.005), 0.1)[0]


def test_blow_up_and_kkt_point(record):
    np.testing.assert_allclose(record["blow_up"], 1 / (3 * N_STAR), rtol=1e-9)
    np.testing.assert_allclose(record["kkt_value"], N_STAR, rtol=1e-12)
    np.testing.assert_allclose(record["start_value"], N_STAR, rtol=1e-12)
    assert record["split_error"] < 1e-12
    assert record["largest_fall"] < 1e-12


def test_deviation_and_escape(record):
    # On the ray a' = 2a²(1 − 2a³): the flow lags by the factor 1 + O(δ³).
    assert abs(fit_power_law(record["ladder"], record["error"]).exponent - 3) < 1e-3
    lead = (record["blow_up"] - record["escape_time"]) * 3 * N_STAR * 0.1 / record["delta"]
    np.testing.assert_allclose(lead, 1, rtol=1e-3)


def test_paths_hold_the_correlation_flow_first(record):
    time, norm, misalignment = record["path"].values[0].T
    np.testing.assert_allclose(norm[:200], 1 / (1 - time[:200] * 3 * N_STAR), rtol=1e-6)
    assert np.max(misalignment) < 1e-16


def test_approach_is_half_the_squared_distance():
    run = gf.simulate(gf.GradientFlow(one_neuron()), jnp.array([3.0, 4.0]), 1e-9)
    (clock, norm, misalignment), *_ = approach(run, 2.0, jnp.array([1.0, 0.0]), rows=3)
    np.testing.assert_allclose([clock, norm, misalignment], [0, 2.5, 1 - 0.6], rtol=1e-12)


def test_scatter():
    # a² > w²/2 and a < 0 keeps its sign and collapses.
    starts = jnp.array([[1.0, 0.3], [0.1, 1.0], [0.3, -1.0], [1.0, -0.1]])
    record, found = scatter(one_neuron(), starts, 60.0, 1e-6)
    assert found.labels.tolist() == [0, 0, COLLAPSED, 0]
    np.testing.assert_allclose(found.values, [N_STAR], rtol=1e-12)
    unit = np.asarray(starts) / np.linalg.norm(starts, axis=1, keepdims=True)
    np.testing.assert_allclose(record["initial_value"], unit[:, 0] ** 2 * unit[:, 1], rtol=1e-12)
    np.testing.assert_allclose(record["balance"][:, 0], unit[:, 0] ** 2 - 2 * unit[:, 1] ** 2, rtol=1e-12)
