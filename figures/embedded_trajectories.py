"""Embedded trajectories: phase portrait, error against time, the clock, boundaries, and what lies off the image."""

from typing import Any

import numpy as np
import xarray
from matplotlib.figure import Figure

from gfsim.plotting import COLOURS, path, phase_portrait, sheets, style
from gfsim.portraits import Portrait

NARROW, WIDE = {"color": COLOURS["other"], "lw": 2.4}, {"color": COLOURS["flow"], "lw": 0.9, "ls": "--"}
DEGREES = ((COLOURS["flow"], "o"), (COLOURS["gradient descent"], "s"), (COLOURS["modified"], "^"))
# The largest error that the source reports for its experiment.
PUBLISHED = 4.46e-13
# Times marked on the last path.
MARKS = (1, 10)
NAMES = {"streamlines": "flow of the plane's own part", "saddle": "saddle of L"}
TICKS = (1e-15, 1e-10, 1e-5, 1)
ROUNDING = np.finfo(float).eps


def figure(record: xarray.Dataset, venue: str) -> list[Figure]:
    """Two rows of three panels."""
    with style(venue):
        figures, (upper, lower) = sheets(venue, 0.4, 0.35)
        axes = upper.subplots(1, 3)
        portrait(axes[0], record)
        shared(axes[1], record)
        clocks(axes[2], record)
        handles, labels = axes[0].get_legend_handles_labels()
        named = [NAMES.get(str(label), str(label)) for label in labels]
        upper.legend(handles, named, loc="outside upper center", ncols=4, columnspacing=1.2)
        axes = lower.subplots(1, 3)
        boundaries(axes[0], record)
        flows(axes[1], record)
        beside(axes[2], record)
    return figures


def portrait(ax, record: xarray.Dataset) -> None:
    """The plane of the weight along the KKT direction and the output weight, with both networks' flows projected."""
    drawn = Portrait.from_xarray(record, "plane")
    artists = phase_portrait(drawn, ax=ax)
    paths = record["path"].transpose("start", "width", "point", "coordinate").values
    for k in range(0, len(paths), 2):
        (narrow, wide), marks = paths[k], MARKS if k + 2 >= len(paths) else ()
        path(narrow, ax=ax, **NARROW, label="narrow, θ" if k == 0 else None)
        path(wide, record["path_time"][k], marks, ax=ax, **WIDE, label="wide, $T^+\\eta$, at t" if k == 0 else None)
    goal = record["goal"].values / np.max(record["goal"].values)
    ax.plot(*np.outer(goal, [0, drawn.grid.max()]), color=COLOURS["theory"], lw=0.7, zorder=2.4, label="KKT ray")
    grey = artists["background"].to_rgba(drawn.outside.max(), alpha=artists["background"].get_alpha())
    ax.fill([], [], color=grey, lw=0, label=f"share of ∇L out of the plane: {drawn.outside.max():.2g}")
    ax.set(xlabel="w along the KKT direction", ylabel="output weight a")
    ax.set_title("(a) one neuron and its split", loc="left")


def shared(ax, record: xarray.Dataset) -> None:
    """The published experiment: ‖η − Tθ‖ at every kept step, beside rounding and the published maximum."""
    steps = record["iterate"].values
    looks: list[tuple[str, str]] = [
        ("gradient descent", "descent"),
        ("other", "same batches"),
        ("central", "other batches"),
    ]
    names = {"descent": "descent", "same batches": "SGD, same batches", "other batches": "SGD, other batches"}
    for colour, name in looks:
        error = record["error"].sel(algorithm=name).values
        seen = error > 0
        ax.loglog(steps[seen], error[seen], color=COLOURS[colour], lw=0.9, label=names[name])
    ax.loglog(steps, ROUNDING * record["norm"].values, color=COLOURS["theory"], lw=0.7, label="rounding, ε‖θ‖")
    ax.axhline(PUBLISHED, color=COLOURS["reference"], lw=0.7, ls=":", label="published maximum")
    ax.set(xlabel="step", ylabel="‖η − Tθ‖", ylim=(1e-17, 1e15), yticks=TICKS)
    ax.legend(loc="upper left", borderpad=0, labelspacing=0.25)
    ax.set_title("(b) published experiment", loc="left")


