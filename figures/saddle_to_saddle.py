"""Saddle to saddle: (a) scalar products, (b) deep linear, (c) ReLU on orthogonal inputs, (d, e) diagonal networks."""

import numpy as np
import xarray
from matplotlib.figure import Figure

from gfsim.plotting import COLOURS, shades, sheets, style

THEORY = {"color": COLOURS["theory"], "lw": 0.7}


def figure(record: xarray.Dataset, venue: str) -> list[Figure]:
    """Three losses with predicted plateaus and jump times above; the diagonal network's β and its errors below."""
    with style(venue):
        figures, (upper, lower) = sheets(venue, 0.37, 0.37)
        axes = upper.subplots(1, 3)
        scalar(axes[0], record)
        loss(axes[1], record, "linear", np.atleast_1d(record["linear_predicted"].values), record["linear_jumps"].values)
        loss(axes[2], record, "relu", np.atleast_1d(record["relu_predicted"].values), record["relu_jumps"].values)
        axes[1].set_title("(b) linear, ranks 0, 1, 2, 3", loc="left")
        axes[2].set_title("(c) ReLU, orthogonal inputs", loc="left")
        axes = lower.subplots(1, 2, width_ratios=(2, 1))
        diagonal(axes[0], record)
        errors(axes[1], record)
    return figures


def scalar(ax, record: xarray.Dataset) -> None:
    """How far the time of w^L = ½ is from its leading order."""
    for depth, marker, colour in zip(record["depth"].values, "os^", shades("flow", 3), strict=True):
        off = np.abs(record["ratio"].sel(depth=depth) - 1)
        ax.loglog(record["alpha"], off, marker + "-", ms=3.5, color=colour, label=f"$L = {depth}$")
    ax.axhline(1e-3, ls="--", **THEORY, label="tolerance at $\\alpha = 10^{-3}$")
    ax.set(xlabel="initial weight α", ylabel="|time / leading order − 1|")
    ax.legend(loc="upper left", borderpad=0)
    ax.set_ylim(top=3e4)
    ax.set_title("(a) products of $L$ scalars", loc="left")


def loss(ax, record: xarray.Dataset, name: str, heights: np.ndarray, jumps: np.ndarray) -> None:
    """The loss on a log axis of time, with predicted plateaus and jump times."""
    t, values = record[f"{name}_time"].values, record[f"{name}_loss"].values
    start, end = 0.4 * jumps[0], 2.5 * jumps[-1]
    edges = [start, *jumps, end]
    for k, height in enumerate([values[0], *heights]):
        ax.plot(edges[k : k + 2], [height, height], ls="--", **THEORY, label="predicted plateau" if k == 0 else None)
    for k, jump in enumerate(jumps):
        ax.axvline(jump, ls=":", color=COLOURS["reference"], lw=0.8, label="predicted jump" if k == 0 else None)
    ax.semilogx(t[1:], values[1:], color=COLOURS["flow"], label="flow", zorder=1)
    ax.set(xlim=(start, end), ylim=(-0.05 * values[0], 1.75 * values[0]), xlabel="time $t$", ylabel="loss")
    ticks = np.array([tick for tick in (5, 10, 20, 50, 100, 200, 400) if start <= tick <= end])
    ax.set_xticks(ticks, [str(tick) for tick in ticks])
    ax.set_xticks([], minor=True)
    ax.legend(loc="upper right", borderpad=0.2, frameon=True, framealpha=1.0, edgecolor="none")


def diagonal(ax, record: xarray.Dataset) -> None:
    """β at the smallest α beside the jump process."""
    clock, beta = record["clock"].values, record["beta"].values[2]
    times, levels = record["jump_time"].values, record["jump_beta"].values
    edges = np.concatenate([[0], times, [clock[-1]]])
    steps = np.concatenate([np.zeros((1, levels.shape[1])), levels])
    for i in range(beta.shape[1]):
        ax.plot(
            clock, beta[:, i], color=COLOURS["flow"], lw=1.6, label="flow, $\\alpha = 10^{-100}$" if i == 0 else None
        )
        ax.stairs(
            steps[:, i],
            edges,
            baseline=None,
            color=COLOURS["theory"],
            lw=0.6,
            zorder=3,
            label="jump process" if i == 0 else None,
        )
    ax.plot(clock, record["beta"].values[3], color=COLOURS["gradient descent"], lw=0.6, alpha=0.6)
    ax.plot([], [], color=COLOURS["gradient descent"], lw=0.6, label="control, $\\alpha = 0.1$")
    top = np.abs(levels).max()
    ax.set(
        xlabel="accelerated time $t\\,/\\,\\ln(1/\\alpha)$",
        ylabel="$\\beta_i$",
        xlim=(0, clock[-1]),
        ylim=(None, 1.5 * top),
    )
    ax.legend(loc="upper right", ncols=3, borderpad=0)
    ax.set_title("(d) diagonal linear network", loc="left")


def errors(ax, record: xarray.Dataset) -> None:
    """The largest relative error of a jump's time against ln(1/α)."""
    logs = -np.log(record["start"].values)
    worst = np.max(np.abs(record["half"].values[:, :, 1] / record["half"].values[:, :, 0] - 1), axis=1)
    ends = np.array([logs[0] / 1.5, logs[2] * 1.5])
    ax.loglog(ends, worst[1] * logs[1] / ends, **THEORY, label="∝ 1/ln(1/α)")
    ax.loglog(logs[:3], worst[:3], "o", ms=3.5, color=COLOURS["flow"], label="flow")
    ax.set(xlabel="ln(1/α)", ylabel="error of the jumps' times")
    ticks = [50, 100, 200]
    ax.set_xticks(ticks, [str(tick) for tick in ticks])
    ax.set_xticks([], minor=True)
    ax.legend(loc="upper right", borderpad=0)
    ax.set_title("(e) convergence", loc="left")
