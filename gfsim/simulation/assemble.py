"""From the states that a run kept to its trajectory."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from gfsim.placement import on_host
from gfsim.simulation.descend import DescentRun
from gfsim.simulation.measure import Ends, Observable, measure
from gfsim.simulation.run import Run
from gfsim.simulation.trajectory import Trajectory


def assembled(
    run: Run | DescentRun,
    observers: Mapping[str, Observable],
    began: float,
    companion: Callable[[Trajectory], Trajectory] | None,
) -> Trajectory:
    """The trajectory of a run that began at `began` of `time.perf_counter`."""
    if isinstance(run, Run) and run.measured is not None:
        columns = _of_ends(run.measured, *run.end())
    else:
        columns = _of_rows(run, observers)
    outcomes = run.outcomes()
    stats = {**run.account(), "seconds": time.perf_counter() - began}
    trajectory = Trajectory(
        **columns,
        outcome=outcomes if run.ensemble else outcomes[0],
        stats=stats,
        companion=None if companion is None else lambda: companion(trajectory),
    )
    for name in ("energy_residual", "invariant_drift"):
        if (violation := getattr(trajectory, name)) is not None:
            stats[name] = float(np.abs(violation).max())
    return trajectory


def _of_ends(measured: Ends, clock: float, dissipated: float) -> dict[str, Any]:
    """The columns of a single run whose two ends are measured, or its start alone where that was its end."""
    rows = slice(2 if clock > 0 else 1)
    conserved = None if measured.conserved is None else on_host(measured.conserved)
    log_t, potential = on_host(measured.numbers)
    return {
        "t": np.array([0.0, clock])[rows],
        "log_t": log_t[rows],
        "theta": measured.theta if clock > 0 else jax.device_put(on_host(measured.theta)[rows]),
        "observed": {},
        "valid": np.ones(2, bool)[rows],
        "potential": potential[rows],
        "dissipated": np.array([0.0, dissipated])[rows],
        "conserved": None if conserved is None else conserved[rows],
        "start": {"potential": np.asarray(potential[0]), "conserved": None if conserved is None else conserved[0]},
    }


def _of_rows(run: Run | DescentRun, observers: Mapping[str, Observable]) -> dict[str, Any]:
    """The columns of a run that kept any rows, measured now."""
    start_is_kept, sizes, table = run.rows()
    count, longest = table.clock.shape
    # One after the other, each as long as the longest.
    flat = lambda x: x.reshape(count * longest, *x.shape[2:])  # noqa: E731
    clock = flat(table.clock)
    measured = measure(run.dynamics, observers, (clock, jax.tree.map(flat, table.state)))
    first = 0 if start_is_kept else 1

    def kept(rows: Any) -> np.ndarray:
        rows = rows.reshape(count, longest, *rows.shape[1:])[:, first:]
        return rows if run.ensemble else rows[0]

    def at_start(rows: Any) -> np.ndarray | None:
        if rows is None:
            return None
        return rows[::longest] if run.ensemble else np.asarray(rows[0])

    return {
        "t": kept(clock),
        "log_t": kept(measured.log_t),
        "theta": jax.device_put(kept(measured.theta)),
        "observed": {name: kept(values) for name, values in measured.observed.items()},
        "valid": (np.arange(longest) < sizes[:, None])[:, first:] if run.ensemble else np.ones(longest - first, bool),
        "potential": kept(measured.potential),
        "dissipated": None if table.dissipated is None else kept(flat(table.dissipated)),
        "conserved": None if measured.conserved is None else kept(measured.conserved),
        "start": {"potential": at_start(measured.potential), "conserved": at_start(measured.conserved)},
    }
