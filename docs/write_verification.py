"""Measures everything the project promises at full size and writes docs/verification.md; `make verify` runs it.

Exit code 1 where a claim or a test fails; the page is written all the same and says which.
"""

import json
import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "verification.md"
PACKAGES = ("jax", "diffrax", "equinox", "numpy")


def scenario_section(file: Path) -> tuple[str, bool]:
    """The claim table of one scenario, solved at its default size."""
    print(f"running {file.stem}", flush=True)
    command = [str(Path(sys.executable).with_name("gfsim")), "run", str(file), "--json"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    title = f"## {file.stem.replace('_', '-')}\n\n"
    if done.returncode not in (0, 1):
        return f"{title}Did not finish (exit code {done.returncode}).\n", False
    run = json.loads(done.stdout)
    rows = "\n".join(claim_row(claim) for claim in run["claims"])
    head = "| claim | source | predicted | measured | tolerance | holds |\n|---|---|---|---|---|---|\n"
    return f"{title}Solved in {run['seconds']:.0f} s.\n\n{head}{rows}\n", done.returncode == 0


def claim_row(claim: dict) -> str:
    sign = {"close": "=", "at_most": "≤", "at_least": "≥"}[claim["relation"]]
    relative = claim["scale"] == "relative"
    tolerance = f"{100 * claim['tolerance']:g} %" if relative else f"{claim['tolerance']:g}"
    cells = (
        claim["name"],
        claim["source"],
        f"{sign} {number(claim['predicted'])}",
        number(claim["measured"]),
        tolerance,
        "yes" if claim["holds"] else "**no**",
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def number(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.6g}"


def test_section() -> tuple[str, bool]:
    """The outcome of the tests marked `verify`."""
    print("running the full-size tests", flush=True)
    command = [sys.executable, "-m", "pytest", "-n", "2", "-m", "verify", "-rA", "-q"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    print(done.stdout, flush=True)
    outcomes = [line for line in done.stdout.splitlines() if line.startswith(("PASSED", "FAILED", "ERROR"))]
    lines = [f"- {line}" for line in outcomes] or ["No test is marked `verify`."]
    no_tests = 5
    return "\n".join(["## Full-size tests", "", *lines, ""]), done.returncode in (0, no_tests)


def main() -> int:
    sections = [scenario_section(file) for file in sorted((ROOT / "scenarios").glob("*.py"))]
    sections.append(test_section())
    versions = ", ".join(f"{package} {version(package)}" for package in PACKAGES)
    head = (
        "# Verification\n\nWritten by `make verify`: every scenario at its default size and every full-size test.\n\n"
        f"Measured on {platform.machine()} with {os.cpu_count()} cores,"
        f" Python {platform.python_version()}, {versions}.\n"
    )
    PAGE.write_text("\n".join((head, *(text for text, _ in sections))), encoding="utf-8")
    print(f"written: {PAGE.relative_to(ROOT)}")
    return 0 if all(holds for _, holds in sections) else 1


if __name__ == "__main__":
    sys.exit(main())
