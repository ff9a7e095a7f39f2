"""Homogeneous networks: (a) errors over six decades, (b) a learned field, (c) its three classes, (d) zoomed shapes."""

import numpy as np
import xarray
from matplotlib.figure import Figure

from gfsim.plotting import COLOURS, shades, sheets, style

THEORY = {"color": COLOURS["theory"], "lw": 0.7}


def figure(record: xarray.Dataset, venue: str) -> list[Figure]:
    """Errors and phase portrait above, returns and recognition below."""
    with style(venue):
        figures, (fig,) = sheets(venue, 0.72)
        axes = fig.subplots(2, 2)
        errors(axes[0, 0], record)
        portrait(axes[0, 1], record)
        classes(axes[1, 0], record)
        zoom(axes[1, 1], record)
    return figures


def errors(ax, record: xarray.Dataset) -> None:
    """Relative error on d-spheres of radius ‖x‖_d, trained at radius 1 alone."""
    radius = record["radius"].values
    ax.loglog(radius, record["error"].sel(kind="homogeneous"), "o-", ms=3.5, color=COLOURS["flow"], label="homogeneous")
    ax.loglog(
        radius, record["error"].sel(kind="plain"), "s-", ms=3.5, color=COLOURS["reference"], label="plain network"
    )
    wrong = record["wrong_generator"].values[1:]
    ax.loglog(radius[1:], wrong, "^-", ms=3.5, color=COLOURS["gradient descent"], label="generator off by ½, exact $f$")
    ax.loglog(radius[1:], wrong[-1] * (radius[1:] / radius[-1]) ** 0.5, ls="--", **THEORY, label="slope ½")
    ax.set(xlabel="$\\|x\\|_d$", ylabel="error, relative", ylim=(None, 1e7))
    ax.legend(loc="upper left", borderpad=0)
    ax.set_title("(a) extrapolation", loc="left")


def portrait(ax, record: xarray.Dataset) -> None:
    """An orbit of the learned field, its image under d(ln ½), and the orbits of the dilation."""
    orbit, s = record["orbit"].values, np.linspace(-6, 0.2, 200)
    for k, angle in enumerate(np.arange(12) * np.pi / 6):
        ray = np.stack([np.cos(angle) * np.exp(2 * s), np.sin(angle) * np.exp(s)])
        ax.plot(*ray, color=COLOURS["reference"], lw=0.4, label="dilation" if k == 0 else None)
    ax.plot(*orbit.T, color=COLOURS["flow"], label="learned field, μ = 0")
    ax.plot(*(orbit * [0.25, 0.5]).T, color=COLOURS["other"], label="its image under $d(-\\ln 2)$")
    ax.set(xlabel="$x_1$", ylabel="$x_2$", xlim=(-1.1, 1.1), ylim=(-1.1, 2.1))
    ax.legend(loc="upper left", borderpad=0)
    ax.set_title("(b) phase portrait", loc="left")


def classes(ax, record: xarray.Dataset) -> None:
    """‖x‖_d at the returns to x1 = 0 against time, and the law of each class through the first two of them."""
    for mu, colour, marker in zip(record["mu"].values, shades("flow", 3), "os^", strict=True):
        times, sizes = record["returns"].sel(mu=mu).values
        factor, period = sizes[1] / sizes[0], times[1] - times[0]
        k = np.linspace(0, 3, 60)
        ratio = factor**-mu
        elapsed = period * (k if mu == 0 else (ratio**k - 1) / (ratio - 1))
        ax.semilogy(times[0] + elapsed, sizes[0] * factor**k, **THEORY)
        ax.semilogy(times, sizes, marker, ms=3.5, color=colour, label=f"μ = {mu:g}".replace("-", "−"))
    ax.plot([], [], **THEORY, label="laws")
    ax.set(xlabel="time $t$", ylabel="$\\|x\\|_d$ at returns")
    ax.legend(loc="upper right", borderpad=0)
    ax.set_title("(c) finite time, exponential, algebraic", loc="left")


def zoom(ax, record: xarray.Dataset) -> None:
    """Share of shapes recognised at scales unseen."""
    for kind, colour, marker, label in ((0, "flow", "o", "homogeneous"), (1, "reference", "s", "plain network")):
        values = record["accuracy"][kind]
        ax.semilogx(record["scale"], values, marker + "-", ms=3.5, color=COLOURS[colour], label=label)
    ax.axvline(1, ls=":", color=COLOURS["reference"], lw=0.8, label="trained here")
    ax.axhline(1 / 3, ls="--", **THEORY, label="chance")
    ax.set_xticks(record["scale"].values, [f"{scale:g}" for scale in record["scale"].values])
    ax.set_xticks([], minor=True)
    ax.set(xlabel="scale of the shapes", ylabel="recognised", ylim=(0, 1.4))
    ax.set_yticks([0, 0.5, 1])
    ax.legend(loc="upper left", borderpad=0, ncols=2)
    ax.set_title("(d) zoom", loc="left")
