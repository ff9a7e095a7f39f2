"""Central flows: complementarity, tracked eigenvectors, the flow below the edge, and the known balance at it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gfsim as gf
from gfsim.dynamics.oscillation import complementary, generic_block, refined, third_derivatives


@pytest.mark.parametrize("k", [1, 3, 5])
def test_complementarity(k):
    rng = np.random.default_rng(k)
    a = rng.normal(size=(k, k))
    alpha = jnp.asarray(a + a.T) - 2 * jnp.eye(k)
    factors = rng.normal(size=(k, k, 40))
    flat = jnp.asarray((factors + factors.transpose(1, 0, 2)).reshape(k * k, 40))
    beta = flat @ flat.T
    x = complementary(alpha, beta, jnp.zeros((k, k)))
    slack = alpha + (beta @ x.ravel()).reshape(k, k)
    assert np.linalg.eigvalsh(x)[0] > -1e-12
    assert np.linalg.eigvalsh(slack)[0] > -1e-6
    assert abs(float(jnp.vdot(x, slack))) < 1e-6
    assert float(jnp.linalg.norm(x)) > 1e-3


def test_no_oscillation_where_the_constraint_is_slack():
    x = complementary(jnp.diag(jnp.array([0.1, 0.2])), jnp.eye(4), jnp.eye(2))
    np.testing.assert_allclose(x, 0, atol=1e-9)
    above = complementary(-jnp.eye(2), jnp.zeros((4, 4)), jnp.eye(2))
    np.testing.assert_array_equal(above, 0)


@pytest.mark.parametrize("share", [1.0, 1e-3, 1e-8])
def test_a_direction_held_by_others_alone_does_not_slow_them(share):
    """Its own third derivative is a small share of those that it has with the others."""
    factors = np.random.default_rng(1).normal(size=(3, 3, 40))
    factors = factors + factors.transpose(1, 0, 2)
    factors[2, 2] *= share
    flat = jnp.asarray(factors.reshape(9, 40))
    beta = flat @ flat.T / 40
    alpha = jnp.diag(jnp.array([-0.1, -0.1, 1.0]))
    x = complementary(alpha, beta, jnp.zeros((3, 3)))
    slack = alpha + (beta @ x.ravel()).reshape(3, 3)
    assert np.linalg.eigvalsh(slack)[0] > -1e-8
    assert abs(float(jnp.vdot(x, slack))) < 1e-9
    assert float(jnp.linalg.norm(x)) > 1e-3
    if share < 1e-2:
        # At the edge itself it would have to oscillate by more than an iteration finds.
        assert np.all(np.isnan(complementary(-0.1 * jnp.eye(3), beta, jnp.zeros((3, 3)))))


def test_two_valleys_are_held_whatever_else_is_followed():
    """L = Σ(½w_i x_i² − c_i w_i): each w_i stays at 2/η, each ⟨x_i²⟩ at 2c_i; the directions of w have no third
    derivative of their own."""

    def loss(p):
        return 0.5 * jnp.vdot(p[2:], p[:2] ** 2) - jnp.vdot(jnp.array([0.3, 0.1]), p[2:])

    start = jnp.array([0.0, 0.0, 9.0, 9.8])
    for directions in (2, 3, 4):
        path = gf.CentralFlow(gf.Problem.from_loss(loss, start), 0.2, directions).path(start, 90)
        np.testing.assert_allclose(path.theta[-1, 2:], 10, rtol=1e-6)
        np.testing.assert_allclose(path.variances[-1, :2], [0.6, 0.2], rtol=1e-6)


def test_a_path_can_be_traced():
    flow = gf.CentralFlow(gf.Problem.from_loss(lambda p: 0.5 * jnp.sum(p**2), jnp.ones(2)), 0.1)
    traced = jax.jit(lambda start: flow.path(start, 3).theta)(jnp.ones(2))
    np.testing.assert_allclose(traced, flow.path(jnp.ones(2), 3).theta, rtol=1e-14)


def test_block_iteration_finds_the_top_eigenvectors():
    rng = np.random.default_rng(0)
    q, _ = np.linalg.qr(rng.normal(size=(40, 40)))
    values = np.concatenate([[5.0, 4.0, 3.0], np.linspace(1.0, -2.0, 37)])
    matrix = jnp.asarray(q @ np.diag(values) @ q.T)
    block = generic_block(40, 3)
    found = jnp.zeros(3)
    for _ in range(25):
        block, found = refined(lambda b: matrix @ b, block)
    np.testing.assert_allclose(found, values[:3], rtol=1e-10)
    np.testing.assert_allclose(block.T @ block, np.eye(3), atol=1e-12)


@pytest.fixture(scope="module")
def network() -> gf.Problem:
    rng = np.random.default_rng(3)
    data = gf.Dataset(rng.normal(size=(16, 3)), rng.normal(size=16))
    net = gf.networks.TwoLayer(3, 6, gf.networks.Tanh(), key=jax.random.key(1))
    return gf.Problem(net, data, gf.losses.Square())


def test_third_derivatives(network):
    u = generic_block(network.size, 2)
    third = third_derivatives(network, network.theta, u).reshape(2, 2, -1)
    h = 1e-5
    hessian = lambda s: network.hessian(network.theta + s * u[:, 1])  # noqa: E731
    differences = (hessian(h) - hessian(-h)) @ u[:, 0] / (2 * h)
    np.testing.assert_allclose(third[0, 1], differences, atol=1e-8)
    np.testing.assert_allclose(third[1, 0], third[0, 1])


def test_below_the_edge_it_is_the_flow(network):
    eta = 0.1
    assert eta * float(jnp.linalg.eigvalsh(network.hessian(network.theta))[-1]) < 0.5
    central = gf.simulate(gf.CentralFlow(network, eta), network.theta, 5.0)
    flow = gf.simulate(gf.GradientFlow(network), network.theta, 5.0, rtol=1e-10)
    np.testing.assert_allclose(central.theta[-1], flow.theta[-1], atol=1e-8)
    assert central.stats["gradients"] is None


def narrow_valley() -> gf.Problem:
    """L = ½e^y x² − y: the sharpness is e^y on the valley x = 0, along which the flow goes at speed one."""
    return gf.Problem.from_loss(lambda z: 0.5 * jnp.exp(z[1]) * z[0] ** 2 - z[1], jnp.array([0.0, 0.0]))


def test_at_the_edge_the_valley_is_held_by_a_known_oscillation():
    """The edge is reached at y = t = ln(2/η); there ∂_y(L + ½e^y·Σ) = 0 needs Σ = 2/e^y = η."""
    eta = 0.1
    flow = gf.CentralFlow(narrow_valley(), eta, directions=2, substeps=4)
    path = flow.path(jnp.zeros(2), 40)
    t, edge = eta * np.arange(40), np.log(2 / eta)
    np.testing.assert_allclose(path.theta[:, 1], np.minimum(t, edge), atol=1e-3)
    np.testing.assert_allclose(path.variances[32:, 0], eta, rtol=1e-3)
    np.testing.assert_allclose(path.variances[:2], 0, atol=1e-12)
    np.testing.assert_allclose(path.loss[32:], -edge + 1.0, atol=2e-3)
    np.testing.assert_allclose(path.eigenvalues[32:, 0], 2, atol=1e-3)


def test_descent_oscillates_about_it():
    eta = 0.05
    problem = narrow_valley()
    start = jnp.array([np.sqrt(eta), np.log(2 / eta)])
    run = gf.simulate(gf.GradientDescent(problem, eta), start, 200 * eta, save=gf.every_step())
    assert np.mean(np.asarray(run.theta[100:, 0]) ** 2) == pytest.approx(eta, rel=0.05)


def test_rmsprop_below_the_edge_and_at_it():
    """ν tends to g² and, at the edge of the valley, θ moves so that 2P = H: y' is then set by the growth of P."""
    eta, decay = 0.01, 0.95
    problem = narrow_valley()
    moment = jnp.array([1e-4, 1.0])
    flow = gf.RMSPropCentralFlow(problem, eta, moment, decay=decay, epsilon=0.0, directions=1, substeps=4)
    path = flow.path(jnp.array([0.0, 0.0]), 400)
    slack = 2 - np.asarray(path.eigenvalues[:, 0])
    assert slack.min() > -5e-3
    assert np.any(np.asarray(path.variances[:, 0]) > 0)
    # The descent itself, kicked off the valley's floor, oscillates about the same path.
    transformation = optax.scale_by_rms(decay=decay, eps=0.0)
    state = transformation.init(problem.theta)._replace(nu=moment)
    theta, seen = jnp.array([1e-3, 0.0]), []
    for _ in range(400):
        seen.append(theta)
        updates, state = transformation.update(problem.grad(theta), state)
        theta = theta - eta * updates
    y = np.asarray(jnp.stack(seen))[:, 1]
    np.testing.assert_allclose(y, path.theta[:, 1], atol=0.05)
    measured = np.mean(np.asarray(jnp.stack(seen))[300:, 0] ** 2)
    assert measured == pytest.approx(float(np.mean(path.variances[300:, 0])), rel=0.05)


