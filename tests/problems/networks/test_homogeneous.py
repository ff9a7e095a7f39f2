"""Homogeneous networks: the canonical norm against its closed form, homogeneity, identification, refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import expm

import gfsim as gf
from gfsim.problems.networks import Dilation, HomogeneousNetwork, identify

WEIGHTS = [[2.0, 0.0], [0.0, 1.0]]
# A rotation with a Jordan block: neither symmetric nor diagonalisable in any basis.
SPIRAL = [[1.0, -2.0, 0.3], [2.0, 1.0, 0.0], [0.0, 0.0, 0.7]]
JORDAN = [[0.5, 1.0], [0.0, 0.5]]


def closed_norm(x):
    """For G = diag(2, 1) and P = I: x1²/ρ⁴ + x2²/ρ² = 1."""
    return jnp.sqrt((x[1] ** 2 + jnp.sqrt(x[1] ** 4 + 4 * x[0] ** 2)) / 2)


def target(x):
    """Homogeneous of degree 2 under diag(2, 1)."""
    return x[1] ** 2 + x[0] * (x[0] ** 2 - x[1] ** 4) / (x[0] ** 2 + x[1] ** 4)


def inner(d, outputs=1, seed=0):
    return gf.networks.FeedForward((d, 5, outputs), gf.networks.Tanh(), key=jax.random.key(seed), bias=True)


def test_norm_gradient_and_hessian_in_closed_form():
    """From 1e-3 to 1e6; derivatives in units of e^{(1 − g_i)s} and e^{(1 − g_i − g_j)s}, which dilation gives them."""
    dilation, random = Dilation(WEIGHTS, np.eye(2)), np.random.default_rng(0)
    angle, rho = random.uniform(0, 2 * np.pi, 40), 10 ** random.uniform(-3, 6, 40)
    units = rho[:, None] ** np.array([2.0, 1.0])
    points = jnp.asarray(units * np.stack([np.cos(angle), np.sin(angle)], axis=1))
    factors = (1 / rho, units / rho[:, None], units[:, :, None] * units[:, None, :] / rho[:, None, None])
    for transform, factor in zip((lambda f: f, jax.grad, jax.hessian), factors, strict=True):
        found = jax.jit(jax.vmap(transform(dilation.norm)))(points)
        exact = jax.vmap(transform(closed_norm))(points)
        np.testing.assert_allclose(factor * found, factor * exact, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("generator", [WEIGHTS, SPIRAL, JORDAN])
def test_norm_and_projection_of_any_generator(generator):
    dilation, random = Dilation(generator), np.random.default_rng(1)
    G, P = np.array(generator), np.array(dilation.P)
    np.testing.assert_allclose(P @ G + G.T @ P, np.eye(len(G)), atol=1e-12)
    x = random.normal(size=(20, len(G))) * 10 ** random.uniform(-4, 4, size=(20, 1))
    norms, projected = (np.asarray(jax.jit(jax.vmap(f))(x)) for f in (dilation.norm, dilation.project))
    np.testing.assert_allclose(np.einsum("ni,ij,nj->n", projected, P, projected), 1, rtol=1e-13)
    for row, rho, y in zip(x, norms, projected, strict=True):
        np.testing.assert_allclose(expm(np.log(rho) * G) @ y, row, rtol=1e-10, atol=1e-12 * np.abs(row).max())
    moved = jax.vmap(lambda row: dilation.norm(dilation(jnp.asarray(0.7), row)))(jnp.asarray(x))
    np.testing.assert_allclose(moved, np.exp(0.7) * norms, rtol=1e-12)
    alpha, beta = dilation.rates()
    sizes = np.sqrt(np.einsum("ni,ij,nj->n", x, P, x))
    ends = np.sort([sizes ** (1 / alpha), sizes ** (1 / beta)], axis=0)
    assert np.all((ends[0] <= norms * (1 + 1e-12)) & (norms <= ends[1] * (1 + 1e-12)))


@pytest.mark.parametrize("nu", [2.0, 0.0])
def test_scalar_network_is_homogeneous_with_eulers_identity(nu):
    network, G = HomogeneousNetwork(inner(3), SPIRAL, nu), jnp.array(SPIRAL)
    x = jnp.array([0.3, -2.0, 5.0])
    value, slope = jax.value_and_grad(network)(x)
    assert float(network(network.dilation(jnp.asarray(3.0), x))) == pytest.approx(float(np.exp(3 * nu) * value), 1e-11)
    assert float(slope @ G @ x) == pytest.approx(nu * float(value), rel=1e-11, abs=1e-12)
    on_sphere = network.project(x)
    assert float(network(on_sphere)) == pytest.approx(float(network.network(on_sphere)), rel=1e-12)


@pytest.mark.parametrize("mu", [-0.5, 1.0])
def test_vector_field_is_homogeneous(mu):
    network, G = HomogeneousNetwork(inner(3, 3), SPIRAL, mu, field=True), jnp.array(SPIRAL)
    x = jnp.array([0.3, -2.0, 5.0])
    moved = network(network.dilation(jnp.asarray(2.0), x))
    np.testing.assert_allclose(moved, np.exp(2 * mu) * network.dilation(jnp.asarray(2.0), network(x)), rtol=1e-11)
    # Its Euler identity: g'(x)Gx = (G + μ)g(x).
    along = jax.jvp(network, (x,), (G @ x,))[1]
    np.testing.assert_allclose(along, G @ network(x) + mu * network(x), rtol=1e-10)


def test_at_the_origin_nothing_is_nan():
    dilation, zero = Dilation(WEIGHTS), jnp.zeros(2)
    assert float(dilation.norm(zero)) == 0
    np.testing.assert_array_equal(jax.grad(dilation.norm)(zero), zero)
    np.testing.assert_array_equal(dilation.project(zero), zero)
    assert float(HomogeneousNetwork(inner(2), WEIGHTS, 2)(zero)) == 0
    np.testing.assert_array_equal(HomogeneousNetwork(inner(2, 2), WEIGHTS, 1, field=True)(zero), zero)


def test_generator_and_weight_are_no_parameters():
    network = HomogeneousNetwork(inner(2), WEIGHTS, 2)
    data = gf.Dataset(np.eye(2), np.ones(2))
    problem = gf.Problem(network, data, gf.losses.Square())
    assert problem.size == gf.Problem(inner(2), data, gf.losses.Square()).size
    relu = gf.networks.TwoLayer(2, 3, gf.networks.ReLUPower(), key=jax.random.key(0))
    homogeneous = HomogeneousNetwork(relu, WEIGHTS, 2)
    assert gf.Problem(homogeneous, data, gf.losses.Square()).degree == 2
    assert homogeneous.balancedness().shape == (3,)


def test_identification_from_gradients_and_from_data():
    random = np.random.default_rng(2)
    x = random.uniform(-1, 1, size=(600, 2))
    f, g = jax.vmap(jax.value_and_grad(target))(jnp.asarray(x))
    found = identify(x, f, g)
    np.testing.assert_allclose(found.generator, np.array(WEIGHTS) * 2 / 3, atol=1e-12)
    assert found.degree == pytest.approx(4 / 3, abs=1e-12)
    assert found.residual < 1e-13 < 1e-2 < found.next_residual
    smooth = identify(x[:, :2], x[:, 0] + 0.5 * x[:, 1] ** 2)
    np.testing.assert_allclose(smooth.generator, np.array(WEIGHTS) * 2 / 3, atol=1e-10)
    radial = identify(x, x[:, 0] ** 2 + x[:, 1] ** 2, 2 * x)
    assert radial.next_residual < 1e-13


@pytest.mark.parametrize(
    ("generator", "P", "message"),
    [
        ([[1.0, 0.0]], None, "generator must be a finite square matrix, was .*"),
        ([[-1.0, 0], [0, -2.0]], None, "generator must be anti-Hurwitz, .* smallest was -2; use −generator .*"),
        ([[1.0, 0], [0, -2.0]], None, "generator must be anti-Hurwitz, .* smallest was -2; no P makes .* another .*"),
        ([[1.0, 9.0], [0, 1.0]], np.eye(2), "P must be such that PG .* smallest eigenvalue was -7; leave P out .*"),
        (WEIGHTS, -np.eye(2), "P must be positive definite, the smallest eigenvalue was -1; leave P out .*"),
        (WEIGHTS, np.eye(3), r"P must be a symmetric matrix of the generator's shape \(2, 2\), was .*"),
    ],
)
def test_generators_refused(generator, P, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        Dilation(generator, P)


def test_other_refusals():
    with pytest.raises(ValueError, match=r"^generator must have the network's input size 3, was 2$"):
        HomogeneousNetwork(inner(3), WEIGHTS, 2)
    with pytest.raises(ValueError, match=r"^network must return shape \(2,\) for field=True, returned \(\)$"):
        HomogeneousNetwork(inner(2), WEIGHTS, 2, field=True)
    with pytest.raises(ValueError, match=r"^degree must be a finite number, was nan$"):
        HomogeneousNetwork(inner(2), WEIGHTS, np.nan)
    with pytest.raises(ValueError, match=r"^inputs must hold at least 5 samples, held 3$"):
        identify(np.ones((3, 2)), np.ones(3), np.ones((3, 2)))
