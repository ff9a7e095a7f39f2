"""Work against precision, gfsim beside the solvers that people use: writes docs/benchmarks.md and its figure.

All methods solve a flow in turn at a ladder of tolerances in one process, compilation excluded; the seconds at an
error of 1e-4, 1e-6 and 1e-8 (relative to ‖θ‖ at the end) are interpolated between its rungs. What was measured of each
flow is kept in benchmarks/out, so that names on the command line measure those flows again and leave the others as they
were; `page` measures none and writes the page.
"""

import importlib.util
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import diffrax as dfx
import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
from scipy.integrate import solve_ivp

import gfsim as gf
from benchmarks.problems import FLOWS, Flow
from gfsim.plotting import COLOURS, style
from gfsim.solvers import BDF, RKC, Dopri5S

ROOT = Path(__file__).parents[1]
KEPT = Path(__file__).parent / "out"
TOLERANCES = 10.0 ** -np.arange(3, 12)
ERRORS = (1e-4, 1e-6, 1e-8)
# A method that took longer (in seconds) is not asked for more precision; one run of it is then measurement enough.
PATIENCE = 5.0
# Seconds for which a method is called again and again before another has its turn.
TURN = 0.03
# Parameters up to which a method that factorises dense matrices is tried, and λ_max t1 up to which an explicit one is:
# of ours only where it may be the best choice.
DENSE, STRETCH, OWN_STRETCH = 1000, 3e6, 1e4
# λ_max t1 from which a flow counts as stiff.
STIFF = 1e4
# From rtol and t1 to the flow's end; a shorter t1 compiles nothing new.
Method = Callable[[float, float], np.ndarray]


def ours(solver: dfx.AbstractSolver | None) -> Callable[[Flow], Method]:
    def make(flow: Flow) -> Method:
        dynamics = gf.GradientFlow(flow.problem)
        return lambda rtol, t1: np.asarray(gf.simulate(dynamics, flow.theta0, t1, rtol=rtol, solver=solver).theta)[-1]

    return make


def diffrax_method(solver: dfx.AbstractSolver) -> Callable[[Flow], Method]:
    def make(flow: Flow) -> Method:
        term = dfx.ODETerm(lambda t, y, args: -flow.problem.grad(y))

        @jax.jit
        def solve(rtol, t1):
            control = dfx.PIDController(rtol=rtol, atol=1e-3 * rtol)
            return dfx.diffeqsolve(
                term, solver, 0.0, t1, None, flow.theta0, stepsize_controller=control, max_steps=None
            ).ys[-1]

        return lambda rtol, t1: np.asarray(solve(jnp.asarray(rtol), jnp.asarray(t1)))

    return make


def scipy_method(name: str) -> Callable[[Flow], Method]:
    def make(flow: Flow) -> Method:
        gradient, hessian = jax.jit(lambda y: flow.problem.grad(y)), jax.jit(jax.hessian(flow.problem.loss))
        # LSODA may ask for the Hessian late.
        hessian(flow.theta0).block_until_ready()

        def solve(rtol: float, t1: float) -> np.ndarray:
            run = solve_ivp(
                lambda t, y: -np.asarray(gradient(y)),
                (0.0, t1),
                np.asarray(flow.theta0),
                method=name,
                rtol=rtol,
                atol=1e-3 * rtol,
                jac=lambda t, y: -np.asarray(hessian(y)),
            )
            return run.y[:, -1]

        return solve

    return make


def torch_dopri5(flow: Flow) -> Method:
    import torch
    from torchdiffeq import odeint

    gradient = jax.jit(lambda y: flow.problem.grad(y))

    def solve(rtol: float, t1: float) -> np.ndarray:
        start, ends = torch.tensor(np.asarray(flow.theta0)), torch.tensor([0.0, t1], dtype=torch.float64)
        field = lambda t, y: -torch.tensor(np.asarray(gradient(y.numpy())))  # noqa: E731
        return odeint(field, start, ends, rtol=rtol, atol=1e-3 * rtol, method="dopri5")[-1].numpy()

    return solve


class Entry(NamedTuple):
    """A method, whether it factorises dense matrices, and the λ_max t1 up to which it is tried."""

    make: Callable[[Flow], Method]
    dense: bool = False
    stretch: float = np.inf

    def suits(self, size: int, stretch: float) -> bool:
        """Whether a flow of `size` parameters over λ_max t1 = `stretch` is within its reach."""
        return not (self.dense and size > DENSE) and stretch <= self.stretch


