"""The claim table: for people, for papers, for programs."""

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from gfsim.verification.claims import Claim

SIGN = {"close": "=", "at_most": "≤", "at_least": "≥"}
_TEX_SIGN = {"close": "=", "at_most": r"\le", "at_least": r"\ge"}
_TEX_SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "≤": r"$\le$", "≥": r"$\ge$", "−": "$-$", "∝": r"$\propto$", "→": r"$\to$", "∞": r"$\infty$", "·": r"$\cdot$",
    "‖": r"$\|$", "²": "$^2$", "α": r"$\alpha$", "β": r"$\beta$", "γ": r"$\gamma$", "δ": r"$\delta$",
    "ε": r"$\varepsilon$", "η": r"$\eta$", "θ": r"$\theta$", "κ": r"$\kappa$", "λ": r"$\lambda$", "μ": r"$\mu$",
    "ρ": r"$\rho$", "σ": r"$\sigma$", "τ": r"$\tau$", "∇": r"$\nabla$",
}  # fmt: skip


class Verdict:
    """A claim and, where the scenario was solved again at rtol/10, the same claim from that solve."""

    def __init__(self, claim: "Claim", confirmation: "Claim | None" = None):
        self.claim = claim
        self.moved = None if confirmation is None else claim.moved(confirmation)
        self.holds = claim.holds if confirmation is None else claim.confirmed_by(confirmation)

    def to_json(self) -> dict[str, object]:
        """The claim as JSON knows it: a value that is not finite becomes null."""
        entry: dict[str, object] = {
            "name": self.claim.name,
            "source": self.claim.source,
            "predicted": finite(self.claim.predicted),
            "measured": finite(self.claim.measured),
            "tolerance": self.claim.tolerance,
            "relation": self.claim.relation,
            "scale": self.claim.scale,
            "holds": self.holds,
        }
        return entry if self.moved is None else {**entry, "moved": finite(self.moved)}


def finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def claim_table(verdicts: list[Verdict]) -> "Table":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    confirmed = any(verdict.moved is not None for verdict in verdicts)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("claim", ratio=3)
    table.add_column("source", ratio=2, style="dim")
    for column in ("predicted", "measured", "tolerance", *(["moved"] if confirmed else [])):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("holds", justify="center", no_wrap=True)
    for verdict in verdicts:
        claim = verdict.claim
        table.add_row(
            Text(claim.name),
            Text(claim.source),
            f"{SIGN[claim.relation]} {claim.predicted:.6g}",
            f"{claim.measured:.6g}",
            tolerance(claim),
            *([] if verdict.moved is None else [f"{verdict.moved:.2g}"]),
            Text("yes", "green") if verdict.holds else Text("NO", "bold red"),
        )
    return table


def tolerance(claim: "Claim") -> str:
    return f"{100 * claim.tolerance:g} %" if claim.scale == "relative" else f"{claim.tolerance:g}"


def claim_table_tex(verdicts: list[Verdict]) -> str:
    """A `tabular` for the package booktabs."""
    rows = [
        " & ".join(
            (
                tex(verdict.claim.name),
                tex(verdict.claim.source),
                f"${_TEX_SIGN[verdict.claim.relation]} {tex_number(verdict.claim.predicted)}$",
                f"${tex_number(verdict.claim.measured)}$",
                tex(tolerance(verdict.claim)),
                "yes" if verdict.holds else r"\textbf{no}",
            )
        )
        + r" \\"
        for verdict in verdicts
    ]
    head = r"claim & source & predicted & measured & tolerance & holds \\"
    return "\n".join(
        (r"\begin{tabular}{llrrrc}", r"\toprule", head, r"\midrule", *rows, r"\bottomrule", r"\end{tabular}")
    )


def tex(text: str) -> str:
    return "".join(_TEX_SPECIAL.get(character, character) for character in text)


def tex_number(value: float) -> str:
    if math.isnan(value):
        return r"\mathrm{NaN}"
    if math.isinf(value):
        return r"\infty" if value > 0 else r"-\infty"
    mantissa, _, exponent = f"{value:.6g}".partition("e")
    return rf"{mantissa} \cdot 10^{{{int(exponent)}}}" if exponent else mantissa
