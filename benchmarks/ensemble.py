"""What an ensemble saves: 1,000 flows of 100 parameters in one call beside the same solves one after another.

Two layers of 20 neurons on four inputs, with 4 and with 20 samples, from random starts; prints the medians of seconds
and of their ratio over five turns, and how far apart the ends are. The solves one after another are the first hundred,
ten times over.
"""

import time

import jax
import jax.numpy as jnp
import numpy as np

import gfsim as gf

MEMBERS, ALONE, TURNS = 1000, 100, 5


def main() -> None:
    random = np.random.default_rng(0)
    for samples in (4, 20):
        inputs = random.normal(size=(samples, 4))
        data = gf.Dataset(inputs, np.sin(inputs[:, 0]) * inputs[:, 1])
        for activation in (gf.networks.ReLUPower(2), gf.networks.Tanh()):
            network = gf.networks.TwoLayer(4, 20, activation, key=jax.random.key(0))
            problem = gf.Problem(network, data, gf.losses.Square())
            starts = jnp.asarray(0.3 * random.normal(size=(MEMBERS, problem.size)))
            flow = gf.GradientFlow(problem)
            for t1 in (1.0, 3.0, 100.0, 1e4, 1e6):
                measure(f"{activation}, {samples} samples, t1 = {t1:g}", flow, starts, t1)


def measure(name: str, flow: gf.GradientFlow, starts: jax.Array, t1: float) -> None:
    gf.simulate(flow, starts, t1)
    gf.simulate(flow, starts[0], t1)
    seconds = []
    for _ in range(TURNS):
        began = time.perf_counter()
        together = gf.simulate(flow, starts, t1)
        middle = time.perf_counter()
        alone = [gf.simulate(flow, start, t1) for start in np.asarray(starts[:ALONE])]
        seconds.append((middle - began, (time.perf_counter() - middle) * MEMBERS / ALONE))
    apart = max(
        float(np.linalg.norm(one.theta[-1] - many) / np.linalg.norm(many))
        for one, many in zip(alone, np.asarray(together.theta[:ALONE, -1]), strict=True)
    )
    at_once, one_by_one = np.median(seconds, axis=0)
    print(
        f"{name}: {at_once:.3f} s together, {one_by_one:.2f} s one after another, ratio"
        f" {np.median([b / a for a, b in seconds]):.1f}; gradients {together.stats['gradients'] // MEMBERS} and"
        f" {sum(a.stats['gradients'] for a in alone) // ALONE} a member; ends at most {apart:.1e} apart, relative",
        flush=True,
    )


if __name__ == "__main__":
    main()