OWN = {
    "gfsim": Entry(ours(None)),
    "gfsim Dopri5S": Entry(ours(Dopri5S()), stretch=OWN_STRETCH),
    "gfsim Dopri8": Entry(ours(dfx.Dopri8()), stretch=OWN_STRETCH),
    "gfsim RKC": Entry(ours(RKC())),
    "gfsim BDF": Entry(ours(BDF()), dense=True),
}
PEERS = {
    "diffrax Tsit5": Entry(diffrax_method(dfx.Tsit5()), stretch=STRETCH),
    "diffrax Dopri8": Entry(diffrax_method(dfx.Dopri8()), stretch=STRETCH),
    "diffrax Kvaerno3": Entry(diffrax_method(dfx.Kvaerno3()), dense=True),
    "diffrax Kvaerno5": Entry(diffrax_method(dfx.Kvaerno5()), dense=True),
    "SciPy LSODA": Entry(scipy_method("LSODA"), dense=True),
    "SciPy BDF": Entry(scipy_method("BDF"), dense=True),
    "SciPy Radau": Entry(scipy_method("Radau"), dense=True),
}
if importlib.util.find_spec("torchdiffeq"):
    PEERS["torchdiffeq dopri5"] = Entry(torch_dopri5, stretch=STRETCH)


def race(methods: dict[str, Method], flow: Flow, reference: np.ndarray) -> dict[str, dict[str, list[float]]]:
    """Errors and seconds of every method over the ladder of tolerances, until its patience or precision is exhausted.

    The methods run in turn, so that a machine that slows down for a minute slows them all.
    """
    results = {name: {"errors": [], "seconds": []} for name in methods}
    running = dict(methods)
    for method in methods.values():
        method(TOLERANCES[0], 1e-6 * flow.t1)
    for rtol in TOLERANCES:
        if "gfsim" in running:
            # At any rung it may need another solver, and compile that.
            running["gfsim"](rtol, flow.t1)
        ends: dict[str, np.ndarray] = {}
        taken: dict[str, list[float]] = {name: [] for name in running}
        for _ in range(3):
            for name, method in running.items():
                if not taken[name] or taken[name][-1] < 1:
                    ends[name], seconds = timed(method, rtol, flow.t1)
                    taken[name].append(seconds)
        for name, end in ends.items():
            error = float(np.linalg.norm(end - reference) / np.linalg.norm(reference))
            seconds = float(np.median(taken[name]))
            results[name]["errors"].append(error)
            results[name]["seconds"].append(seconds)
            if seconds > PATIENCE or error < min(ERRORS):
                del running[name]
    return results


def timed(method: Method, rtol: float, t1: float) -> tuple[np.ndarray, float]:
    """The end and the seconds: the median of calls for `TURN`, since a first one pays for what others left in the
    processor's caches, which one of a millisecond does not make up for."""
    taken: list[float] = []
    while True:
        began = time.perf_counter()
        end = method(rtol, t1)
        taken.append(time.perf_counter() - began)
        if sum(taken) > TURN:
            return end, float(np.median(taken))


def seconds_at(error: float, rungs: dict[str, list[float]]) -> float:
    """The least time at which a method is at least so precise, log-linear between rungs; NaN where it never is."""
    errors, seconds = (np.array(rungs[key]) for key in ("errors", "seconds"))
    good = errors <= error
    if not good.any():
        return np.nan
    first = int(np.argmax(good))
    if first == 0:
        return float(seconds[0])
    x = np.log(errors[first - 1 : first + 1])
    share = (np.log(error) - x[0]) / (x[1] - x[0])
    return float(np.exp(np.interp(share, [0, 1], np.log(seconds[first - 1 : first + 1]))))


def reference(flow: Flow, stretch: float) -> np.ndarray:
    """The end of the flow by a peer at rtol 1e-12: explicit where its steps can be afforded, else SciPy's Radau."""
    if PEERS["diffrax Dopri8"].suits(flow.problem.size, stretch):
        return diffrax_method(dfx.Dopri8())(flow)(1e-12, flow.t1)
    return scipy_method("Radau")(flow)(1e-11, flow.t1)


