"""The stiffness that the choice of a solver sees."""

import jax.numpy as jnp
import numpy as np
import pytest

import gfsim as gf
from gfsim.simulation import choice
from gfsim.simulation.run import Run
from gfsim.simulation.step_control import Tolerance
from gfsim.solvers.spectral_radius import generic_direction

FLAT = 10_000


@pytest.mark.parametrize(
    ("curvatures", "decay"), [([6e3], 6e3), ([-5.0, 3.0], 3.0), ([-5.0], 0.0), ([2.0, 1.9, -1.9], 2.0)]
)
def test_the_fastest_decay_is_seen_among_thousands_of_flat_directions(curvatures, decay):
    curvatures = jnp.array(curvatures)
    problem = gf.Problem.from_loss(
        lambda p: 0.5 * jnp.sum(curvatures * p[: curvatures.size] ** 2), np.ones(curvatures.size + FLAT)
    )
    flow = gf.GradientFlow(problem)
    tolerance = Tolerance(jnp.array(1e-6), jnp.array(1e-9))
    motion = Run(flow, problem.theta, np.array(1.0), None, (), tolerance, None).motion
    found, _, products = choice.stiffness(flow, jnp.asarray(30), motion, generic_direction(motion.y.state))
    assert found == pytest.approx(decay, rel=0.02, abs=0.02)
    assert products <= 61
