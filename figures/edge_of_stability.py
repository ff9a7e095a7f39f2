"""The edge of stability: loss, sharpness and distance past λ_max = 2/η, one column for each setting."""

import re
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray
from matplotlib.figure import Figure

from gfsim.plotting import COLOURS, style

DESCENT, FLOW, CENTRAL = COLOURS["gradient descent"], COLOURS["flow"], COLOURS["central"]


def figure(record: xarray.Dataset, venue: str) -> Figure:
    """Rows: loss, sharpness over the edge, distance of descent; the last columns are the negative controls."""
    with style(venue):
        width, _ = plt.rcParams["figure.figsize"]
        columns = record.sizes["case"]
        fig, axes = plt.subplots(
            3, columns, figsize=(width, 0.62 * width), sharex=True, squeeze=False, height_ratios=(1.2, 1, 1)
        )
        for column, name in zip(axes.T, record["case"].values, strict=True):
            case = record.sel(case=name)
            column[0].set_title("\n".join(re.split(": |, ", str(name))), loc="left", size=6)
            loss(column[0], case)
            sharpness(column[1], case)
            distance(column[2], case)
        axes[0, 0].set_ylabel("loss")
        axes[1, 0].set_ylabel("sharpness\n· η/2")
        axes[2, 0].set_ylabel("distance\nto descent")
        fig.supxlabel("steps past the edge", size=7)
        axes[0, 0].plot([], [], color=COLOURS["theory"], lw=0.5, ls=":", label="the edge, 2/η")
        handles: Any = axes[0, 0].get_legend_handles_labels()
        fig.legend(*handles, loc="outside upper center", ncols=5, columnspacing=1.2, handletextpad=0.4)
    return fig


def loss(ax, case: xarray.Dataset) -> None:
    """Descent's own loss, the central flow's predicted average of it, and the flow's."""
    ax.plot(case["descent_loss"], color=DESCENT, lw=0.5, label="gradient descent")
    ax.plot(case["flow_loss"], color=FLOW, label="gradient flow")
    ax.plot(case["central_loss"], color=CENTRAL, label="central flow")
    ax.plot(case["predicted_loss"], color=COLOURS["theory"], lw=0.8, ls="--", label="central flow: predicted mean loss")
    # A spike of descent must not flatten the curves that are compared.
    values = np.concatenate([case["flow_loss"], case["predicted_loss"]])
    low, high = values.min(), max(values.max(), np.quantile(case["descent_loss"], 0.9))
    ax.set_ylim(low - 0.1 * (high - low), high + 0.15 * (high - low))


def sharpness(ax, case: xarray.Dataset) -> None:
    """λ_max·η/2 of all three."""
    steps, edge = case["moment_step"], float(case["edge"])
    colours = {"gradient descent": DESCENT, "gradient flow": FLOW, "central flow": CENTRAL}
    for dynamics, colour in colours.items():
        ax.plot(steps, case["sharpness"].sel(dynamics=dynamics) / edge, color=colour)
    ax.axhline(1, color=COLOURS["theory"], lw=0.5, ls=":")
    flow = case["sharpness"].sel(dynamics="gradient flow").values / edge
    ax.set_ylim(0.8 if flow.max() < 4 else 0, min(1.1 * flow.max(), 8))


def distance(ax, case: xarray.Dataset) -> None:
    """‖GD − flow‖ and ‖GD − central‖, in the colours of flow and central flow."""
    ax.plot(case["to_flow"], color=FLOW)
    ax.plot(case["to_central"], color=CENTRAL)
    ax.set_ylim(0, None)
