"""The work of RKC on stiff flows: gradients at a given tolerance against what is known for each of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gfsim as gf
from gfsim.solvers import RKC

pytestmark = pytest.mark.slow


def tanh_regression(width: int) -> gf.Problem:
    """A 1-m-1 tanh net with biases on y = sin 3x + 0.3 cos 9x at 20 points, loss ½·mean, weights N(0, 1/fan_in)."""
    network = gf.networks.FeedForward((1, width, 1), gf.networks.Tanh(), key=jax.random.key(0), bias=True)
    x = np.linspace(-1, 1, 20)
    data = gf.Dataset(x[:, None], np.sin(3 * x) + 0.3 * np.cos(9 * x))
    return gf.Problem(network, data, gf.losses.Square())


def deep_linear() -> gf.Problem:
    """½‖W₃W₂W₁ − A‖², A symmetric of rank 3 with eigenvalues 5, 3, 1.5; 10×10 layers near the origin."""
    random = np.random.default_rng(0)
    q, _ = np.linalg.qr(random.normal(size=(10, 10)))
    target = jnp.asarray((q[:, :3] * np.array([5, 3, 1.5])) @ q[:, :3].T)
    start = [jnp.asarray(0.05 * random.normal(size=(10, 10)) / np.sqrt(10)) for _ in range(3)]
    return gf.Problem.from_loss(lambda w: 0.5 * jnp.sum((w[2] @ w[1] @ w[0] - target) ** 2), start)


# Gradients that a careful RKC2 needed at each rtol, on these problems up to the draw of the weights.
KNOWN = {
    "151 parameters": (lambda: tanh_regression(50), 1e4, {1e-4: 5.6e3, 1e-6: 13.8e3, 1e-8: 44e3}),
    "901 parameters": (lambda: tanh_regression(300), 1e3, {1e-6: 8.7e3}),
    "deep linear": (deep_linear, 200.0, {1e-6: 8.4e3}),
}


@pytest.mark.parametrize("name", KNOWN)
def test_gradients_at_most_a_fifth_above_the_known_work(name):
    make, t1, known = KNOWN[name]
    problem = make()
    for rtol, gradients in known.items():
        stats = gf.simulate(gf.GradientFlow(problem), problem.theta, t1, solver=RKC(), rtol=rtol).stats
        assert stats["gradients"] <= 1.2 * gradients
        assert stats["hessian_products"] <= 2.2 * stats["steps"] + 40


def test_fewer_gradients_than_gradient_descent_at_its_stability_limit():
    problem, t1 = tanh_regression(50), 1e4
    flow = gf.simulate(gf.GradientFlow(problem), problem.theta, t1)
    sharpness = float(gf.observables.sharpness(problem, flow.theta[-1]))
    work = flow.stats["gradients"] + 2 * flow.stats["hessian_products"]
    assert work * 4 < t1 * sharpness / 1.9
