"""Characteristic curves and the path, robust margin against b, and what is left without conditional separability."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray
from matplotlib.figure import Figure

from gfsim.plotting import COLOURS, shades, style


def figure(record: xarray.Dataset, venue: str) -> Figure:
    """(a) phase portrait in (u, w), (b) robust margin, (c) sparsity."""
    with style(venue):
        width, _ = plt.rcParams["figure.figsize"]
        fig: Any
        axes: Any
        fig, axes = plt.subplots(1, 3, figsize=(width, 0.45 * width))
        portrait(axes[0], record)
        robustness(axes[1], record)
        sparsity(axes[2], record)
        handles, labels = ([*a, *b] for a, b in zip(*(ax.get_legend_handles_labels() for ax in axes[:2]), strict=True))
        fig.legend(handles, labels, loc="outside upper center", ncols=4, columnspacing=1.2)
    return fig


def portrait(ax, record: xarray.Dataset) -> None:
    """Characteristic curves e^{αΛ}θ (parabolas w ∝ u²), level sets of the seminorm w² + ½u², and the paths."""
    paths = record["path"].values
    heights = record["height"].values
    # Where both terms of the seminorm count.
    u_max, w_max = 20.0, 30.0
    u = np.linspace(0, u_max, 200)
    for factor in np.geomspace(0.02, 50, 9):
        ax.plot(u, factor * w_max * (u / u_max) ** 2, color=COLOURS["theory"], lw=0.4, ls="--")
    ax.plot([], [], color=COLOURS["theory"], lw=0.4, ls="--", label="characteristic curves")
    grid_u, grid_w = np.meshgrid(u, np.linspace(0, w_max, 200))
    ax.contour(grid_u, grid_w, np.sqrt(grid_w**2 + 0.5 * grid_u**2), 6, colors=COLOURS["reference"], linewidths=0.4)
    ax.plot([], [], color=COLOURS["reference"], lw=0.4, label="level sets of $\\|\\theta\\|_\\Lambda$")
    for path, b, colour in zip(paths, heights, shades("flow", len(heights)), strict=True):
        ax.plot(path[:, 1], path[:, 0], color=colour, label=f"flow, b = {b:g}")
    ax.set(xlim=(0, u_max), ylim=(0, w_max), xlabel="u  (exponent ½)", ylabel="w  (exponent 1)")
    ax.set_title("(a) phase portrait", loc="left")


def robustness(ax, record: xarray.Dataset) -> None:
    """Closed forms with and without the product beside the flow on fine polygons and the linear programme."""
    a, heights = float(record["a"]), record["height"].values
    b = np.linspace(0, 1, 300)
    root = np.sqrt(1 - b**2)
    ax.plot(b, root * (a - root), color=COLOURS["theory"], lw=0.7, label="theory, quasi-homogeneous")
    ax.plot(b, np.hypot(a, b) - 1, color=COLOURS["theory"], lw=0.7, ls="--", label="theory, homogeneous")
    for name, marker, colour, label in (
        ("direction", "o", "flow", "flow, ball"),
        ("programme", "x", "reference", "linear programme, polygon"),
        ("homogeneous", "s", "other", "flow, homogeneous"),
    ):
        values = [d @ np.array([a, h]) - 1 for d, h in zip(record[name].values, heights, strict=True)]
        ax.plot(heights, values, marker, ms=3.5, mfc="none", color=COLOURS[colour], label=label)
    ax.set(xlabel="b (radius 1)", ylabel="robust margin", ylim=(0, 1.5))
    ax.set_title("(b) two balls", loc="left")


def sparsity(ax, record: xarray.Dataset) -> None:
    """β₁/‖β‖ for b > r against −log 𝓛, both logarithmic."""
    ax.loglog(record["sparse_depth"], record["sparse_share"], color=COLOURS["flow"])
    ax.set(xlabel="$\\log(1/\\mathcal{L})$", ylabel="$\\beta_1/\\|\\beta\\|$")
    ax.set_title("(c) control: b > r", loc="left")