def rmsprop(problem: gf.Problem, theta, moment, eta: float, decay: float, steps: int):
    """θ and ν before each of so many steps of optax's own RMSProp."""
    transformation = optax.scale_by_rms(decay=decay, eps=1e-8)

    def step(carry, _):
        theta, state = carry
        updates, after = transformation.update(problem.grad(theta), state)
        return (theta - eta * updates, after), (theta, state.nu)

    state = transformation.init(theta)._replace(nu=moment)
    return jax.jit(lambda start: jax.lax.scan(step, (start, state), None, length=steps)[1])(theta)


@pytest.mark.parametrize("seed", [0, 1])
def test_rmsprop_of_a_network_goes_with_it(seed):
    """300 steps, most of them at the edge; the flow without oscillation goes elsewhere."""
    eta, decay = 0.01, 0.99
    rng = np.random.default_rng(seed)
    data = gf.Dataset(rng.normal(size=(16, 3)), rng.normal(size=16))
    problem = gf.Problem(
        gf.networks.TwoLayer(3, 6, gf.networks.Tanh(), key=jax.random.key(seed)), data, gf.losses.Square()
    )
    theta, moment = rmsprop(problem, problem.theta, problem.grad(problem.theta) ** 2, eta, decay, 500)
    start = 140
    flow = gf.RMSPropCentralFlow(problem, eta, moment[start], decay=decay, epsilon=1e-8, directions=3, substeps=4)
    path = flow.path(theta[start], 300)
    down = np.asarray(theta[start : start + 300])
    to_central = np.linalg.norm(down - np.asarray(path.theta), axis=1)

    def plain(carry, _):
        for _ in range(8):
            at, nu = carry
            gradient = problem.grad(at)
            rate = flow.moment_rate(nu, gradient, jnp.zeros_like(nu))
            carry = at - gradient / flow.metric(nu) / 8, nu + rate / 8
        return carry, carry[0]

    unheld = jax.jit(lambda y: jax.lax.scan(plain, y, None, length=299)[1])((theta[start], moment[start]))
    to_flow = np.linalg.norm(down[1:] - np.asarray(unheld), axis=1)
    travelled = np.linalg.norm(down[-1] - down[0])
    assert to_central.max() < 0.05 * travelled
    assert to_central[-1] < 0.1 * to_flow[-1]
    assert np.asarray(path.eigenvalues[:, 0]).max() < 2.05


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: gf.CentralFlow(p, 0.0), "step_size must be a positive finite number, was 0.0"),
        (lambda p: gf.CentralFlow(p, 0.1, 0), "directions must be a positive integer, was 0"),
        (lambda p: gf.CentralFlow(p, 0.1, substeps=0), "substeps must be a positive integer, was 0"),
        (lambda p: gf.RMSPropCentralFlow(p, 0.1, p.theta * 0), "moment0 must be positive, held 0"),
        (lambda p: gf.RMSPropCentralFlow(p, 0.1, p.theta**2, decay=1.0), "decay must lie between 0 and 1, was 1.0"),
    ],
)
def test_bad_input_is_one_line(network, make, message):
    with pytest.raises(ValueError, match=message):
        make(network)
