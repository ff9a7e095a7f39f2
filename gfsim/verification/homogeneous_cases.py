"""A function, a field and a canonical norm, all homogeneous under d(s) = diag(e^{2s}, e^s), in closed form."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from scipy.integrate import solve_ivp

from gfsim.problems.data import Dataset
from gfsim.problems.losses import Square
from gfsim.problems.networks import Dilation, FeedForward, ReLUPower, Tanh, exponents
from gfsim.problems.problem import Problem


def drawn(size: int, width: int, outputs: int, seed: int) -> FeedForward:
    """Two layers of tanh with spread kinks."""
    keys = jax.random.split(jax.random.key(seed))
    network = FeedForward((size, width, outputs), Tanh(), key=keys[0], bias=True)
    spread = (2 * network.weights[0], jax.random.normal(keys[1], (width,)))
    return eqx.tree_at(lambda n: (n.weights[0], n.biases[0]), network, spread)


def circle(n: int) -> np.ndarray:
    """n points of the unit circle, shape (n, 2)."""
    angle = 2 * np.pi * (np.arange(n) + 0.5) / n
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def relative(exact: np.ndarray, found: np.ndarray) -> float:
    """Root mean square of found − exact over that of exact."""
    return float(np.sqrt(np.mean((found - exact) ** 2) / np.mean(exact**2)))


def target_at(x: jax.Array) -> jax.Array:
    """Of degree 2, smooth but at 0, at one x."""
    return x[1] ** 2 + x[0] * (x[0] ** 2 - x[1] ** 4) / (x[0] ** 2 + x[1] ** 4)


def target(x: np.ndarray) -> np.ndarray:
    """`target_at` every row."""
    return np.asarray(target_at(jnp.asarray(x).T))


def closed_norm(x: jax.Array) -> jax.Array:
    """‖x‖_d for P = I, from x1²/ρ⁴ + x2²/ρ² = 1."""
    return jnp.sqrt((x[1] ** 2 + jnp.sqrt(x[1] ** 4 + 4 * x[0] ** 2)) / 2)


def field(x: np.ndarray) -> np.ndarray:
    """Of degree 0, smooth but at 0; its flow turns about 0 and falls into it."""
    size = (x[:, 0] ** 2 + x[:, 1] ** 4) ** 0.25
    return np.stack([-0.5 * x[:, 0] + 2 * x[:, 1] * size, -0.3 * x[:, 1] - 2 * x[:, 0] / size], axis=1)


def batched(network, x: np.ndarray) -> np.ndarray:
    """The network at every row."""
    return np.asarray(_over_rows(network, jnp.asarray(x)))


@eqx.filter_jit
def _over_rows(network, x: jax.Array) -> jax.Array:
    return jax.vmap(network)(x)


def followed(f, x0: np.ndarray, times: np.ndarray | None, end: float):
    """scipy's solution of x' = f(x), with its passages through x1 = 0 from below as events."""

    def rising(t: float, x: np.ndarray) -> float:
        return float(x[0])

    rising.direction = 1  # pyright: ignore[reportFunctionMemberAccess]
    options = {"rtol": 1e-11, "atol": 1e-14, "events": rising, "t_eval": times}
    return solve_ivp(lambda t, x: np.asarray(f(x)), (0, end), x0, "DOP853", **options)


def norm_gaps(seed: int) -> list[float]:
    """Largest errors of ‖x‖_d, its gradient and its Hessian from 1e-3 to 1e6, brought back to the sphere."""
    rho = 10 ** np.random.default_rng(seed).uniform(-3, 6, 200)
    units = rho[:, None] ** np.array([2.0, 1.0])
    x, norm = circle(200) * units, Dilation(np.diag([2.0, 1.0]), np.eye(2)).norm
    factors = (1 / rho, units / rho[:, None], units[:, :, None] * units[:, None, :] / rho[:, None, None])
    gaps = []
    for transform, factor in zip((lambda f: f, jax.grad, jax.hessian), factors, strict=True):
        found, exact = (jax.jit(jax.vmap(transform(f)))(x) for f in (norm, closed_norm))
        gaps.append(float(np.max(np.abs(factor * (found - exact)))))
    return gaps


def balance(seed: int) -> float:
    """d/dt ½θᵀΛθ = θᵀΛθ' of gradient flow over −mean(ℓ'f), for a ReLU network with biases: one by Euler's identity."""
    relu = FeedForward((2, 6, 1), ReLUPower(1), key=jax.random.key(seed), bias=True)
    problem = Problem(relu, Dataset(circle(50), target(circle(50))), Square())
    theta = problem.theta + 0.1 * jax.random.normal(jax.random.key(seed + 1), problem.theta.shape)
    outputs = problem.outputs(theta)
    law = jnp.mean((outputs - problem.data.targets) * outputs)
    return float(jnp.vdot(exponents(relu) * theta, problem.grad(theta)) / law)
