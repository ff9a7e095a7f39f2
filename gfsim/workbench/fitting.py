"""`gfsim fit`: a scaling law read off a sweep, with its confidence interval and its figure."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gfsim.workbench.arguments import Fit
from gfsim.workbench.drawing import save_figure
from gfsim.workbench.record import load_record

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure
    from rich.table import Table

    from gfsim.verification import Claim, scaling


# Values of x that still fit beside each other as labels.
_TICKS = 6


class Law(NamedTuple):
    """One group of runs, the law fitted to it, and the claim that its exponent is the theory's."""

    group: str
    law: "scaling.Fit"
    claim: "Claim | None"


def fit_record(command: Fit) -> tuple[list[Law], list[Path]]:
    """The law in every group of the sweep, the claim where an exponent is predicted, and the figure's files.

    Runs are grouped by every field that was swept but x, y and the seed, whose values are what is resampled.

    Raises `ValueError` where the record is no sweep, has no such variable, or holds too few or unusable values.
    """
    from gfsim.verification import Claim
    from gfsim.verification.scaling import bootstrap_fit

    if command.predicted is not None and not np.isfinite(command.predicted):
        raise ValueError(f"predicted must be a finite number, was {command.predicted}")
    if not 0 < command.tolerance < np.inf:
        raise ValueError(f"tolerance must be positive and finite, was {command.tolerance}")
    record = load_record(command.record)
    if not {"identity", "status", "seed"} <= set(record.variables):
        raise ValueError(f"record must be one of gfsim sweep, was {str(command.record)!r}")
    record = record.isel(run=record["status"].values == "done")
    if not record.sizes["run"]:
        raise ValueError(f"record must hold a run that is done, was {str(command.record)!r} without one")
    x, y = _numbers(record, "x", command.x), _numbers(record, "y", command.y)
    found = []
    for label, chosen in _groups(record, command.x, command.y).items():
        law = bootstrap_fit(x[chosen], y[chosen], record["seed"].values[chosen], command.form, level=command.level)
        claim = None
        if command.predicted is not None:
            name = f"{command.y} against {command.x}{': ' if label else ''}{label}"
            claim = Claim(name, "theory", command.predicted, law.exponent, command.tolerance, scale="absolute")
        found.append(Law(label, law, claim))
    figure = _figure(command, x, y, _groups(record, command.x, command.y), found)
    stem = f"{Path(command.record).stem}-{command.y}-{command.x}"
    return found, save_figure(figure, command.figures(), stem)


def _numbers(record: "xarray.Dataset", axis: str, name: str) -> np.ndarray:
    if name not in record.variables or record[name].dims != ("run",) or record[name].dtype.kind not in "iufb":
        known = [str(k) for k, v in record.variables.items() if v.dims == ("run",) and v.dtype.kind in "iuf"]
        raise ValueError(f"{axis} must be a variable of one number per run ({', '.join(known)}), was {name!r}")
    return record[name].values.astype(float)


def _groups(record: "xarray.Dataset", x: str, y: str) -> dict[str, np.ndarray]:
    """Which runs share every field but `x`, `y` and the seed, named by the fields that differ."""
    rows = [json.loads(text) for text in record["configuration"].values.tolist()]
    columns = {name: [row.get(name) for row in rows] for name in rows[0] if name not in (x, y, "seed")}
    texts = [_texts(name, values) for name, values in columns.items() if any(value != values[0] for value in values)]
    labels = np.array([", ".join(row) for row in zip(*texts, strict=True)] or [""] * len(rows))
    return {label: labels == label for label in dict.fromkeys(labels.tolist())}


def _texts(name: str, values: list[Any]) -> list[str]:
    """The field with each of its values, short where that tells them apart."""
    short = {json.dumps(value): _short(value) for value in values}
    apart = len(set(short.values())) == len(short)
    return [f"{name} {short[json.dumps(value)] if apart else json.dumps(value)}" for value in values]


def _figure(command: Fit, x: np.ndarray, y: np.ndarray, groups: dict[str, np.ndarray], found: list[Law]) -> "Figure":
    """Median and range of every group at every x, the fitted law in its band, and the theory's slope through it."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import NullLocator

    from gfsim.plotting import COLOURS, shades, style
    from gfsim.verification.scaling import FORMS

    with style(command.venue, "half"):
        figure, ax = plt.subplots()
        for k, (colour, (label, law, _)) in enumerate(zip(shades("flow", len(found)), found, strict=True)):
            own = groups[label]
            at = np.unique(x[own])
            low, middle, high = np.array([np.quantile(y[own][x[own] == value], (0, 0.5, 1)) for value in at]).T
            text = f"{law.exponent:.5g} [{law.interval[0]:.5g}, {law.interval[1]:.5g}]".replace("-", "−")
            ax.fill_between(law.at, *law.band, color=colour, alpha=0.25, lw=0)
            ax.plot(law.at, law.curve(law.at), color=colour)
            ax.errorbar(at, middle, (middle - low, high - middle), fmt="o", ms=3, lw=0.6, color=colour,
                        label=f"{label}: {text}" if label else text)  # fmt: skip
            if command.predicted is not None:
                name = f"theory: {command.predicted:g}".replace("-", "−") if k == 0 else None
                ax.plot(law.at, _theory(law, command.predicted), color=COLOURS["theory"], lw=0.7, ls="--", label=name)
        xscale, yscale = ("log" if logarithmic else "linear" for logarithmic in FORMS[command.form])
        ax.set(xlabel=command.x.replace("_", " "), ylabel=command.y.replace("_", " "), xscale=xscale, yscale=yscale)
        if len(np.unique(x)) <= _TICKS:
            ax.set_xticks(np.unique(x), [f"{value:g}" for value in np.unique(x)])
            ax.xaxis.set_minor_locator(NullLocator())
        title = {"power": "exponent", "exponential": "rate", "logarithmic": "slope"}[command.form]
        figure.legend(
            title=f"{title} [{100 * command.level:g} % interval over seeds]",
            loc="outside lower center",
            title_fontsize=6,
        )
    return figure


def _theory(law: "scaling.Fit", exponent: float) -> np.ndarray:
    """The law of the theory's exponent that runs through the middle of the fitted one."""
    theory = law._replace(exponent=exponent, prefactor=0.0 if law.form == "logarithmic" else 1.0).curve(law.at)
    if law.form == "logarithmic":
        return theory + np.mean(law.curve(law.at) - theory)
    return theory * np.exp(np.mean(np.log(law.curve(law.at) / theory)))


def fit_table(found: list[Law]) -> "Table":
    """Exponent and interval of every group, beside the theory's exponent where one is given."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    predicted = any(claim is not None for _, _, claim in found)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("group", "law", "exponent", "interval", *(("theory", "tolerance", "holds") if predicted else ())):
        table.add_column(column, justify="left" if column in ("group", "law") else "right")
    for label, law, claim in found:
        form = {"power": "c·x^e", "exponential": "c·exp(e·x)", "logarithmic": "c + e·ln x"}[law.form]
        interval = f"[{law.interval[0]:.5g}, {law.interval[1]:.5g}]"
        verdict = []
        if claim is not None:
            holds = Text("yes", "green") if claim.holds else Text("NO", "bold red")
            verdict = [f"{claim.predicted:g}", f"{claim.tolerance:g}", holds]
        table.add_row(label or "all", form, f"{law.exponent:.5g}", interval, *verdict)
    return table


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, (int, float, np.number)) else str(value)
