"""Early convergence: (a) approach to blow-up, (b) first-layer weights, (c) scaling laws, (d) the flow on the sphere."""

from typing import Any

import numpy as np
import xarray
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from gfsim.plotting import (
    COLOURS,
    basin_palette,
    power_law,
    residuals,
    shades,
    sheets,
    sphere_points,
    sphere_portrait,
    style,
    weight_images,
)
from gfsim.portraits import Portrait
from gfsim.verification import fit_power_law
from gfsim.verification.early_laws import direction_law

MARKS: dict[str, dict[str, Any]] = {
    "digits L=3": {"marker": "o", "color": COLOURS["flow"]},
    "teacher L=3": {"marker": "s", "color": COLOURS["other"], "mfc": "none"},
    "digits L=7": {"marker": "^", "color": COLOURS["gradient descent"]},
    "teacher L=7": {"marker": "v", "color": COLOURS["central"], "mfc": "none"},
}
NEURONS = 4
NAMES = {
    "streamlines": "correlation flow",
    "stable manifold": "stable manifold of a saddle",
    "unstable manifold": "unstable manifold",
    "minimum": "maximum of N",
    "saddle": "saddle of N",
    "maximum": "minimum of N",
    "degenerate": "w = 0, no Hessian",
}


def figure(record: xarray.Dataset, venue: str) -> list[Figure] | None:
    """Three rows: (a) in its two panels and (b); then (c), each law with its residuals below; then (d)."""
    if "case" not in record.dims:
        # One point of a sweep: `gfsim fit` draws them together.
        return None
    # Nothing stands above these axes; looking for it for every title takes a seventh of the time.
    with style(venue), rc_context({"axes.titley": 1.0}):
        figures, (upper, lower, last) = sheets(venue, 0.35, 0.43, 0.36)
        left, right = upper.subfigures(1, 2, width_ratios=(2, 1.25))
        approach(left, record.sel(case="digits L=3"))
        weights(right, record)
        laws(lower, record)
        sphere(last, record)
    return figures


def sphere(fig, record: xarray.Dataset) -> None:
    """The ascent of N on the directions of one neuron on two inputs, with random directions and their basins."""
    *axes, beside = fig.subplots(1, 3, width_ratios=(1, 1, 0.62))
    portrait = Portrait.from_xarray(record, "sphere")
    artists = sphere_portrait(portrait, axes=axes, background="basin", names=("$w_1$", "$w_2$", "$a$"))
    starts, labels = record["sphere_start"].values, record["sphere_label"].values
    shown = {}
    for label, colour in basin_palette(portrait).items():
        own = starts[labels == label]
        name = f"random directions, {100 * len(own) / len(starts):.0f} %"
        shown[name] = sphere_points(own, axes, color=colour, mec="black", mew=0.3)[0]
    shown |= {name: artist for half in artists for name, artist in half.items() if name in NAMES}
    handles = {NAMES.get(name, name): artist for name, artist in shown.items()}
    beside.axis("off")
    beside.legend(handles.values(), handles.keys(), loc="center left", borderpad=0, borderaxespad=0)
    axes[0].set_title("(d) directions of one neuron: ascent of N", loc="left")


