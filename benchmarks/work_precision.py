"""Work against precision, gfsim beside the solvers that people use: writes docs/benchmarks.md and its figure.

Every method solves every flow at a ladder of tolerances in this one process, compilation excluded; the seconds at an
error of 1e-4, 1e-6 and 1e-8 (relative to ‖θ‖ at the end) are interpolated between its rungs. Names given on the command
line restrict the flows, and then nothing is written.
"""

import importlib.util
import os
import platform
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from gfsim.workbench.runtime import prepare_jax

prepare_jax()

import diffrax as dfx  # noqa: E402
import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import matplotlib as mpl  # noqa: E402
import numpy as np  # noqa: E402
from scipy.integrate import solve_ivp  # noqa: E402

import gfsim as gf  # noqa: E402
from benchmarks.problems import FLOWS, Flow  # noqa: E402
from gfsim.plotting import COLOURS, style  # noqa: E402

ROOT = Path(__file__).parents[1]
TOLERANCES = 10.0 ** -np.arange(3, 12)
ERRORS = (1e-4, 1e-6, 1e-8)
# A method that took longer is not asked for more precision; one run of it is then measurement enough.
PATIENCE = 10.0
# Parameters up to which a method that factorises dense matrices is tried.
DENSE = 1000
Method = Callable[[float], np.ndarray]


def ours(flow: Flow) -> Method:
    dynamics = gf.GradientFlow(flow.problem)
    return lambda rtol: np.asarray(gf.simulate(dynamics, flow.theta0, flow.t1, rtol=rtol).theta[-1])


def diffrax_method(solver: dfx.AbstractSolver) -> Callable[[Flow], Method]:
    def make(flow: Flow) -> Method:
        term = dfx.ODETerm(lambda t, y, args: -flow.problem.grad(y))

        @jax.jit
        def solve(rtol):
            control = dfx.PIDController(rtol=rtol, atol=1e-3 * rtol)
            return dfx.diffeqsolve(
                term, solver, 0.0, flow.t1, None, flow.theta0, stepsize_controller=control, max_steps=None
            ).ys[-1]

        return lambda rtol: np.asarray(solve(jnp.asarray(rtol)))

    return make