def compare(name: str) -> dict[str, Any]:
    """Everything measured of one flow."""
    flow = FLOWS[name]()
    size = flow.problem.size
    stretch = flow.t1 * float(gf.landscape.largest_eigenvalue(flow.problem, flow.theta0))
    exact = reference(flow, stretch)
    methods = {method: entry.make(flow) for method, entry in (OWN | PEERS).items() if entry.suits(size, stretch)}
    results = race(methods, flow, exact)
    for method, rungs in results.items():
        print(f"{name}, {method}: {seconds_at(1e-6, rungs):.3g} s at 1e-6", flush=True)
    run = gf.simulate(gf.GradientFlow(flow.problem), flow.theta0, flow.t1).stats
    return {
        "name": name, "size": size, "t1": flow.t1, "stretch": stretch, "solver": run["solver"],
        "work": run["gradients"] + 2 * run["hessian_products"], "results": results,
    }  # fmt: skip


def best(row: dict[str, Any], methods: Iterable[str], error: float) -> tuple[str, float, bool]:
    """The fastest of these methods at an error, its seconds, and whether it got there.

    Where none did, the least seconds after which one gave up, which is a lower bound.
    """
    tried = {name: row["results"][name] for name in methods if name in row["results"]}
    times = {name: seconds_at(error, rungs) for name, rungs in tried.items()}
    arrived = {name: seconds for name, seconds in times.items() if np.isfinite(seconds)}
    if arrived:
        name = min(arrived, key=arrived.__getitem__)
        return name, arrived[name], True
    name = min(tried, key=lambda name: tried[name]["seconds"][-1])
    return name, tried[name]["seconds"][-1], False


def table(rows: list[dict[str, Any]]) -> str:
    """Ratios to the fastest peer at each error, and what the choice of a solver cost."""
    lines = [
        "| flow | P | t1 | λ_max t1 | solver at rtol 1e-6 | GD gradients / ours | "
        + " | ".join(f"error {e:.0e}: gfsim, fastest peer, ratio" for e in ERRORS) + " | chosen / best of ours |",
        "|---" * (7 + len(ERRORS)) + "|",
    ]  # fmt: skip
    for row in rows:
        cells = [row["name"], f"{row['size']}", f"{row['t1']:.0e}", f"{row['stretch']:.1e}", row["solver"]]
        cells.append(f"{row['stretch'] / 1.9 / row['work']:.2g}")
        for error in ERRORS:
            _, own, done = best(row, ["gfsim"], error)
            peer, seconds, arrived = best(row, PEERS, error)
            over = "" if arrived else "> "
            cells.append(f"{own:.2g} s, {peer} {over}{seconds:.2g} s, **{over}{seconds / own:.2g}**" if done else "–")
        (_, own, done), fixed = best(row, ["gfsim"], 1e-6), best(row, [name for name in OWN if name != "gfsim"], 1e-6)
        cells.append(f"{own / fixed[1]:.2g} ({fixed[0].removeprefix('gfsim ')})" if done and fixed[2] else "–")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def summary(rows: list[dict[str, Any]]) -> str:
    """The medians that the table is read for."""
    ratios = {}
    for row in rows:
        _, own, done = best(row, ["gfsim"], 1e-6)
        ratios[row["name"]] = best(row, PEERS, 1e-6)[1] / own if done else 0.0
    stiff = [ratios[row["name"]] for row in rows if row["stretch"] > STIFF]
    worst = min(ratios, key=ratios.__getitem__)
    of_stiff = ""
    if stiff:
        of_stiff = f"{np.median(stiff):.2g} times in that of the {len(stiff)} stiff ones (λ_max t1 above {STIFF:.0e}), "
    return (
        f"At an error of 1e-6: {np.median(list(ratios.values())):.2g} times as fast as the fastest peer in the median"
        f" of all flows, {of_stiff}{ratios[worst]:.2g} times at worst ({worst}). A flow on which gfsim gave up counts"
        " as 0; where all peers did, the least of their times counts."
    )


