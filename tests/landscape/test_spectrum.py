"""Lanczos against the dense matrix, and a space that is exhausted."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gfsim.landscape import spectrum
from gfsim.problems import Dataset, Problem, losses
from gfsim.problems.networks import Tanh, TwoLayer

module = importlib.import_module("gfsim.landscape.spectrum")


@pytest.fixture
def matrix_free(monkeypatch):
    monkeypatch.setattr(module, "DENSE", 1)


def network_problem():
    network = TwoLayer(6, 20, Tanh(), key=jax.random.key(0))
    random = np.random.default_rng(1)
    return Problem(network, Dataset(random.normal(size=(30, 6)), random.normal(size=30)), losses.Square())


def test_both_ends_agree_with_the_dense_matrix(monkeypatch):
    problem = network_problem()
    dense = spectrum(problem, problem.theta, 3)
    every = spectrum(problem, problem.theta)
    np.testing.assert_array_equal(dense.values, np.r_[every.values[:3], every.values[-3:]])
    np.testing.assert_allclose(every.vectors @ every.vectors.T, np.eye(problem.size), atol=1e-13)
    monkeypatch.setattr(module, "DENSE", 1)
    lanczos = spectrum(problem, problem.theta, 3)
    assert lanczos.converged
    np.testing.assert_allclose(lanczos.values, dense.values, rtol=1e-12)
    images = np.stack([problem.hvp(problem.theta, jnp.asarray(v)) for v in lanczos.vectors])
    np.testing.assert_allclose(images, lanczos.values[:, None] * lanczos.vectors, atol=1e-9)


@pytest.mark.usefixtures("matrix_free")
def test_an_exhausted_space_gives_each_eigenvalue_once():
    problem = Problem.from_loss(lambda x: 0.5 * x[:4] ** 2 @ jnp.array([1.0, 2.0, -3.0, 2.0]), jnp.zeros(100))
    found = spectrum(problem, problem.theta, 3)
    assert found.converged
    np.testing.assert_allclose(found.values, [-3, 0, 1, 2], atol=1e-13)


@pytest.mark.usefixtures("matrix_free")
@pytest.mark.parametrize("scale", [0.0, 1e-200, 1e200])
def test_a_hessian_that_is_zero_or_of_any_scale(scale):
    weights = scale * jnp.array([1.0, 2.0, -3.0, 2.0])
    problem = Problem.from_loss(lambda x: 0.5 * x[:4] ** 2 @ weights, jnp.zeros(100))
    found = spectrum(problem, problem.theta, 3)
    assert found.converged
    np.testing.assert_allclose(found.values, scale * np.array([-3, 0, 1, 2] if scale else [0]), atol=1e-13 * scale)


def test_what_is_not_converged_says_so(monkeypatch):
    monkeypatch.setattr(module, "DENSE", 1)
    monkeypatch.setattr(module, "_LARGEST_SUBSPACE", 70)
    spread = jnp.cos(jnp.linspace(0, 3, 400))
    problem = Problem.from_loss(lambda x: 0.5 * x**2 @ spread, jnp.zeros(400))
    found = spectrum(problem, problem.theta, 2)
    assert not found.converged
    error = np.abs(np.sort(spread)[[0, 1, -2, -1]] - found.values)
    assert np.all(error <= found.residuals)


@pytest.mark.usefixtures("matrix_free")
def test_refusals():
    problem = Problem.from_loss(lambda x: jnp.sum(x**2), jnp.zeros(1000))
    with pytest.raises(ValueError, match=r"^k must be at most 256 for more than 1 parameters, was None"):
        spectrum(problem, problem.theta)
    with pytest.raises(ValueError, match=r"^k must be a positive integer, was 0"):
        spectrum(problem, problem.theta, 0)
    with pytest.raises(ValueError, match=r"^theta must be finite, held NaN or infinity"):
        spectrum(problem, problem.theta.at[3].set(np.nan), 2)