def approach(fig, record: xarray.Dataset) -> None:
    """Norm and direction against the time that is left, where the blow-up is a straight line."""
    axes = fig.subplots(1, 2)
    colours = [COLOURS["correlation flow"], *shades("flow", record.sizes["escape"])]
    names = ["correlation flow", *(f"δ = {delta:g}" for delta in record["delta"].values)]
    blow_up = float(record["blow_up"])
    for path, colour, name in list(zip(record["path"].values, colours, names, strict=True)):
        left = 1 - path[:, 0] / blow_up
        style_ = {"color": colour, "lw": 2.2 if name == names[0] else 1.0, "zorder": 1 if name == names[0] else 2}
        axes[0].loglog(left, path[:, 1], label=name, **style_)
        axes[1].loglog(left, path[:, 2], **style_)
        if name != names[0]:
            for ax, value in zip(axes, path[-1, 1:], strict=True):
                ax.plot(left[-1], value, "o", ms=3, color=colour, zorder=3)
    nearest = float(np.min(1 - record["escape_time"] / blow_up))
    for ax in axes:
        ax.set(xlim=(1.3, nearest / 4), xlabel="time left, $1 - \\tau/T^*$")
    largest = float(record["escape_norm"] / record["delta"].min())
    axes[0].set(ylabel="‖s‖ = ‖θ‖/δ", ylim=(0.7, 3 * largest))
    lowest = record["path"].values[1:, :, 2].min()
    axes[1].set(ylabel="$1 - \\cos(\\theta, \\hat u)$", ylim=(lowest / 10, 2))
    axes[0].plot([], [], "o", ms=3, color=colours[-1], label=f"‖θ‖ = {float(record['escape_norm']):g}")
    # As beside it, where the decades are more.
    axes[0].yaxis.set_minor_locator(NullLocator())
    axes[0].legend(loc="upper left", handlelength=1.2, borderpad=0, labelspacing=0.25)
    axes[0].set_title("(a) digits, two layers: norm", loc="left")
    axes[1].set_title("direction", loc="left")


def weights(fig, record: xarray.Dataset) -> None:
    """The first-layer weights of the neurons that end as the largest, each row on its own scale."""
    every = record["weights"].values
    chosen = np.argsort(-np.linalg.norm(every[-1], axis=1))[:NEURONS]
    names = "start", "plateau", "escape"
    for ax, images, norm, name in zip(fig.subplots(3), every, record["moment_norm"].values, names, strict=True):
        limit = np.abs(images).max()
        weight_images(images[chosen], limit, ax=ax)
        ax.set_title(f"{name}: ‖θ‖ = {norm:.2g}, |w| ≤ {limit:.2g}", loc="left", size=6)
    fig.suptitle("(b) first-layer weights", x=0.02, ha="left", size=7)


