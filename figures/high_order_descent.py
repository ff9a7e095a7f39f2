"""High-order descent: (a) orbits, (b) rates, (c) a stall, (d, e) bounds on two losses, (f) λ_min at the start."""

import numpy as np
import xarray
from matplotlib.figure import Figure

from gfsim.plotting import COLOURS, shades, sheets, style

THEORY = {"color": COLOURS["theory"], "lw": 0.7}


def figure(record: xarray.Dataset, venue: str) -> list[Figure]:
    """Orbits, rates and a stall above; the structure monitor below."""
    with style(venue):
        figures, (fig,) = sheets(venue, 0.68)
        axes = fig.subplots(2, 3)
        orbits(axes[0, 0], record)
        rates(axes[0, 1], record)
        stall(axes[0, 2], record)
        bounds(axes[1, 0], record, "square", "(d) bounds, square loss")
        bounds(axes[1, 1], record, "entropy", "(e) bounds, cross-entropy")
        starts(axes[1, 2], record)
    return figures


def orbits(ax, record: xarray.Dataset) -> None:
    """On ½(x1² + 10 x2²) from (1, 1), in both norms."""
    line = np.linspace(0, 1, 300)
    ax.plot(*record["orbit"].values.T, color=COLOURS["flow"], lw=2, label="Euclidean, p = 3")
    ax.plot(line, line**10, ls="--", **THEORY, label="$x_2 = x_1^{10}$")
    ax.plot(*record["orbit_coordinate"].values.T, color=COLOURS["other"], label="coordinates, p = 3")
    ax.set(xlabel="$x_1$", ylabel="$x_2$", ylim=(-0.05, 1.75))
    ax.legend(loc="upper left", borderpad=0)
    ax.set_title("(a) orbits", loc="left")


def rates(ax, record: xarray.Dataset) -> None:
    """A network's loss in the time of each flow."""
    for degree, colour in zip(record["degree"].values, shades("flow", 3), strict=True):
        rows = record.sel(degree=degree)
        ax.semilogy(rows["physical"], rows["fall"], color=colour, label=f"p = {degree:g}")
    ax.axvline(record["extinct"], ls="--", **THEORY, label="extinction")
    ax.set(xlabel="time $t$", ylabel="loss", xlim=(0, 3 * float(record["extinct"])), ylim=(1e-14, 1e4))
    ax.legend(loc="lower right", borderpad=0, handlelength=1)
    ax.set_title("(b) a network's flows", loc="left")


def stall(ax, record: xarray.Dataset) -> None:
    """Two descents on a loss of degree 3/2."""
    ax.semilogy(record["iterate"], record["gd_loss"], color=COLOURS["gradient descent"], label="GD, η = 0.1")
    ax.semilogy(record["iterate"], record["hgd_loss"], color=COLOURS["other"], label="HGD, p = 3/2")
    end = float(record["iterate"][-1]), 2 * float(record["hgd_loss"][-1])
    ax.text(*end, "rounding", size=6, ha="right", va="bottom")
    ax.set(xlabel="step", ylabel="loss")
    ax.legend(loc="center right", borderpad=0)
    ax.set_title("(c) loss of degree 3/2", loc="left")


def bounds(ax, record: xarray.Dataset, name: str, title: str) -> None:
    """Loss over time between the bounds that gradient and JJᵀ give."""
    t = record[f"{name}_t"]
    ax.loglog(t, record[f"{name}_loss"], color=COLOURS["flow"], label="loss")
    for side, dashes in (("lower", ":"), ("upper", "--")):
        ax.loglog(t, record[f"{name}_{side}"], ls=dashes, **THEORY, label=f"{side} bound")
    failing = ~record[f"{name}_upper_holds"].values
    if failing.any():
        start = float(t[int(np.argmax(failing))])
        ax.axvspan(start, float(t[-1]), color=COLOURS["gradient descent"], alpha=0.12, lw=0, label="upper fails")
    ax.set(xlabel="time $t$", ylabel="loss")
    ax.legend(loc="lower left", borderpad=0)
    ax.set_title(title, loc="left")


def starts(ax, record: xarray.Dataset) -> None:
    """Geometric mean of λ_min against depth, with and without skips."""
    depth = record["depth"].values
    for skips, colour, marker in ((False, "reference", "s"), (True, "flow", "o")):
        label = "with skips" if skips else "without"
        values = np.exp(record["log_least"].sel(skips=skips))
        ax.semilogy(depth, values, marker + "-", ms=3.5, color=COLOURS[colour], label=label)
    ax.set(xlabel="hidden layers", ylabel="$\\lambda_\\min$ of $JJ^T$")
    ax.set_xticks(depth)
    ax.legend(loc="upper left", borderpad=0)
    ax.set_title("(f) at the start", loc="left")
