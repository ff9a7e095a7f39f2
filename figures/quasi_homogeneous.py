"""Characteristic curves and the path, robust margin against b, and what is left without conditional separability."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray
from matplotlib.figure import Figure

from gfsim.plotting import COLOURS, path, phase_portrait, style
from gfsim.portraits import Portrait

# Times in the portrait, as powers of ten.
MARKS = (0, 4, 10)


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
    """The flow in the plane u = v, characteristic curves e^{αΛ}θ (parabolas w ∝ u²) and level sets of ‖θ‖_Λ."""
    drawn = Portrait.from_xarray(record, "plane")
    artists = phase_portrait(drawn, ax=ax)
    artists["streamlines"].set_label("streamlines")
    u, w = drawn.grid[..., 0], drawn.grid[..., 1]
    for factor in np.geomspace(0.1, 10, 5):
        ax.plot(u[0], factor * w.max() * (u[0] / u.max()) ** 2, color=COLOURS["theory"], lw=0.6, ls="--", zorder=2)
    ax.plot([], [], color=COLOURS["theory"], lw=0.6, ls="--", label="characteristic curves")
    ax.contour(u, w, np.sqrt(w**2 + 0.5 * u**2), 5, colors=COLOURS["theory"], linewidths=0.6, linestyles=":", zorder=2)
    ax.plot([], [], color=COLOURS["theory"], lw=0.6, ls=":", label="level sets of $\\|\\theta\\|_\\Lambda$")
    path(record["plane_path"], record["plane_time"], MARKS, ax=ax, lw=1.6, label="flow, t = $10^k$ marked by k")
    ax.set(xlabel="$(u+v)/\\sqrt{2}$  (exponent ½)", ylabel="w  (exponent 1)")
    ax.set_title(f"(a) plane u = v, b = {float(record['plane_height']):g}", loc="left")


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
