"""What portraits cost, once compiled; prints processor seconds and wall-clock seconds.

A 400 × 400 field of a network of 1,000 parameters on 50 data points; full portraits of planar systems (streamlines,
critical points, separatrices, basins); a portrait of a plane through the network's parameters; and the sphere.
"""

import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

import gfsim as gf
from gfsim.portraits import measured, planar, plane_through, spherical

SIDE = (-2.0, 2.0)


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Processor and wall-clock seconds of the second call."""
    work()
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - cpu, time.perf_counter() - wall


def product(theta: jax.Array) -> jax.Array:
    return 0.5 * (theta[0] * theta[1] - 1) ** 2


def spiral(x: jax.Array) -> jax.Array:
    return jnp.array([x[1], (1 - x[0] ** 2) * x[1] - x[0]])


def stretched(u: jax.Array) -> jax.Array:
    return jnp.array([3.0, 2.0, 1.0]) * u


def main() -> None:
    whole = ("streamlines", "points", "basins")
    inputs, targets = jax.random.normal(jax.random.key(0), (50, 9)), jax.random.normal(jax.random.key(1), (50,))
    network = gf.networks.TwoLayer(9, 100, gf.networks.Tanh(), key=jax.random.key(2))
    problem = gf.Problem(network, gf.Dataset(inputs, targets), gf.losses.Square())
    assert problem.size == 1000
    corners = np.random.default_rng(0).standard_normal((3, problem.size)) / 10
    plane = plane_through(problem, corners)
    steps = np.linspace(-1, 1, 400)
    grid = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    net = gf.Problem.from_loss(product, jnp.ones(2))
    rows = {
        "400 × 400 field, 1,000 parameters, 50 points": lambda: measured(plane, grid),
        "portrait of ½(aw − 1)²": lambda: planar(net, SIDE, SIDE, parts=whole),
        "portrait of van der Pol's oscillator": lambda: planar(spiral, (-4.0, 4.0), (-4.0, 4.0), parts=whole),
        "portrait of a sphere": lambda: spherical(stretched, parts=whole),
        "streamlines in the plane, 1,000 parameters": lambda: planar(plane, SIDE, SIDE, parts=("streamlines",)),
    }
    for name, work in rows.items():
        cpu, wall = seconds(work)
        print(f"{name:46} {cpu:8.2f} s processor {wall:8.2f} s wall", flush=True)


if __name__ == "__main__":
    main()