def figure(rows: list[dict]) -> mpl.figure.Figure:  # pyright: ignore
    from matplotlib import pyplot, ticker

    markers = dict(zip(PEERS, "osD^v<>P", strict=False))
    with style("neurips"):
        columns = 3
        height = 1.6 * -(-len(rows) // columns) + 0.4
        drawn, axes = pyplot.subplots(-(-len(rows) // columns), columns, figsize=(5.5, height), squeeze=False)
        for ax, row in zip(axes.flat, rows, strict=False):
            for peer, rungs in row["results"].items():
                own = peer == "gfsim"
                if not own and peer in OWN:
                    continue
                options = {"color": COLOURS["flow"], "lw": 1.8, "marker": "o", "zorder": 3} if own else {
                    "color": COLOURS["reference"], "lw": 0.7, "marker": markers[peer], "markerfacecolor": "white"
                }  # fmt: skip
                ax.loglog(rungs["errors"], rungs["seconds"], label=peer, ms=3, **options)
            # The same decades everywhere; a panel of few points would not span one.
            ax.set_xlim(3e-2, 3e-10)
            ax.yaxis.set_minor_formatter(ticker.NullFormatter())
            low, high = np.log10(ax.get_ylim())
            if np.floor(high) < low:
                # No power of ten is within, and none would be labelled.
                ax.set_ylim(10 ** np.floor(low), 10 ** np.ceil(high))
            ax.set_title(f"{row['name']}\nP = {row['size']}, $t_1$ = {row['t1']:.0e}")
        for ax in list(axes.flat)[max(0, len(rows) - columns) : len(rows)]:
            ax.set_xlabel("error / ‖θ‖")
        for ax in axes[:, 0]:
            ax.set_ylabel("seconds")
        for ax in list(axes.flat)[len(rows) :]:
            ax.axis("off")
        handles = {label: h for ax in axes.flat for h, label in zip(*ax.get_legend_handles_labels(), strict=True)}
        drawn.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=4)
    return drawn


def slug(name: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in name)


def main() -> int:
    chosen = [] if sys.argv[1:] == ["page"] else sys.argv[1:] or list(FLOWS)
    if unknown := [name for name in chosen if name not in FLOWS]:
        print(f"benchmark must be one of {'; '.join(FLOWS)}, was {unknown[0]!r}", file=sys.stderr)
        return 2
    for name in chosen:
        row = compare(name)
        KEPT.mkdir(exist_ok=True)
        (KEPT / f"{slug(name)}.json").write_text(json.dumps(row, indent=1), encoding="utf-8")
    rows = [
        json.loads(file.read_text(encoding="utf-8")) for name in FLOWS if (file := KEPT / f"{slug(name)}.json").exists()
    ]
    if not rows:
        print(f"page must follow a measurement; benchmarks are {'; '.join(FLOWS)}, none was measured", file=sys.stderr)
        return 2
    text = f"{summary(rows)}\n\n{table(rows)}"
    print(text)
    absent = [name for name in FLOWS if name not in [row["name"] for row in rows]]
    missing = f" Not measured: {'; '.join(absent)}." if absent else ""
    peers = ", ".join(f"{p} {version(p)}" for p in ("jax", "diffrax", "scipy"))
    torch = "" if "torchdiffeq dopri5" in PEERS else " torchdiffeq was not installed."
    machine = f"{platform.machine()} with {os.cpu_count()} cores, Python {platform.python_version()}, {peers}"
    page = (
        "# Benchmarks\n\nWritten by `make bench`: every method in one process, compiled beforehand, in turn at each"
        f" tolerance, called again and again for {TURN:g} s or once; median of three turns or, where one takes a"
        f" second, that one. Measured on {machine}.{torch}{missing}\n\n"
        "A ratio above one says how many times faster gfsim was than the fastest peer at the same error."
        " \"GD gradients / ours\": what gradient descent at step 1.9/λ_max(θ0) needs for the same time, over gfsim's"
        " gradients at rtol 1e-6 (a Hessian product counts two). A method whose run took more than"
        f" {PATIENCE:g} s was not asked for more precision: > marks a peer that gave up, – where gfsim did.\n\n"
        f"{text}\n\n![Work and precision](benchmarks.svg)\n"
    )  # fmt: skip
    (ROOT / "docs" / "benchmarks.md").write_text(page, encoding="utf-8")
    with mpl.rc_context({"svg.hashsalt": "gfsim"}):
        figure(rows).savefig(ROOT / "docs" / "benchmarks.svg", metadata={"Date": None})
    print("written: docs/benchmarks.md, docs/benchmarks.svg")
    return 0


if __name__ == "__main__":
    sys.exit(main())
