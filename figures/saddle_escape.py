"""Saddle escape: (a) times, (b–d, g) the way from a saddle to the next critical set, (e, f) from a small start."""

import numpy as np
import xarray
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from gfsim.plotting import COLOURS, path, phase_portrait, shades, sheets, style
from gfsim.portraits import Portrait

NAMES = {
    "flow, projected": "flow, projected to the plane",
    "streamlines": "flow of the plane's own part",
    "stable manifold": "stable manifold in the plane",
    "unstable manifold": "unstable manifold in the plane",
    "minimum": "minimum of L",
    "saddle": "saddle of L",
    "maximum": "maximum of L",
    "degenerate": "degenerate point of L",
}
DYNAMICS = {"flow": ("o", COLOURS["flow"], "flow"), "descent": ("s", COLOURS["gradient descent"], "gradient descent")}


def figure(record: xarray.Dataset, venue: str) -> list[Figure]:
    """Escape times; loss, eigenvalues and distance along the unstable manifold; norms from a small start; the limit."""
    # Nothing stands above these axes; looking for it for every title takes a seventh of the time.
    with style(venue), rc_context({"axes.titley": 1.0}):
        figures, (upper, lower, last) = sheets(venue, 0.37, 0.37, 0.4)
        axes = upper.subplots(1, 3)
        times(axes[0], record)
        loss(axes[1], record)
        eigenvalues(axes[2], record)
        axes = lower.subplots(1, 3)
        distance(axes[0], record)
        norms(axes[1], record)
        limit(axes[2], record)
        plane(last, record)
    return figures


def plane(fig, record: xarray.Dataset) -> None:
    """The plane through the saddle and both ends, with the two paths that gradient flow takes out of it."""
    ax, beside = fig.subplots(1, 2, width_ratios=(2, 1))
    artists = phase_portrait(Portrait.from_xarray(record, "plane"), ax=ax)
    for points, colour in zip(record["plane_path"].values, shades("flow", 2), strict=True):
        artists["flow, projected"] = path(points, ax=ax, color=colour, lw=1.6)[0]
    ax.set(xlabel="saddle to the end of $+u_{min}$", ylabel="across, to that of $-u_{min}$")
    fig.colorbar(artists["background"], ax=ax, label="share of $\\nabla L$\nout of the plane", shrink=0.8)
    shown = {name: artist for name, artist in artists.items() if name in NAMES}
    beside.axis("off")
    beside.legend(shown.values(), [NAMES[name] for name in shown], loc="center left", borderpad=0, borderaxespad=0)
    ax.set_title("(g) the plane through the saddle and both ends", loc="left")


def times(ax, record: xarray.Dataset) -> None:
    """Escape times in units of 1/|λ_min| against ε: all slopes are one for the flow."""
    logs = np.log(1 / record["epsilon"].values)
    rate, step = record["rate"].values, record["step"].values
    slopes = {"flow": 1 / rate, "descent": step / np.log1p(step * rate)}
    for name, (marker, colour, label) in DYNAMICS.items():
        for k, values in enumerate(record["escape_time"].sel(dynamics=name).values):
            shown = rate[k] * values + 6 * k
            line = shown.mean() + rate[k] * slopes[name][k] * (logs - logs.mean())
            ax.plot(logs, line, color=COLOURS["theory"], lw=0.7, zorder=1)
            ax.plot(logs, shown, marker, ms=3, color=colour, mfc="none", label=label if k == 0 else None)
    for k, saddle in enumerate(record["saddle"].values):
        height = rate[k] * record["escape_time"].values[k, 0, -1] + 6 * k
        ax.text(logs[-1] + 0.9, height, saddle, size=6, va="center")
    ax.set(
        xlabel="$\\ln(1/\\varepsilon)$",
        ylabel="$|\\lambda_{min}|$ · escape time (shifted)",
        xlim=(None, 27.5),
        ylim=(None, 47),
    )
    ax.plot([], [], color=COLOURS["theory"], lw=0.7, label="theory (slope)")
    ax.legend(loc="upper left", borderpad=0, handletextpad=0.4)
    ax.set_title("(a) escape from three saddles", loc="left")


def loss(ax, record: xarray.Dataset) -> None:
    """The loss from the saddle to the next critical set, both ways out."""
    ax.axhline(float(record["saddle_loss"]), color=COLOURS["theory"], lw=0.7, ls="--", label="saddle")
    for side, colour in zip((0, 1), shades("flow", 2), strict=True):
        ax.loglog(record["path_time"][side], record["path_loss"][side], color=colour, label="+−"[side] + "$u_{min}$")
    ax.set(xlabel="time $t$", ylabel="loss", xlim=(10, None))
    ax.legend(loc="lower left", borderpad=0)
    ax.set_title("(b) from saddle to minimum", loc="left")