def scipy_method(name: str) -> Callable[[Flow], Method]:
    def make(flow: Flow) -> Method:
        gradient, hessian = (jax.jit(lambda y, f=f: f(y)) for f in (flow.problem.grad, flow.problem.hessian))

        def solve(rtol: float) -> np.ndarray:
            run = solve_ivp(
                lambda t, y: -np.asarray(gradient(y)),
                (0.0, flow.t1),
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

    def solve(rtol: float) -> np.ndarray:
        start, ends = torch.tensor(np.asarray(flow.theta0)), torch.tensor([0.0, flow.t1], dtype=torch.float64)
        field = lambda t, y: -torch.tensor(np.asarray(gradient(y.numpy())))  # noqa: E731
        return odeint(field, start, ends, rtol=rtol, atol=1e-3 * rtol, method="dopri5")[-1].numpy()

    return solve


# name: (how it is made, whether it factorises dense matrices)
PEERS: dict[str, tuple[Callable[[Flow], Method], bool]] = {
    "diffrax Tsit5": (diffrax_method(dfx.Tsit5()), False),
    "diffrax Dopri8": (diffrax_method(dfx.Dopri8()), False),
    "diffrax Kvaerno3": (diffrax_method(dfx.Kvaerno3()), True),
    "diffrax Kvaerno5": (diffrax_method(dfx.Kvaerno5()), True),
    "SciPy LSODA": (scipy_method("LSODA"), True),
    "SciPy BDF": (scipy_method("BDF"), True),
    "SciPy Radau": (scipy_method("Radau"), True),
}
if importlib.util.find_spec("torchdiffeq"):
    PEERS["torchdiffeq dopri5"] = (torch_dopri5, False)


def measured(method: Method, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(errors, seconds) over the ladder of tolerances, until the patience or the precision is exhausted."""
    errors, seconds = [], []
    for rtol in TOLERANCES:
        began = time.perf_counter()
        end = method(rtol)
        first = time.perf_counter() - began
        times = []
        while not times or (len(times) < 3 and first < 1):
            began = time.perf_counter()
            method(rtol)
            times.append(time.perf_counter() - began)
        errors.append(float(np.linalg.norm(end - reference) / np.linalg.norm(reference)))
        seconds.append(float(np.median(times)))
        if seconds[-1] > PATIENCE or errors[-1] < 3e-9:
            break
    return np.array(errors), np.array(seconds)


def seconds_at(error: float, errors: np.ndarray, seconds: np.ndarray) -> float:
    """The least time at which a method is at least so precise, log-linear between rungs; NaN where it never is."""
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
    if stretch < 1e6 or flow.problem.size > DENSE:
        return diffrax_method(dfx.Dopri8())(flow)(1e-12)
    return scipy_method("Radau")(flow)(1e-11)


def compare(name: str) -> dict:
    flow = FLOWS[name]()
    stretch = flow.t1 * float(gf.landscape.largest_eigenvalue(flow.problem, flow.theta0))
    exact = reference(flow, stretch)
    results = {"gfsim": measured(ours(flow), exact)}
    for peer, (make, dense) in PEERS.items():
        if (dense and flow.problem.size > DENSE) or (not dense and stretch > 1e7):
            continue
        results[peer] = measured(make(flow), exact)
        print(f"{name}, {peer}: {seconds_at(1e-6, *results[peer]):.3g} s at 1e-6", flush=True)
    chosen = gf.simulate(gf.GradientFlow(flow.problem), flow.theta0, flow.t1).stats
    print(f"{name}, gfsim ({chosen['solver']}): {seconds_at(1e-6, *results['gfsim']):.3g} s at 1e-6", flush=True)
    return {
        "name": name, "size": flow.problem.size, "t1": flow.t1, "stretch": stretch,
        "solver": chosen["solver"], "work": chosen["gradients"] + 2 * chosen["hessian_products"], "results": results,
    }  # fmt: skip


def table(rows: list[dict]) -> str:
    lines = [
        "| flow | P | t1 | λ_max·t1 | gfsim used | GD gradients / ours | "
        + " | ".join(f"error {e:.0e}: gfsim, best peer, ratio" for e in ERRORS) + " |",
        "|---" * (6 + len(ERRORS)) + "|",
    ]  # fmt: skip
    for row in rows:
        cells = [row["name"], f"{row['size']}", f"{row['t1']:.0e}", f"{row['stretch']:.1e}", row["solver"]]
        cells.append(f"{row['stretch'] / 1.9 / row['work']:.2g}")
        for error in ERRORS:
            own, peer, best = ratio(row, error)
            cells.append("–" if np.isnan(best) else f"{own:.2g} s, {peer} {best:.2g} s, **{best / own:.2g}**")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def ratio(row: dict, error: float) -> tuple[float, str, float]:
    """(our seconds, the fastest peer, its seconds) at an error."""
    own = seconds_at(error, *row["results"]["gfsim"])
    times = {p: seconds_at(error, *r) for p, r in row["results"].items() if p != "gfsim"}
    times = {p: s for p, s in times.items() if np.isfinite(s)} or {"none": np.nan}
    best = min(times, key=times.__getitem__)
    return own, best, times[best]


def figure(rows: list[dict]) -> mpl.figure.Figure:  # pyright: ignore
    from matplotlib import pyplot

    markers = dict(zip(PEERS, "osD^v<>P", strict=False))
    with style("neurips"):
        columns = 3
        height = 1.6 * -(-len(rows) // columns) + 0.4
        drawn, axes = pyplot.subplots(-(-len(rows) // columns), columns, figsize=(5.5, height), squeeze=False)
        for ax, row in zip(axes.flat, rows, strict=False):
            for peer, (errors, seconds) in row["results"].items():
                own = peer == "gfsim"
                options = {"color": COLOURS["flow"], "lw": 1.8, "marker": "o", "zorder": 3} if own else {
                    "color": COLOURS["reference"], "lw": 0.7, "marker": markers[peer], "markerfacecolor": "white"
                }  # fmt: skip
                ax.loglog(errors, seconds, label=peer, ms=3, **options)
            ax.invert_xaxis()
            ax.set_title(f"{row['name']}\nP = {row['size']}, $t_1$ = {row['t1']:.0e}")
        for ax in axes[-1]:
            ax.set_xlabel("error / ‖θ‖")
        for ax in axes[:, 0]:
            ax.set_ylabel("seconds")
        for ax in list(axes.flat)[len(rows) :]:
            ax.axis("off")
        handles = {label: h for ax in axes.flat for h, label in zip(*ax.get_legend_handles_labels(), strict=True)}
        drawn.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=4)
    return drawn


def main() -> int:
    chosen = sys.argv[1:] or list(FLOWS)
    if unknown := [name for name in chosen if name not in FLOWS]:
        print(f"benchmark must be one of {', '.join(FLOWS)}, was {unknown[0]!r}", file=sys.stderr)
        return 2
    rows = [compare(name) for name in chosen]
    text = table(rows)
    print(text)
    if sys.argv[1:]:
        return 0
    peers = ", ".join(f"{p} {version(p)}" for p in ("jax", "diffrax", "scipy"))
    torch = "" if "torchdiffeq dopri5" in PEERS else " torchdiffeq was not installed."
    page = (
        "# Benchmarks\n\nWritten by `make bench`: every method in one process, compiled beforehand, median of three"
        f" runs. Measured on {platform.machine()} with {os.cpu_count()} cores, Python {platform.python_version()},"
        f" {peers}."
        f"{torch}\n\nA ratio above one says how many times faster gfsim was than the fastest peer at the same error."
        f" \"GD gradients / ours\": what gradient descent at step 1.9/λ_max(θ0) needs for the same time, over gfsim's"
        f" gradients at rtol 1e-6 (a Hessian product counts two).\n\n{text}\n\n![Work and precision](benchmarks.svg)\n"
    )  # fmt: skip
    (ROOT / "docs" / "benchmarks.md").write_text(page, encoding="utf-8")
    with mpl.rc_context({"svg.hashsalt": "gfsim"}):
        figure(rows).savefig(ROOT / "docs" / "benchmarks.svg", metadata={"Date": None})
    print("written: docs/benchmarks.md, docs/benchmarks.svg")
    return 0


if __name__ == "__main__":
    sys.exit(main())
