"""Float64, strict promotion, shaped types checked at run time, and nothing left to chance."""

import itertools
import os

import hypothesis
from jaxtyping import install_import_hook

from gfsim.workbench.runtime import prepare_jax, release_programs

prepare_jax()
os.environ["JAX_NUMPY_RANK_PROMOTION"] = "raise"
os.environ["JAX_NUMPY_DTYPE_PROMOTION"] = "strict"

# What checks its arguments itself (simulate, events, save, the workbench, claims) is left alone: the tests read what it
# says.
install_import_hook(
    [
        "gfsim.types",
        "gfsim.solvers",
        "gfsim.problems",
        "gfsim.dynamics",
        "gfsim.landscape",
        "gfsim.simulation.integrate",
        "gfsim.simulation.lanes",
        "gfsim.simulation.observables",
        "gfsim.simulation.run",
        "gfsim.simulation.step_control",
        "gfsim.simulation.trajectory",
        "gfsim.verification.invariants",
        "gfsim.plotting",
        "gfsim.portraits",
    ],
    "beartype.beartype",
)

hypothesis.settings.register_profile("gfsim", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("gfsim")

_finished = itertools.count(1)


def pytest_runtest_teardown():
    # Reading the maps takes some ten milliseconds.
    if next(_finished) % 8 == 0:
        release_programs()