def eigenvalues(ax, record: xarray.Dataset) -> None:
    """The spectrum along one way out: n₋ is the number of orange curves below zero."""
    t, values = record["path_time"][0].values, record["path_eigenvalues"][0].values
    ax.axhline(0, color=COLOURS["reference"], lw=0.5)
    for k in range(values.shape[1]):
        ax.semilogx(t, values[:, k], color=COLOURS["other"], lw=0.8, label="the others" if k == 1 else None)
    ax.semilogx(t, values[:, 0], color=COLOURS["gradient descent"], label="$\\lambda_{min}$")
    limit = 1.6 * np.abs(values[:, :2]).max()
    ax.set(xlabel="time $t$", ylabel="eigenvalue of $\\nabla^2 L$", ylim=(-limit, 3 * limit), xlim=(10, None))
    counts = np.sum(values < -1e-9 * values[:, -1:], axis=1)
    ax.text(0.03, 0.03, f"$n_-$: {counts[0]}, at the end {counts[-1]}", transform=ax.transAxes, size=6)
    ax.legend(*(x[::-1] for x in ax.get_legend_handles_labels()), loc="upper right", borderpad=0)
    ax.set_title("(c) its curvature", loc="left")


def distance(ax, record: xarray.Dataset) -> None:
    """The distance from the branches over the saddle's narrow network."""
    for side, colour in zip((0, 1), shades("flow", 2), strict=True):
        ax.loglog(
            record["path_time"][side], record["path_distance"][side], color=colour, label="+−"[side] + "$u_{min}$"
        )
    t, start = record["path_time"][0].values, float(record["path_distance"][0, 0])
    rate = -float(record["path_eigenvalues"][0, 0, 0])
    early = t < np.log(0.1 / start) / rate
    ax.loglog(
        t[early],
        start * np.exp(rate * (t[early] - t[0])),
        color=COLOURS["theory"],
        lw=0.7,
        label="$e^{|\\lambda_{min}|t}$",
    )
    ax.set(xlabel="time $t$", ylabel="distance to the branches", xlim=(10, None))
    # As beside it, where the decades are more.
    ax.yaxis.set_minor_locator(NullLocator())
    ax.legend(loc="lower right", borderpad=0)
    ax.set_title("(d) leaving the stratum", loc="left")


def norms(ax, record: xarray.Dataset) -> None:
    """Every neuron's norm from a small start, with the loss, the first saddle and pursuit's losses."""
    tau = record["tau"].values
    for k, values in enumerate(record["norms"].values.T):
        ax.semilogy(tau, values, color=COLOURS["flow"], lw=0.9, label="neurons' norms" if k == 0 else None)
    ax.semilogy(tau, record["loss"], color=COLOURS["correlation flow"], label="loss")
    ax.axhline(float(record["pursuit_loss"][0]), color=COLOURS["theory"], lw=0.7, ls="--", label="pursuit, one neuron")
    # Up to the legend, which has the upper half.
    look = {"color": COLOURS["reference"], "lw": 0.7, "ls": ":"}
    ax.axvline(float(record["saddle_tau"]), ymax=0.55, **look, label="first saddle")
    ax.set(xlabel="$\\tau = t\\delta$", ylim=(1e-5, 1e6))
    ax.legend(loc="upper left", borderpad=0, handlelength=1.2, handletextpad=0.4)
    ax.set_title("(e) neurons appear one by one", loc="left")


def limit(ax, record: xarray.Dataset) -> None:
    """The gap between successive limit paths, from the KKT ray and from beside it."""
    delta, (ray, beside) = record["halved"].values, record["gap"].values
    ax.loglog(delta, ray[-1] * (delta / delta[-1]) ** 2, color=COLOURS["theory"], lw=0.7, label="$\\delta^2$: factor 4")
    ax.loglog(delta, ray, "o", ms=3.5, color=COLOURS["flow"], label="from the KKT ray")
    ax.loglog(delta, beside, "s", ms=3.5, mfc="none", color=COLOURS["gradient descent"], label="control: beside it")
    ax.set(xlabel="δ", ylabel="$\\max_t\\,\\|p_\\delta - p_{\\delta/2}\\|$", ylim=(None, 3e3))
    ax.xaxis.set_minor_formatter("")
    ax.legend(loc="upper left", borderpad=0)
    ax.set_title("(f) the limit path", loc="left")
