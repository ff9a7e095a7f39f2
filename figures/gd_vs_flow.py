"""Gradient descent against flow: (a) orders, (b) drift of conserved quantities, (c) escape from a saddle, (d) work."""

from typing import Any

import numpy as np
import xarray
from matplotlib.figure import Figure

from gfsim.plotting import COLOURS, power_law, residuals, sheets, style

MODELS = {"flow": COLOURS["flow"], "modified-1": COLOURS["modified"], "modified-2": COLOURS["other"]}
MARKERS = ("o", "s", "^")


def figure(record: xarray.Dataset, venue: str) -> list[Figure] | None:
    """Above, distances against the step with residuals of the predicted powers; below, drift, escape and work."""
    if "case" not in record.dims:
        # One point of a sweep: `gfsim fit` draws them together.
        return None
    with style(venue):
        figures, (upper, lower) = sheets(venue, 0.43, 0.32)
        orders(upper, record)
        axes = lower.subplots(1, 3)
        drift(axes[0], record)
        escape(axes[1], record)
        work(axes[2], record)
    return figures


def orders(fig, record: xarray.Dataset) -> None:
    """One column after a step, one at t = 1; a colour for each model, a marker for each network."""
    axes = fig.subplots(2, 2, height_ratios=(3, 1), sharex="col")
    eta = record["step_size"].values
    for column, row, first in zip(axes.T, record["row"].values, (2, 1), strict=True):
        for case, marker in zip(record["case"].values, MARKERS, strict=False):
            for k, (model, colour) in enumerate(MODELS.items()):
                distance = record["distance"].sel(case=case, model=model, row=row).values
                marks: dict[str, Any] = {"color": colour, "marker": marker}
                label = str(case) if model == "flow" else None
                power_law(eta, distance, first + k, ax=column[0], label=label, **marks)
                residuals(eta, distance, first + k, ax=column[1], **{**marks, "ms": 2})
        column[0].set_title(f"({'a' if first == 2 else 'b'}) ‖GD − model‖, {row}", loc="left")
        column[1].set_xlabel("step size η")
        column[1].margins(y=0.25)
        for ax in column:
            ax.set_xticks(eta, [f"{value:g}" for value in eta])
            ax.xaxis.set_minor_formatter("")
            ax.minorticks_off()
    axes[0, 0].set_ylabel("distance")
    axes[1, 0].set_ylabel("resid. [%]")
    for model, colour in MODELS.items():
        axes[0, 0].plot(
            [], [], color=colour, lw=3, label=model.replace("-", " flow, order ") if "-" in model else "gradient flow"
        )
    axes[0, 0].plot([], [], color=COLOURS["theory"], lw=0.7, label="theory: slopes 2, 3, 4 and 1, 2, 3")
    handles: Any = axes[0, 0].get_legend_handles_labels()
    fig.legend(*handles, loc="outside right center")


def drift(ax, record: xarray.Dataset) -> None:
    """‖w_j‖² − a_j² of the neurons along descent, and the law as dashes over it."""
    scale = 1e3
    lines = ax.plot(record["drift_time"], scale * record["drift"], color=COLOURS["gradient descent"])
    dashes = ax.plot(record["drift_time"], scale * record["drift_predicted"], color=COLOURS["theory"], lw=0.7, ls="--")
    lines[0].set_label("descent")
    dashes[0].set_label("theory")
    ax.axhline(0, color=COLOURS["flow"], label="flow")
    ax.set(xlabel="time t", ylabel="drift of ‖w‖² − a², ×10³")
    ax.set_title("(c) conserved quantities", loc="left")
    low, high = ax.get_ylim()
    ax.set_ylim(low, high + 0.45 * (high - low))
    ax.legend(loc="upper left", handlelength=1.2)


def escape(ax, record: xarray.Dataset) -> None:
    """Escape time per e-fold of the start, descent over flow."""
    eta = record["escape_step"].values
    line = np.linspace(1e-3, 1.15 * eta.max(), 100)
    ax.plot(line, line / np.log1p(line), color=COLOURS["theory"], lw=0.7, label="theory: ημ/ln(1 + ημ)")
    ax.plot(eta, record["escape_ratio"], "o", ms=3.5, color=COLOURS["gradient descent"], label="measured")
    ax.set(xlabel="ημ", ylabel="time, descent / flow")
    ax.set_title("(d) escape from a saddle", loc="left")
    ax.set_ylim(None, 1 + 1.45 * (ax.get_ylim()[1] - 1))
    ax.legend(loc="upper left", handlelength=1.2)


def work(ax, record: xarray.Dataset) -> None:
    """Gradients up to a horizon."""
    ax.loglog(record["horizon"], record["descent_gradients"], "s-", ms=3.5, color=COLOURS["gradient descent"])
    ax.loglog(record["horizon"], record["flow_gradients"], "o-", ms=3.5, color=COLOURS["flow"])
    end = record.isel(horizon=-1)
    ax.text(
        end["horizon"],
        1.5 * end["descent_gradients"],
        "descent at 2/λ",
        color=COLOURS["gradient descent"],
        ha="right",
        size=6,
    )
    ax.text(
        end["horizon"], end["flow_gradients"] / 4, "exact flow", color=COLOURS["flow"], ha="right", va="top", size=6
    )
    ax.set(xlabel="horizon T", ylabel="gradients")
    ax.set_title("(e) work", loc="left")
    ax.margins(y=0.15)
