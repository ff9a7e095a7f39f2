"""The curvature of sums over neurons: the same matrix and the same solutions as a dense one, at less cost."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gfsim as gf
from gfsim.dynamics.neurons import NeuronCurvature
from gfsim.problems.neurons import neuron_places
from gfsim.simulation.choice import chooser
from gfsim.simulation.step_control import Tolerance
from gfsim.solvers import BDF
from gfsim.solvers.curvature import DenseCurvature

KEY = jax.random.key(0)
NETWORKS = {
    "two layers": gf.networks.TwoLayer(3, 12, gf.networks.ReLUPower(2), key=KEY),
    "biases": gf.networks.FeedForward((3, 10, 1), gf.networks.Tanh(), key=KEY, bias=True),
    "no biases": gf.networks.FeedForward((3, 12, 1), gf.networks.ReLUPower(3), key=KEY),
}
LOSSES = {
    "square": gf.losses.Square(),
    "logistic": gf.losses.Logistic("sum"),
    "exponential": gf.losses.Exponential(),
}
INPUTS = np.random.default_rng(1).normal(size=(7, 3))
SIGNS = np.sign(INPUTS[:, 0])


def problem_of(network: str, loss: str = "square") -> gf.Problem:
    return gf.Problem(NETWORKS[network], gf.Dataset(INPUTS, SIGNS), LOSSES[loss])


@pytest.mark.parametrize("scale", [None, 0.3])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("network", NETWORKS)
def test_it_solves_with_the_jacobian_of_the_flow(network, loss, scale):
    problem = problem_of(network, loss)
    if scale is not None and problem.degree is None:
        with pytest.raises(ValueError, match="scale needs a network homogeneous"):
            gf.GradientFlow(problem, scale=scale)
        return
    flow = gf.GradientFlow(problem, scale=scale)
    curvature = flow.curvature
    assert isinstance(curvature, NeuronCurvature)
    x, b = problem.theta, jnp.asarray(np.random.default_rng(2).normal(size=problem.size))
    velocity = lambda s: flow.vector_field(jnp.zeros(()), s)  # noqa: E731
    held = curvature.at(velocity, x)
    jacobian = jax.jacobian(velocity)(x)
    assert curvature.numbers(problem.size) >= sum(leaf.size for leaf in jax.tree.leaves(held))
    for c in (1e-3, 1.0, 30.0):
        solved = curvature.solve(curvature.factor(held, jnp.array(c)), b)
        assert jnp.linalg.norm(solved - c * jacobian @ solved - b) <= 1e-9 * jnp.linalg.norm(b)


def test_places_are_those_of_each_neuron_and_none_where_there_is_no_sum_over_neurons():
    places = neuron_places(problem_of("biases").objective)
    # w (10, 3), a (1, 10), b (10,), and the output's bias, which belongs to no neuron.
    assert places is not None
    np.testing.assert_array_equal(places[2], [6, 7, 8, 42, 32])
    assert sorted(places.ravel()) == list(range(50))
    tanh, data = gf.networks.Tanh(), gf.Dataset(INPUTS, SIGNS)
    others = [
        gf.networks.FeedForward((3, 4, 4, 1), tanh, key=KEY),
        gf.networks.FeedForward((3, 4, 1), tanh, key=KEY, normalise=True),
        gf.networks.DeepLinear((3, 4, 1), key=KEY),
    ]
    assert all(neuron_places(gf.Problem(network, data, LOSSES["square"]).objective) is None for network in others)
    several = gf.Problem(
        gf.networks.FeedForward((3, 4, 2), tanh, key=KEY), gf.Dataset(INPUTS, INPUTS[:, :2]), LOSSES["square"]
    )
    assert neuron_places(several.objective) is None
    frozen = gf.Problem(
        NETWORKS["two layers"], data, LOSSES["square"], trainable=lambda leaf: getattr(leaf, "ndim", 0) == 1
    )
    assert neuron_places(frozen.objective) is None
    assert isinstance(gf.GradientFlow(frozen).curvature, DenseCurvature)
    assert neuron_places(gf.Problem.from_loss(lambda x: x**2, 1.0).objective) is None


def test_a_network_of_ones_own_may_say_that_it_is_a_sum_over_neurons():
    class Gated(eqx.Module):
        w: jax.Array
        g: jax.Array
        a: jax.Array
        # Of no meaning to gfsim.
        neurons: int = eqx.field(static=True, default=6)

        def neuron_parameters(self):
            return self.w, self.g, self.a[:, None]

        def __call__(self, x):
            return self.a @ ((self.w @ x) * jax.nn.sigmoid(self.g @ x))

    random = np.random.default_rng(4)
    network = Gated(*(jnp.asarray(random.normal(size=shape)) for shape in ((6, 3), (6, 3), (6,))))
    problem = gf.Problem(network, gf.Dataset(INPUTS, SIGNS), LOSSES["logistic"])
    flow = gf.GradientFlow(problem)
    velocity = lambda s: flow.vector_field(jnp.zeros(()), s)  # noqa: E731
    factor = flow.curvature.factor(flow.curvature.at(velocity, problem.theta), jnp.array(2.0))
    solved = flow.curvature.solve(factor, problem.theta)
    image = solved + 2.0 * problem.hvp(problem.theta, solved)
    assert isinstance(flow.curvature, NeuronCurvature)
    np.testing.assert_allclose(image, problem.theta, rtol=1e-9, atol=1e-12)


def test_many_samples_are_cheaper_dense():
    def curvature(samples: int):
        inputs = np.random.default_rng(3).normal(size=(samples, 3))
        problem = gf.Problem(NETWORKS["two layers"], gf.Dataset(inputs, inputs[:, 0]), LOSSES["square"])
        return gf.GradientFlow(problem).curvature

    # 48 parameters.
    assert isinstance(curvature(12), NeuronCurvature)
    assert isinstance(curvature(13), DenseCurvature)


def test_a_stiff_flow_is_the_same_by_either_and_few_products_serve_it():
    x = np.linspace(-1, 1, 8)
    network = gf.networks.FeedForward((1, 15, 1), gf.networks.Tanh(), key=KEY, bias=True)
    problem = gf.Problem(network, gf.Dataset(x[:, None], np.sin(3 * x)), LOSSES["square"])
    flow = gf.GradientFlow(problem)
    run = gf.simulate(flow, problem.theta, 1e4, solver=BDF())
    # The same loss without a structure that is known.
    dense = gf.Problem.from_loss(problem.loss, problem.theta)
    other = gf.simulate(gf.GradientFlow(dense), problem.theta, 1e4, solver=BDF())
    assert run.error_estimate is not None
    assert other.error_estimate is not None
    both = run.error_estimate[-1] + other.error_estimate[-1]
    assert 0 < jnp.linalg.norm(run.theta[-1] - other.theta[-1]) <= both <= 1e-4 * jnp.linalg.norm(other.theta[-1])
    # A Hessian is three products and its rows' pass back; of a dense one 46.
    assert run.stats["hessian_products"] % 4 == 0
    assert run.stats["hessian_products"] < 0.15 * other.stats["hessian_products"]
    assert run.stats["steps"] < 1.1 * other.stats["steps"]


def test_wide_networks_on_few_samples_have_bdf_to_choose():
    def offered(width: int, samples: int) -> bool:
        network = gf.networks.TwoLayer(1, width, gf.networks.Tanh(), key=KEY)
        inputs = np.linspace(-1, 1, samples)
        problem = gf.Problem(network, gf.Dataset(inputs[:, None], inputs), LOSSES["square"])
        tolerance = Tolerance(jnp.asarray(1e-6), jnp.asarray(1e-9))
        choice = chooser(gf.GradientFlow(problem), problem.theta, tolerance)
        return np.isfinite(choice._implicit.stages)

    # n + 2 numbers for each of 2·width parameters, a million at most.
    assert offered(10_000, 48)
    assert not offered(10_001, 48)
    assert not offered(510, 400)