def clocks(ax, record: xarray.Dataset) -> None:
    """Descents of p = 2 and 3 with and without the clock τ."""
    steps = record["descent_step"].values
    for case, (colour, _) in zip(record["case"].values, DEGREES, strict=False):
        own = record.sel(case=case)
        for clock, line in (("own", "-"), ("narrow", "--")):
            error = own["descent_error"].sel(clock=clock).values
            if clock == "own" or float(own["tau"]) != 1:
                label = f"{case}, τ = {float(own['tau']):.3g}" if clock == "own" else None
                ax.semilogy(steps[1:], np.maximum(error[1:], 1e-17), color=colour, ls=line, label=label)
    ax.plot([], [], color=COLOURS["reference"], ls="--", label="without the clock")
    ax.set(xlabel="step", ylabel="‖η − Tθ‖", ylim=(1e-17, 1e15), yticks=TICKS)
    ax.legend(loc="upper left", borderpad=0, labelspacing=0.25)
    ax.set_title("(c) descents with clock τ", loc="left")


def boundaries(ax, record: xarray.Dataset) -> None:
    """The boundaries f = 0 of both networks on the data of p = 2."""
    x, y = record["x"].values, record["y"].values
    narrow, wide = record["boundary"].transpose("width", "y", "x").values
    label, sample = record["label"].values, record["sample"].values
    for sign, colour, marker in ((1, COLOURS["gradient descent"], "o"), (-1, COLOURS["modified"], "^")):
        ax.plot(*sample[label == sign].T, marker, ms=1.8, color=colour, label=f"y = {'+' if sign > 0 else '−'}1")
    ax.contour(x, y, narrow, [0], colors=[NARROW["color"]], linewidths=NARROW["lw"])
    ax.contour(x, y, wide, [0], colors=[WIDE["color"]], linewidths=WIDE["lw"], linestyles="--")
    ax.set(xlabel="$x_1$", ylabel="$x_2$", xlim=(-4, 4), ylim=(-4, 4), aspect="equal")
    ax.legend(loc="lower left", bbox_to_anchor=(0, 0.98), ncols=2, borderpad=0, columnspacing=1, handletextpad=0.2)
    ax.set_title("(d) boundaries f = 0, p = 2\n", loc="left")


def flows(ax, record: xarray.Dataset) -> None:
    """Independent flows: error against time, and the largest that the runs estimate."""
    colours = [COLOURS[name] for name in ("flow", "gradient descent", "modified", "central")]
    for case, colour in zip(record["case"].values, colours, strict=False):
        own = record.sel(case=case)
        error = own["flow_error"].sel(clock="own").values
        ax.loglog(own["flow_time"], np.maximum(error, 1e-18), color=colour, label=case)
    most = float(record["flow_estimate"].max())
    ax.axhline(most, color=COLOURS["theory"], lw=0.7, label="estimate")
    ax.axhline(ROUNDING, color=COLOURS["reference"], lw=0.7, ls=":", label="rounding")
    ax.set(xlabel="time t of the narrow flow", ylabel="‖η − Tθ‖/max‖η‖", ylim=(1e-17, 1e8), yticks=TICKS[:-1])
    ax.legend(loc="upper left", borderpad=0, labelspacing=0.25, ncols=2, columnspacing=1)
    ax.set_title("(e) independent flows", loc="left")


def beside(ax, record: xarray.Dataset) -> None:
    """How far off the image two unequal copies get, with the law's slope p."""
    for (colour, marker), rows, p in zip(DEGREES, record["beside"].values, record["degree"].values, strict=True):
        norm, distance = np.unique(rows, axis=0).T
        ends = np.array([norm[0], norm[-1]])
        ax.loglog(ends, distance[0] * (ends / norm[0]) ** int(p), color=COLOURS["theory"], lw=0.7, zorder=1)
        every: dict[str, Any] = {"marker": marker, "ms": 2.5, "ls": "", "color": colour}
        ax.loglog(norm, distance, **every, label=f"p = {p}")
    ax.plot([], [], color=COLOURS["theory"], lw=0.7, label="theory, ∝ $‖\\eta‖^p$")
    ax.set(xlabel="norm ‖η‖", ylabel="distance from the image", ylim=(1e-11, 1e4), yticks=(1e-10, 1e-5, 1))
    ax.legend(loc="upper left", borderpad=0, labelspacing=0.25)
    ax.set_title("(f) beside the image", loc="left")
