"""Margin, KKT residual and rate against log t down to log-loss −1e6, and the directions."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray
from matplotlib.figure import Figure

from gfsim.plotting import COLOURS, style
from gfsim.verification.late_laws import rate

MARKS: dict[str, dict[str, Any]] = {
    "linear L=1": {"color": COLOURS["flow"], "marker": "o"},
    "linear L=2": {"color": COLOURS["modified"], "marker": "s"},
    "two layers L=3": {"color": COLOURS["gradient descent"], "marker": "^"},
    "three layers L=7": {"color": COLOURS["central"], "marker": "v"},
    "digits L=1": {"color": COLOURS["other"], "marker": "D"},
    "digits L=3": {"color": COLOURS["correlation flow"], "marker": "P"},
}


def figure(record: xarray.Dataset, venue: str) -> Figure:
    """(a) margins relative to that of the KKT point, (b) residuals and angles, (c) rate constants, (d) directions."""
    with style(venue):
        width, _ = plt.rcParams["figure.figsize"]
        fig: Any
        axes: Any
        fig, axes = plt.subplots(2, 3, figsize=(width, 0.62 * width))
        for case in record["case"].values:
            r, marks = record.sel(case=case), {**MARKS[str(case)], "ms": 2.5, "markevery": 6, "mfc": "none", "mew": 0.7}
            # Powers of log t need t > 1, where the axes begin.
            r = r.isel({r["log_time"].dims[0]: r["log_time"].values > 0})
            margins(axes[0, 0], r, marks)
            colour = MARKS[str(case)]["color"]
            at = r["log_time"].values
            axes[0, 1].loglog(at, r["residual"], **marks)
            axes[0, 2].loglog(at, r["away"], **marks, label=str(case))
            degree = int(r["degree"])
            values = rate(degree, r["log_loss"].values, at, float(r["limit_margin"]))
            axes[1, 0].semilogx(at, values, **marks)
            grow = r["norm"] * at ** (-1 / degree) * r["limit_margin"] ** (1 / degree)
            axes[1, 1].semilogx(at, grow, **marks)
            axes[0, 1].axhline(max(float(r["limit_residual"]), 1e-17), color=colour, lw=0.5, ls=":")
        lines(axes)
        spiral(axes[1, 2], record["spiral"].values)
        titles = (
            "(a) margin / that of the KKT point",
            "(b) KKT residual",
            "(c) angle to the KKT direction",
            "(d) $\\mathcal{L}\\,t(\\log t)^{2-2/L}L^2\\bar\\gamma^{2/L}$",
            "(e) $\\rho\\,(\\bar\\gamma/\\log t)^{1/L}$",
            "(f) control: never settles",
        )
        for ax, title in zip(axes.ravel(), titles, strict=True):
            ax.set_title(title, loc="left")
        for ax in axes.ravel()[:5]:
            ax.set_xlim(1, 1.5e6)
        for ax in axes.ravel()[[2, 3, 4]]:
            ax.set_xlabel("log t")
        fig.legend(*axes[0, 2].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    return fig


def margins(ax, r: xarray.Dataset, marks: dict[str, Any]) -> None:
    """γ̄ (with marks) and γ̃ (dashed) over the margin of the polished point."""
    at, limit = r["log_time"].values, float(r["limit_margin"])
    ax.semilogx(at, r["margin"] / limit, **marks)
    ax.semilogx(at, r["smoothed"] / limit, color=marks["color"], ls="--", lw=0.7)
    ax.set(ylim=(0, 1.35), yticks=(0, 0.5, 1))


def lines(axes) -> None:
    """Theory: the constants one, and a slope of −1 where only the order is predicted."""
    for ax in (axes[0, 0], axes[1, 0], axes[1, 1]):
        ax.axhline(1, color=COLOURS["theory"], lw=0.7, zorder=1)
    ends = np.array([1e2, 1e6])
    axes[0, 2].loglog(ends, 3 / ends, color=COLOURS["theory"], lw=0.7, label="theory")
    axes[0, 1].text(1.5, 1e-13, "polished (dotted)", size=6)
    axes[1, 0].set_ylim(0.4, 1.6)
    axes[1, 1].set_ylim(0.6, 1.4)
    axes[0, 0].plot([], [], color=COLOURS["reference"], lw=1, label="margin $\\bar\\gamma$")
    axes[0, 0].plot([], [], color=COLOURS["reference"], ls="--", lw=0.7, label="smoothed $\\tilde\\gamma$")
    # Above the curves, which end at one.
    axes[0, 0].legend(loc="upper left", ncols=2, borderpad=0, columnspacing=1, handlelength=1.4)


def spiral(ax, values: np.ndarray) -> None:
    """The first two coordinates of the direction, from log-loss −1 to −1e40, inside the unit circle."""
    turn = np.linspace(0, 2 * np.pi, 200)
    ax.plot(np.cos(turn), np.sin(turn), color=COLOURS["reference"], lw=0.5)
    ax.plot(values[:, 1], values[:, 2], color=COLOURS["flow"])
    s = np.linspace(1.3, 2 * np.pi, 400)
    r = np.sqrt(1 - 1 / s)
    ax.plot(r * np.cos(s), r * np.sin(s), color=COLOURS["theory"], lw=0.7, ls="--", zorder=1)
    # The first two points are close together: their labels keep apart in height.
    for depth, offset in ((1e1, (4, 0)), (1e6, (4, -8)), (1e20, (4, 0)), (1e40, (4, -2))):
        row = values[np.argmin(np.abs(np.log(np.maximum(values[:, 0], 1e-9) / depth)))]
        ax.plot(row[1], row[2], "o", ms=3, color=COLOURS["flow"])
        ax.annotate(f"$-10^{{{round(np.log10(depth))}}}$", row[1:3], xytext=offset, textcoords="offset points", size=6)
    ax.text(-0.1, -0.68, "= log $\\mathcal{L}$", size=6, ha="center", va="center")
    ax.set(aspect="equal", xticks=[-1, 0, 1], yticks=[-1, 0, 1], xlabel="$u_1$", ylabel="$u_2$")
