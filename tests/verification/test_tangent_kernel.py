"""The structure monitor: exact where the kernel is constant, bounds that hold, and those that do not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gfsim as gf
from gfsim.verification import structure

pytestmark = pytest.mark.slow


def test_linear_network_has_a_constant_kernel():
    """f = Wx on orthogonal inputs of lengths 2 and 1, n = 2: κ = 2, ½, and each residual decays at its own κ."""
    network = gf.networks.DeepLinear((2, 1), key=jax.random.key(0))
    problem = gf.Problem(network, gf.Dataset(np.diag([2.0, 1.0]), np.array([1.0, 0.0])), gf.losses.Square())
    trajectory = gf.simulate(
        gf.GradientFlow(problem),
        jnp.zeros(2),
        1.0,
        save=gf.linear_spaced(0, 1, 5),
        observe=gf.observables.STRUCTURE,
        rtol=1e-10,
    )
    found = structure(problem, trajectory)
    np.testing.assert_allclose(found["lambda_max"], 4, rtol=1e-12)
    np.testing.assert_allclose(found["lambda_min"], 1, rtol=1e-12)
    np.testing.assert_allclose(found["U"], 0, atol=1e-12)
    np.testing.assert_allclose(found["D"], np.log(4), rtol=1e-12)
    # Only the first residual is there: both lower bounds are equalities.
    for name in ("lower", "sandwich_lower"):
        np.testing.assert_allclose(found[name], found["loss"], rtol=1e-8)
    assert found.attrs["failures"] == "none"


def test_bounds_hold_for_the_square_loss():
    x = np.random.default_rng(0).normal(size=(4, 4))
    network = gf.networks.FeedForward((4, 8, 1), gf.networks.Tanh(), key=jax.random.key(0))
    problem = gf.Problem(network, gf.Dataset(x, np.sin(x[:, 0])), gf.losses.Square())
    save = gf.linear_spaced(0, 20, 200)
    flow = gf.GradientFlow(problem)
    found = structure(problem, gf.simulate(flow, problem.theta, 20.0, save=save, observe=gf.observables.STRUCTURE))
    assert found.attrs["failures"] == "none"
    assert np.all(found["lower"] < found["upper"])
    assert float(found["sandwich_lower"][-1]) < float(found["loss"][-1]) < float(found["sandwich_upper"][-1])
    with pytest.raises(ValueError, match=r"^trajectory must be run with observe=gf.observables.STRUCTURE, lacks"):
        structure(problem, gf.simulate(gf.GradientFlow(problem), problem.theta, 1.0))


def test_upper_bound_fails_for_cross_entropy():
    """f = Wx on orthonormal inputs: JJᵀ = I, and ‖g‖²/(2κ) = (1 − e^{−ℓ})² < ℓ for two classes of equal ℓ."""
    network = gf.networks.DeepLinear((2, 2), key=jax.random.key(0))
    problem = gf.Problem(network, gf.Dataset(np.eye(2), np.array([0.0, 1.0])), gf.losses.CrossEntropy())
    save = gf.linear_spaced(0, 20, 20)
    trajectory = gf.simulate(gf.GradientFlow(problem), jnp.zeros(4), 20.0, save=save, observe=gf.observables.STRUCTURE)
    found = structure(problem, trajectory)
    np.testing.assert_allclose(found["upper"], (1 - np.exp(-found["loss"])) ** 2, rtol=1e-9)
    assert bool(found["lower_holds"].all())
    assert found.attrs["failures"].startswith("upper fails at 20 of 20 rows")


def test_more_outputs_than_parameters():
    network = gf.networks.DeepLinear((2, 1), key=jax.random.key(0))
    problem = gf.Problem(network, gf.Dataset(np.eye(3)[:, :2], np.ones(3)), gf.losses.Square())
    np.testing.assert_allclose(gf.observables.tangent_extremes(problem, problem.theta), [0.0, 1.0], atol=1e-15)
    # At a fit 0/0 is no failure.
    fitted = gf.Problem(network, gf.Dataset(np.eye(3)[:, :2], np.array([1.0, 1.0, 0.0])), gf.losses.Square())
    run = gf.simulate(gf.GradientFlow(fitted), jnp.ones(2), 1.0, observe=gf.observables.STRUCTURE)
    found = structure(fitted, run)
    assert float(found["loss"][-1]) == float(found["gradient_norm"][-1]) == 0.0
    assert found.attrs["failures"] == "none"
