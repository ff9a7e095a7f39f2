"""One flow on many devices: run as a script, with its own number of devices or processes; prints a line for each case.

`spread.py` has eight devices in one process; `spread.py ADDRESS INDEX` is one of two processes with four devices each.
"""

import importlib
import os
import sys
import tempfile
from pathlib import Path

from gfsim.workbench.runtime import prepare_jax

prepare_jax()
DEVICES = 8 if len(sys.argv) == 1 else 4
os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={DEVICES}"
os.environ["JAX_PLATFORMS"] = "cpu"

import diffrax as dfx  # noqa: E402
import jax  # noqa: E402
import numpy as np  # noqa: E402
from jax.sharding import NamedSharding, PartitionSpec  # noqa: E402

import gfsim as gf  # noqa: E402
from gfsim.placement import is_spread, placed  # noqa: E402
from gfsim.simulation.checkpoint import Checkpoint  # noqa: E402
from gfsim.simulation.run import Run  # noqa: E402

if len(sys.argv) == 3:
    jax.distributed.initialize(sys.argv[1], num_processes=2, process_id=int(sys.argv[2]))

mesh = jax.make_mesh((8,), ("device",))
split = NamedSharding(mesh, PartitionSpec("device"))
random = np.random.default_rng(0)
inputs, targets = random.normal(size=(64, 6)), random.normal(size=64)
network = gf.networks.TwoLayer(6, 16, gf.networks.Tanh(), key=jax.random.key(0))
alone = gf.Problem(network, gf.Dataset(inputs, targets), gf.losses.Square())
shared = gf.Problem(network, gf.Dataset(placed(inputs, split), placed(targets, split)), gf.losses.Square())
start = np.asarray(alone.theta)
starts = np.linspace(0.5, 1.5, 8)[:, None] * start
save, observe = gf.linear_spaced(0, 2, 4), {"loss": gf.observables.loss}

# Lanczos iterations, as for more parameters than these.
importlib.import_module("gfsim.landscape.spectrum").DENSE = 0
carried = []
advance = Run._advance


def watched(self: Run, *orders: int) -> None:
    advance(self, *orders)
    carried.append(is_spread(self.motion.state) and is_spread(self._kept[0].y.state))


Run._advance = watched
CASES = (
    ("nothing split", alone, start),
    ("samples split", shared, start),
    ("parameters split", alone, placed(start, split)),
    ("both split", shared, placed(start, split)),
    ("members split", alone, placed(starts, split)),
    ("members together", alone, starts),
)
for name, problem, theta0 in CASES:
    if jax.process_count() > 1 and name not in ("both split", "members split"):
        continue
    carried.clear()
    run = gf.simulate(gf.GradientFlow(problem), theta0, 2.0, save=save, observe=observe)
    descent = gf.simulate(gf.GradientDescent(problem, 0.1), theta0, 2.0)
    ends = gf.landscape.spectrum(problem, theta0, 2).values if theta0.ndim == 1 else 0.0
    numbers = [np.linalg.norm(a) for a in (run.theta, run.observed["loss"], run.dissipated, descent.theta, ends)]
    print(name, run.stats["steps"], all(carried), *(f"{x:.13e}" for x in numbers), sep=", ", flush=True)


class Interrupted(Exception):
    """Stands for the end of the process."""


def interrupted(self: Run, *orders: int) -> None:
    if self._taken > 0:
        raise Interrupted
    advance(self, *orders)


if jax.process_count() == 1:
    # Stored after every chunk, ended before the second: what was spread goes on spread.
    Checkpoint.due = lambda self: True
    with tempfile.TemporaryDirectory() as folder:
        ends = []
        for step in (watched, interrupted, watched):
            Run._advance = step
            carried.clear()
            file = Path(folder) / ("whole" if not ends else "resumed")
            try:
                # 72 steps, of which a first call takes 64.
                options = {"save": save, "rtol": 1e-9, "solver": dfx.Tsit5(), "checkpoint": file}
                run = gf.simulate(gf.GradientFlow(shared), placed(start, split), 10.0, **options)
                ends.append(np.asarray(run.theta))
            except Interrupted:
                assert file.exists()
        print("resumed", len(ends) == 2 and np.array_equal(*ends), all(carried), sep=", ", flush=True)
