"""The exact KKT point of one neuron, its splits, and which of them are optima."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import quadprog
from scipy.optimize import linprog

from gfsim.landscape import hard_margin, kkt_residual, kronecker_split, max_margin_polish, one_neuron_kkt, split_neuron
from gfsim.problems import Dataset, Problem, losses
from gfsim.problems.networks import ReLUPower, TwoLayer

RANDOM = np.random.default_rng(3)
LABELS = np.repeat([1.0, -1.0], 10)
INPUTS = LABELS[:, None] * np.array([2.0, -2.0, 1.0]) + 0.6 * RANDOM.normal(size=(20, 3))


def at_kkt(p, n=20):
    """The problem of one neuron at its KKT point, θ and the multipliers."""
    data = Dataset(INPUTS[:n], LABELS[:n])
    activation = ReLUPower(p, 0.3)
    point = one_neuron_kkt(data, activation)
    theta = jnp.asarray(np.append(point.w, point.a))
    problem = Problem(TwoLayer(3, 1, activation, key=jax.random.key(0)), data, losses.Exponential())
    return problem, theta, point.multipliers


def test_hard_margin_against_quadprog():
    x = LABELS[:, None] * INPUTS
    u, multipliers = hard_margin(x)
    solution = quadprog.solve_qp(np.eye(3), np.zeros(3), x.T, np.ones(20))
    np.testing.assert_allclose(u, solution[0], rtol=1e-10)
    np.testing.assert_allclose(multipliers, solution[4], atol=1e-10)
    np.testing.assert_allclose((x @ u)[multipliers > 0], 1, rtol=1e-14)


@pytest.mark.parametrize(("height", "scale"), [(3e-4, 1.0), (1e-6, 1.0), (1.0, 1e-18), (1.0, 1e18)])
def test_hard_margin_where_it_is_thin_or_of_any_scale(height, scale):
    u, multipliers = hard_margin(scale * np.array([[1.0, height], [-1.0, height]]))
    np.testing.assert_allclose(u * scale * height, [0.0, 1.0], atol=1e-9)
    np.testing.assert_allclose(multipliers * (scale * height) ** 2, 0.5, rtol=1e-9)


def test_hard_margin_where_constraints_are_tight_without_a_multiplier():
    """Points of a lattice: separable where linear programming says so, and then a KKT point."""
    np.testing.assert_allclose(hard_margin(np.array([[-2.0, -2.0], [0.0, -2.0]]))[0], [0, -0.5], atol=1e-15)
    random, separable = np.random.default_rng(0), 0
    for _ in range(300):
        x = random.integers(-2, 3, (random.integers(2, 6), 2)).astype(float)
        feasible = linprog(np.zeros(2), -x, -np.ones(len(x)), bounds=(None, None)).status == 0
        separable += feasible
        if not feasible:
            with pytest.raises(ValueError, match="open half-space"):
                hard_margin(x)
            continue
        u, multipliers = hard_margin(x)
        np.testing.assert_allclose(x.T @ multipliers, u, atol=1e-12)
        np.testing.assert_allclose(multipliers * (x @ u - 1), 0, atol=1e-12)
        assert np.min(x @ u) > 1 - 1e-12
        assert np.min(multipliers) >= 0
    assert 50 < separable < 250


@pytest.mark.parametrize(("p", "n"), [(1, 20), (2, 10), (3, 20)])
def test_one_neuron_is_a_kkt_point(p, n):
    """θ = Σ λ_i∇q_i, q_i ≥ 1 with equality where λ_i > 0, Σ λ_i = ‖θ‖²/L; so is its split, with λ/τ."""
    problem, theta, multipliers = at_kkt(p, n)
    network = problem.network_at(theta)
    for split in (kronecker_split(network, [1]), kronecker_split(network, [3])):
        wide, eta, weights = split.wide_problem(problem), split.lift(theta), multipliers / split.tau
        margins, pull = wide.margins(eta), jnp.asarray(weights) @ jax.jacrev(wide.margins)(eta)
        np.testing.assert_allclose(pull, eta, atol=1e-13)
        assert np.min(margins) > 1 - 1e-13
        np.testing.assert_allclose(margins[weights > 0], 1, rtol=1e-13)
        np.testing.assert_allclose(np.sum(weights), np.sum(eta**2) / (p + 1), rtol=1e-13)


@pytest.mark.parametrize(("p", "n"), [(1, 20), (2, 10), (3, 20)])
def test_curvature_of_splits(p, n):
    """1 − p, k − 1 times or more; a split stays an optimum for p = 1 alone. Multipliers become λ/τ."""
    problem, theta, multipliers = at_kkt(p, n)
    assert max_margin_polish(problem, theta).eigenvalues[0] > 0.1
    split = kronecker_split(problem.network_at(theta), [3])
    wide, eta = split.wide_problem(problem), split.lift(theta)
    point = max_margin_polish(wide, eta)
    values = point.eigenvalues
    assert point.refined
    np.testing.assert_allclose(point.theta, eta, rtol=1e-10)
    np.testing.assert_allclose(kkt_residual(wide, eta).multipliers, multipliers / split.tau, atol=1e-11)
    np.testing.assert_allclose(values[:2], 1 - p, atol=1e-12)
    assert values[2] > 1 - p + 1e-3


@pytest.mark.parametrize("p", [1, 2])
def test_curvature_decides_optimality(p):
    """Feasible points near the split, scaled to least margin 1: shorter ones exist exactly where 1 − p < 0."""
    problem, theta, _ = at_kkt(p, 10)
    split = kronecker_split(problem.network_at(theta), [2])
    wide, eta = split.wide_problem(problem), split.lift(theta)
    away = 1e-2 * np.linalg.norm(eta) * np.random.default_rng(1).normal(size=(500, eta.size)) / np.sqrt(eta.size)
    # The copies' exchange of weight, along which the curvature is lowest.
    away[0] = 1e-2 * np.asarray(split_neuron(problem.network_at(theta), 0, 0, [1.0, 1.0], force=True).lift(theta))
    away[0] *= np.array([1, 1, 1, -1, -1, -1, 1, -1])
    near = np.asarray(eta) + away
    least = np.min(np.asarray(jax.vmap(wide.margins)(jnp.asarray(near))), axis=1)
    norms = np.linalg.norm(near, axis=1) / least ** (1 / (p + 1)) / np.linalg.norm(eta)
    if p == 1:
        assert np.min(norms) > 1 - 1e-12
    else:
        assert norms[0] < 1 - 1e-6


SAYS = [
    (lambda: hard_margin(np.array([[1.0, 0.0], [-1.0, 0.0]])), "inputs must lie in an open half-space, did not"),
    (lambda: hard_margin(np.zeros((2, 3))), "inputs must lie in an open half-space, did not"),
    (lambda: hard_margin(np.zeros((0, 3))), r"inputs must hold at least one row and one column, had shape \(0, 3\)"),
    (lambda: hard_margin(np.array([[1.0, np.nan]])), "inputs must be finite, held NaN or infinity"),
    (lambda: one_neuron_kkt(Dataset(INPUTS, LABELS), ReLUPower(2, 0.3)), "data must have the labels 1, .* had"),
    (lambda: one_neuron_kkt(Dataset(INPUTS, LABELS), ReLUPower(1)), "data must have the labels 1, .* had"),
    (lambda: one_neuron_kkt(Dataset(INPUTS, 2 * LABELS), ReLUPower(1, 0.3)), "data must have the labels 1 or −1,"),
]


@pytest.mark.parametrize(("attempt", "says"), SAYS)
def test_refusals(attempt, says):
    with pytest.raises(ValueError, match=f"^{says}"):
        attempt()
