"""What a flow of a million parameters costs beside a bare loop of gradients; prints seconds per gradient and memory.

Three tanh layers of 960 neurons on all 1,797 digits, cross-entropy, 994,570 parameters. A Hessian product counts two
gradients. Memory is what the process needed at most beyond what the bare loop did, in vectors of the size of θ.
"""

import resource
import time

import jax

import gfsim as gf

GRADIENTS = 40


def peak() -> float:
    """Bytes of memory that the process held at most."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> None:
    network = gf.networks.FeedForward((64, 960, 960, 10), gf.networks.Tanh(), key=jax.random.key(0), bias=True)
    problem = gf.Problem(network, gf.data.digits(tuple(range(10))), gf.losses.CrossEntropy())
    theta0 = problem.theta

    @jax.jit
    def bare(theta: jax.Array) -> jax.Array:
        return jax.lax.scan(lambda y, _: (y - 0.01 * problem.grad(y), None), theta, length=GRADIENTS)[0]

    jax.block_until_ready(bare(theta0))
    began = time.perf_counter()
    jax.block_until_ready(bare(theta0))
    alone = (time.perf_counter() - began) / GRADIENTS
    before = peak()
    print(
        f"bare loop, {problem.size} parameters: {alone:.3f} s a gradient, peak memory {before / 1e9:.2f} GB", flush=True
    )

    flow = gf.GradientFlow(problem)
    for end in (0.1, 3.0):
        gf.simulate(flow, theta0, end)
        stats = gf.simulate(flow, theta0, end).stats
        work = stats["gradients"] + 2 * stats["hessian_products"]
        each = stats["seconds"] / work
        print(
            f"gf.simulate to {end}: {stats['solver']}, {work} gradients, {each:.3f} s each ({each / alone:.2f} of the"
            f" bare loop's), {(peak() - before) / theta0.nbytes:.0f} vectors more",
            flush=True,
        )


if __name__ == "__main__":
    main()
