"""Critical branches: (a) the loss around three critical points, (b) φ, (c) inertia of every stratum, (d) fates."""

import numpy as np
import xarray
from matplotlib.colors import SymLogNorm
from matplotlib.figure import Figure

from gfsim.plotting import COLOURS, sheets, style

TITLES = ("inside: degenerate minimum", "outside: strict saddle", "dead neuron: strict saddle")
FATES = {"returned": COLOURS["flow"], "lower": COLOURS["correlation flow"], "infinity": COLOURS["gradient descent"]}


def figure(record: xarray.Dataset, venue: str) -> list[Figure]:
    """The loss in the second neuron's plane above; φ, the table of inertia, and what becomes of perturbations below."""
    with style(venue):
        figures, (upper, lower) = sheets(venue, 0.36, 0.42)
        around(upper, record)
        axes = lower.subplots(1, 3, width_ratios=(1.2, 1.0, 1.0))
        correlation(axes[0], record)
        signs(axes[1], record)
        ends(axes[2], record)
    return figures


def around(fig, record: xarray.Dataset) -> None:
    """R − R* in the plane of the second neuron's weights, positive and negative, with the point of the branch."""
    axes = fig.subplots(1, 3)
    scale, image = SymLogNorm(1e-4, vmin=-0.03, vmax=0.03), None
    for ax, loss, (w, a), title in zip(axes, record["loss"].values, record["centre"].values, TITLES, strict=True):
        excess, place = loss - float(record["value"]), (w + record["w2"].values, a + record["a2"].values)
        image = ax.pcolormesh(*place, excess, cmap="RdBu_r", norm=scale, rasterized=True)
        ax.plot(w, a, "o", ms=4, mfc="white", mec="black")
        ax.set(xlabel="$w_2$")
        ax.set_title(title, loc="left")
    axes[0].set_ylabel("$a_2$")
    fig.suptitle("(a) loss of two neurons around three points", x=0.02, ha="left", size=7)
    fig.colorbar(image, ax=axes, label="$R - R^*$", extend="both", pad=0.01, ticks=[-1e-2, -1e-3, 0, 1e-3, 1e-2])


def correlation(ax, record: xarray.Dataset) -> None:
    """φ with its zeros: where a dead neuron is critical."""
    w, dead = float(record["weight"]), float(record["dead"])
    ax.axhline(0, color=COLOURS["reference"], lw=0.5)
    ax.plot(record["v"], record["correlation"], color=COLOURS["theory"])
    ax.plot([-dead, 0, dead], [0, 0, 0], "o", ms=3.5, color=COLOURS["flow"], label="0, $\\pm w_0$: strict saddles")
    ax.plot([-w, w], [0, 0], "s", ms=3.5, color=COLOURS["gradient descent"], label="$\\pm\\bar w$: junctions")
    ax.set(xlabel="$v$", ylabel="$\\varphi(v) = \\sum_i e_i\\,\\tanh(v x_i)$")
    ax.set_ylim(top=0.088)
    ax.legend(loc="upper left", handletextpad=0.2, borderpad=0)
    ax.set_title("(b) correlation of a dead neuron", loc="left")


def signs(ax, record: xarray.Dataset) -> None:
    """Counts of positive, negative and zero eigenvalues: measured as bars, predicted as ticks."""
    names = list(record["stratum"].values)
    measured = record["measured"].sel(point=names).values
    colours = COLOURS["flow"], COLOURS["gradient descent"], COLOURS["reference"]
    left, ticks = np.zeros(len(names)), np.zeros(len(names))
    heights = np.arange(len(names))[::-1]
    for k, (colour, label) in enumerate(zip(colours, ("$n_+$", "$n_-$", "$n_0$"), strict=True)):
        ax.barh(heights, measured[:, k], left=left, color=colour, height=0.7, label=label, alpha=0.75)
        left, ticks = left + measured[:, k], ticks + record["predicted"].values[:, k]
        ax.plot(ticks, heights, "|", ms=7, mew=1.4, color=COLOURS["theory"], label="predicted" if k == 2 else None)
    ax.set(
        yticks=heights,
        yticklabels=names,
        xlabel="number of eigenvalues",
        xticks=range(0, 7, 2),
        xlim=(0, 6.4),
        ylim=(-0.6, len(names) - 0.4),
    )
    _legend_below(ax, 2)
    ax.set_title("(c) inertia of the strata", loc="left")


def ends(ax, record: xarray.Dataset) -> None:
    """The fate of perturbations of every point that was perturbed."""
    known = record["fate"].dropna("point")
    heights, left = np.arange(known.sizes["point"])[::-1], np.zeros(known.sizes["point"])
    for name, colour in FATES.items():
        share = 100 * known.sel(end=name).values
        ax.barh(heights, share, left=left, color=colour, height=0.7, label=name, alpha=0.75)
        left = left + share
    ax.set(yticks=heights, yticklabels=known["point"].values, xlabel="perturbations [%]", xlim=(0, 100))
    ax.set_ylim(-0.6, len(heights) - 0.4)
    _legend_below(ax, 2)
    ax.set_title("(d) perturbed flows", loc="left")


def _legend_below(ax, columns: int) -> None:
    ax.legend(
        loc="upper center",
        bbox_to_anchor=(0.2, -0.25),
        ncols=columns,
        columnspacing=0.9,
        handlelength=0.9,
        handletextpad=0.3,
        borderpad=0,
    )
