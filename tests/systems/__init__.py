"""Gradient flows with closed-form solutions, each with its derivation.

Every entry of `SYSTEMS` is a problem, a start, an end time and the exact θ(t).
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from scipy.optimize import brentq

import gfsim as gf


@dataclass(frozen=True)
class System:
    """θ' = −∇L(θ) from `start` with exact solution `exact(t)`; `stiffness` is λ_max·t1."""

    problem: gf.Problem
    start: Array
    t1: float
    exact: Callable[[float], Array]
    stiffness: float


def quadratic(eigenvalues: tuple[float, ...], t1: float) -> System:
    """L = ½ θᵀAθ with A = QΛQᵀ: θ(t) = Q e^{−Λt} Qᵀθ0.

    The rotation keeps componentwise error control from seeing one mode at a time.
    """
    lam = jnp.array(eigenvalues)
    q, _ = jnp.linalg.qr(jax.random.normal(jax.random.key(1), (lam.size, lam.size)))
    a = q @ jnp.diag(lam) @ q.T
    start = q @ jnp.ones(lam.size)
    problem = gf.Problem.from_loss(lambda x: 0.5 * x @ a @ x, start)
    return System(problem, start, t1, lambda t: q @ jnp.exp(-lam * t), max(eigenvalues) * t1)


def quartic() -> System:
    """L = ¼‖θ‖⁴: the direction is fixed and r' = −r³, so r(t) = r0/√(1 + 2 r0² t). Algebraic decay."""
    start = jnp.array([1.2, -0.5, 0.9])
    problem = gf.Problem.from_loss(lambda x: 0.25 * jnp.sum(x**2) ** 2, start)
    r2 = jnp.sum(start**2)
    return System(problem, start, 8.0, lambda t: start / jnp.sqrt(1 + 2 * r2 * t), float(3 * r2 * 8))


def balanced_product() -> System:
    """L = ½(ab − 1)² from a = b = w0: w' = w(1 − w²), so p = w² obeys p' = 2p(1 − p), a logistic curve.

    p(t) = p0 e^{2t}/(1 − p0 + p0 e^{2t}): leaves the saddle at the origin, then converges exponentially.
    """
    w0 = 0.01
    start = jnp.array([w0, w0])
    problem = gf.Problem.from_loss(lambda x: 0.5 * (x[0] * x[1] - 1) ** 2, start)

    def exact(t: float) -> Array:
        p0 = w0**2
        p = p0 / (p0 + (1 - p0) * jnp.exp(-2.0 * t))
        return jnp.sqrt(p) * jnp.ones(2)

    return System(problem, start, 12.0, exact, 24.0)


def two_layer_neuron() -> System:
    """One degree-2 neuron f(x) = a·max(wx, 0)², one sample (x, y) = (1, 1), square loss, on the balanced ray.

    L = ½(aw² − 1)²; a' = −r w², w' = −2r a w with r = aw² − 1 keeps w² = 2a², hence a' = 2a²(1 − 2a³) up to the
    equilibrium 2a³ = 1. With z = 2a³: z' = 6a²·a' = 12a⁴(1 − z), solved for t(z) in closed form by partial fractions
    of dt/da = 1/(2a²(1 − 2a³)); here only the inverse function t(a) is needed, evaluated by the test on the result.
    """
    net = gf.networks.TwoLayer(1, 1, gf.networks.ReLUPower(2), key=jax.random.key(0))
    problem = gf.Problem(net, gf.Dataset(jnp.ones((1, 1)), jnp.ones(1)), gf.losses.Square())
    a0 = 0.3
    # θ holds the fields in order: w, then a.
    start = jnp.array([jnp.sqrt(2.0) * a0, a0])

    def time_of(a: float) -> float:
        """∫ da/(2a²(1 − 2a³)) = −1/(2a) + ∫ a da/(1 − 2a³), with c = 2^{1/3} and b = ca in the second term."""
        c = 2.0 ** (1 / 3)
        b = c * a
        # ∫ b/(1 − b³) db = −⅓ln(1 − b) + ⅙ln(1 + b + b²) − (1/√3) atan((2b + 1)/√3)
        rest = -np.log1p(-b) / 3 + np.log(1 + b + b * b) / 6 - np.arctan((2 * b + 1) / 3**0.5) / 3**0.5
        return -1 / (2 * a) + rest / c**2

    def exact(t: float) -> Array:
        a = brentq(lambda a: float(time_of(a) - time_of(a0)) - t, a0, 2.0 ** (-1 / 3) * (1 - 1e-15), xtol=1e-15)
        return jnp.array([jnp.sqrt(2.0) * a, a])

    return System(problem, start, 4.0, exact, 20.0)


SYSTEMS: dict[str, Callable[[], System]] = {
    "quadratic": lambda: quadratic((0.1, 0.5, 1.0, 2.0), 5.0),
    "stiff quadratic": lambda: quadratic((0.01, 0.3, 5.0, 300.0), 50.0),
    "quartic": quartic,
    "balanced product": balanced_product,
    "two-layer neuron": two_layer_neuron,
}
