"""Scatter, angles, self-duality and nearest-mean errors against the log-loss, and the margin."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray
from matplotlib.figure import Figure

from gfsim.plotting import COLOURS, style

MARKS: dict[str, dict[str, Any]] = {
    "simplex": {"color": COLOURS["flow"], "marker": "o"},
    "unequal classes": {"color": COLOURS["modified"], "marker": "s"},
    "control, K > d + 1": {"color": COLOURS["gradient descent"], "marker": "^"},
    "digits": {"color": COLOURS["other"], "marker": "D"},
}
TITLES = (
    "(a) NC1: scatter within classes",
    "(b) NC2: off the simplex's angles",
    "(c) NC3 · ‖W‖: W off class means",
    "(d) margin / the simplex's",
)


def figure(record: xarray.Dataset, venue: str) -> Figure:
    """(a) NC1, (b) NC2, (c) NC3·‖W‖ with the conserved √K‖w̄‖ dashed, (d) q_min/‖W‖ over √K/(K−1)."""
    with style(venue):
        width, _ = plt.rcParams["figure.figsize"]
        fig, axes = plt.subplots(2, 2, figsize=(width, 0.55 * width), sharex=True)
        for case in record["case"].values:
            r, marks = record.sel(case=case), {**MARKS[str(case)], "ms": 2.5, "markevery": 6, "mfc": "none", "mew": 0.7}
            depth, size = -r["log_loss"].values, r["classifier_norm"].values
            classes = float(r["classes"])
            axes[0, 0].loglog(depth, r["nc1"], **marks, label=str(case))
            axes[0, 1].loglog(depth, r["nc2"], **marks)
            axes[1, 0].loglog(depth, r["nc3"] * size, **marks)
            axes[1, 0].axhline(float(r["mean_row"]), color=marks["color"], lw=0.7, ls="--", zorder=1)
            axes[1, 1].semilogx(depth, r["margin"] / size * (classes - 1) / classes**0.5, **marks)
        theory(axes)
        for ax, title in zip(axes.ravel(), TITLES, strict=True):
            ax.set_title(title, loc="left")
        for ax in axes[1]:
            ax.set_xlabel("$-\\log\\,\\mathcal{L}$")
        fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=5)
    return fig


def theory(axes: np.ndarray) -> None:
    """The square's angles and margin, the simplex's margin, and the key of (c)'s dashed lines."""
    axes[0, 0].plot([], [], color=COLOURS["theory"], lw=0.7, label="theory")
    axes[0, 0].set_ylim(1e-32, 10)
    axes[0, 1].axhline(2 / 3, color=COLOURS["theory"], lw=0.7, zorder=1)
    for value in (1.0, 0.75):
        axes[1, 1].axhline(value, color=COLOURS["theory"], lw=0.7, zorder=1)
    axes[1, 1].set_ylim(-0.1, 1.15)
    axes[1, 0].plot([], [], color=COLOURS["reference"], lw=0.7, ls="--", label="conserved $\\sqrt{K}\\,\\|\\bar w\\|$")
    axes[1, 0].legend(loc="best")
