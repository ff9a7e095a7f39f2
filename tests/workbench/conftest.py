"""Scenarios as a stranger would write them: one file each, in a folder of their own."""

import textwrap
from pathlib import Path

import pytest

SCENARIO = '''
import dataclasses
import numpy as np
import xarray
import gfsim as gf

@dataclasses.dataclass(frozen=True, kw_only=True)
class Parabola(gf.Scenario):
    """The square of one is one. Nothing follows from it.

    A paragraph.

    Source: Kumar and Haupt, arXiv 2403.08121, theorem 1; arXiv 2999.12345.
    Run time: none.
    """

    points: int = 11
    """How many points."""
    slope: float = 2.0
    """Slope at one."""

    def __post_init__(self):
        super().__post_init__()
        if self.points < 2:
            raise ValueError(f"points must be at least 2, was {self.points}")

    def simulate(self):
        self.announce("squaring")
        print("a scenario prints")
        x = np.linspace(0, 1, self.points)
        return xarray.Dataset({"y": ("x", x**2)}, {"x": x}, {"outcome": "reached_end", "drift": 1e3 * self.rtol})

    def claims(self, record):
        return [
            gf.Claim("y(1) & more", "algebra", 1.0, record["y"][-1], 1e-6),
            gf.Claim("slope", "calculus", 2.0, self.slope, 0.01),
            gf.Claim("drift", "numerics", 0.0, record.attrs["drift"], 1e-2, scale="absolute"),
        ]

    def reduced(self):
        return dataclasses.replace(self, points=3)
'''

FIGURE = """
import matplotlib.pyplot as plt

def figure(record, venue):
    fig, ax = plt.subplots()
    ax.plot(record["x"], record["y"], label=venue)
    ax.legend()
    return fig
"""


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with scenarios/ and figures/, entered."""
    monkeypatch.chdir(tmp_path)
    for folder, text in (("scenarios", SCENARIO), ("figures", FIGURE)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "unit_parabola.py").write_text(textwrap.dedent(text))
    return tmp_path


def files_in(folder: Path) -> list[str]:
    return sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file()
        and "__pycache__" not in path.parts
        and path.parts[len(folder.parts)] in ("records", "figures")
    )
