"""From the states that a run kept to its trajectory."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from gfsim.placement import on_host
from gfsim.simulation.descend import DescentRun
from gfsim.simulation.measure import Observable, measure
from gfsim.simulation.run import Run
from gfsim.simulation.trajectory import Trajectory


def assembled(
    run: Run | DescentRun,
    observers: Mapping[str, Observable],
    began: float,
    companion: Callable[[Trajectory], Trajectory] | None,
) -> Trajectory:
    """The trajectory of a run that began at `began` of `time.perf_counter`."""
    start_is_kept, sizes, table = run.rows()
    count, longest = table.clock.shape
    # One after the other, each as long as the longest.
    flat = lambda x: x.reshape(count * longest, *x.shape[2:])  # noqa: E731
    clock, measured = flat(table.clock), run.measured
    if measured is None:
        measured = measure(run.dynamics, observers, (clock, jax.tree.map(flat, table.state)))
    outcomes, account = run.outcomes(), run.account()
    first = 0 if start_is_kept else 1

    def kept(rows: Any) -> np.ndarray:
        rows = on_host(rows)[: count * longest].reshape(count, longest, *rows.shape[1:])[:, first:]
        return rows if run.ensemble else rows[0]

    theta = measured.theta
    if run.ensemble or first or longest < theta.shape[0] or not isinstance(theta, jax.Array):
        theta = jax.device_put(kept(theta))
    log_t, potential = kept(measured.log_t), kept(measured.potential)

    def at_start(rows: Any) -> np.ndarray | None:
        if rows is None:
            return None
        return on_host(rows)[::longest] if run.ensemble else np.asarray(on_host(rows)[0])

    stats = {**account, "seconds": time.perf_counter() - began}
    trajectory = Trajectory(
        t=kept(clock),
        log_t=log_t,
        theta=theta,
        observed={name: kept(values) for name, values in measured.observed.items()},
        valid=(np.arange(longest) < sizes[:, None])[:, first:] if run.ensemble else np.ones(longest - first, bool),
        potential=potential,
        dissipated=None if table.dissipated is None else kept(flat(table.dissipated)),
        conserved=None if measured.conserved is None else kept(measured.conserved),
        start={"potential": at_start(measured.potential), "conserved": at_start(measured.conserved)},
        outcome=outcomes if run.ensemble else outcomes[0],
        stats=stats,
        companion=None if companion is None else lambda: companion(trajectory),
    )
    for name in ("energy_residual", "invariant_drift"):
        if (violation := getattr(trajectory, name)) is not None:
            stats[name] = float(np.max(np.abs(violation)))
    return trajectory