def laws(fig, record: xarray.Dataset) -> None:
    """‖s − u‖ and the escape's deficit against δ, the direction against the norm; residuals of each below."""
    axes = fig.subplots(2, 3, height_ratios=(3, 1), sharex="col")
    slopes: tuple[dict[str, float], dict[str, float]] = {}, {}
    for index, case in enumerate(record["case"].values):
        marks = MARKS[case]
        r = record.sel(case=case)
        degree = int(r["degree"])
        law = r["ladder"].values, r["error"].values, degree
        power_law(*law, ax=axes[0, 0], label=case, **marks)
        residuals(*law, ax=axes[1, 0], **marks)
        growth = degree * (degree - 2) * float(r["kkt_value"])
        deficit = growth * (r["blow_up"] - r["escape_time"]).values
        escape = (r["delta"] / r["escape_norm"]).values, deficit, degree - 2, 1.0
        power_law(*escape, ax=axes[0, 1], **marks)
        residuals(*escape, ax=axes[1, 1], **marks)
        own_time, own_norm, _ = r["path"].values[0].T
        near = (own_norm > 1 / escape[0].max() / 1.3) & (own_norm < 1.3 / escape[0].min())
        own = 1 / own_norm[near], growth * (float(r["blow_up"]) - own_time[near])
        axes[0, 1].plot(*own, color=marks["color"], lw=0.7, ls="--", zorder=1)
        axes[1, 1].plot(own[0], 100 * (own[1] / own[0] ** (degree - 2) - 1), color=marks["color"], lw=0.7, ls="--")
        slopes[0][case] = fit_power_law(*law[:2]).exponent
        slopes[1][case] = fit_power_law(*escape[:2]).exponent
        if degree == 3:
            direction(axes[:, 2], r.isel(shallow=index), marks, 0.99 - 0.1 * index)
    axes[0, 0].set_title("(c) deviation ∝ $\\delta^L$", loc="left")
    axes[0, 1].set_title("time left at escape ∝ $\\delta^{L-2}$", loc="left")
    axes[0, 2].set_title("misalignment ∝ $\\rho^{-2\\kappa/LN^*}$", loc="left")
    note(axes[0, 0], 0.04, 0.95, 3, slopes[0], "L=3")
    note(axes[0, 1], 0.04, 0.60, 1, slopes[1], "L=3")
    if record.sizes["case"] > 2:
        note(axes[0, 0], 0.22, 0.02, 7, slopes[0], "L=7")
        note(axes[0, 1], 0.04, 0.04, 5, slopes[1], "L=7")
    axes[0, 0].set(ylabel="‖s − u‖ at ‖u‖ = 1.5")
    axes[0, 1].set(ylabel="$L(L-2)N^*(T^* - \\tau_{esc})$")
    axes[0, 2].set(ylabel="$1 - \\cos(u, \\hat u)$", ylim=(1e-22, 1e6), yticks=(1e-20, 1e-10, 1))
    axes[1, 0].set(ylabel="resid. [%]", xlabel="initial norm δ")
    axes[1, 1].set(ylabel="resid. [%]", xlabel="δ / escape norm r")
    axes[1, 2].set(ylabel="slope ratio", xlabel="norm ρ = ‖u‖")
    for ax in axes[1]:
        ax.margins(y=0.25)
        # Within few decades each of them would be labelled.
        ax.xaxis.set_minor_locator(NullLocator())
    for column in axes.T:
        fig.align_ylabels(column)
    axes[0, 0].plot([], [], color=COLOURS["theory"], lw=0.7, label="theory")
    axes[0, 0].plot([], [], color=COLOURS["reference"], lw=0.7, ls="--", label="correlation flow's own")
    handles = axes[0, 0].get_legend_handles_labels()
    fig.legend(*handles, loc="outside upper center", ncols=6, columnspacing=1.2, handletextpad=0.4)


def note(ax, x: float, y: float, predicted: float, slopes: dict[str, float], which: str) -> None:
    """Predicted slope beside the measured ones."""
    measured = ", ".join(f"{value:.3f}" for case, value in slopes.items() if case.endswith(which))
    text = f"{which}: theory {predicted}\n{measured}"
    ax.text(x, y, text, transform=ax.transAxes, size=6, va="top" if y > 0.5 else "bottom")


def direction(axes, record: xarray.Dataset, marks: dict, height: float) -> None:
    """1 − cos along the correlation flow beside the line of the predicted slope; below, the local slope over it."""
    _, norm, misalignment = record["turn"].values.T
    norm, first = np.unique(norm, return_index=True)
    misalignment = misalignment[first]
    kept = misalignment > 1e-21
    claim = direction_law(record, "")
    predicted = -2 * claim.predicted
    at = np.searchsorted(norm, np.exp(16.0))
    ends = np.exp(np.array([8.0, 25.0]))
    axes[0].loglog(ends, misalignment[at] * (ends / norm[at]) ** predicted, color=COLOURS["theory"], lw=0.7)
    axes[0].loglog(norm[kept], misalignment[kept], color=marks["color"])
    least = "≥ " if claim.relation == "at_least" else ""
    text = f"theory {least}{claim.predicted:.3f}, found {claim.measured:.3f}"
    axes[0].text(1.0, height, text, transform=axes[0].transAxes, ha="right", va="top", size=6, color=marks["color"])
    grid = np.exp(np.arange(1.0, np.log(norm[kept][-1]), 1.0))
    values = np.interp(np.log(grid), np.log(norm[kept]), np.log(misalignment[kept]))
    local = np.diff(values) / np.diff(np.log(grid)) / predicted
    axes[1].axhline(1, color=COLOURS["theory"], lw=0.7)
    axes[1].semilogx(np.sqrt(grid[1:] * grid[:-1]), local, **{**marks, "ms": 2, "ls": ""})
