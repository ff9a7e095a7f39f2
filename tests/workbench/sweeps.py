"""A scenario that costs nothing, and sweeps of it in other processes."""

import os
import subprocess
import sys
from pathlib import Path

import gfsim
from gfsim.workbench import load_record

DROP = '''
import dataclasses
import os
import time
import xarray
import numpy as np
from gfsim.workbench.scenario import Scenario

@dataclasses.dataclass(frozen=True, kw_only=True)
class Drop(Scenario):
    """What falls from a height."""

    height: float = 1.0
    points: int = 3
    kind: str = "stone"
    heights: tuple[float, ...] = (1.0, 2.0)
    drag: float | None = None
    pause: float = 0.0
    deadly: int = -1

    def __post_init__(self):
        super().__post_init__()
        if self.height <= 0:
            raise ValueError(f"height must be positive, was {self.height}")

    @property
    def ensemble(self):
        return self.points

    @classmethod
    def simulate_ensemble(cls, members):
        if any(member.height == 13 for member in members):
            raise RuntimeError("one of them is unlucky")
        return [member.simulate().assign(members=len(members)) for member in members]

    def simulate(self):
        time.sleep(self.pause)
        if self.height == 13 and not os.path.exists("luck"):
            raise ValueError("height must be lucky,\\nwas 13")
        if self.seed == self.deadly:
            os.kill(os.getpid(), 9)
        time_ = (2 * self.height) ** 0.5 * (1 + 0.01 * np.sin(self.seed))
        path = self.height - np.linspace(0, time_, self.points) ** 2 / 2
        return xarray.Dataset({"time": time_, "path": ("moment", path)}, attrs={"outcome": "landed"})

    def claims(self, record):
        return []
'''


def write_drop(folder: Path) -> Path:
    path = folder / "drop.py"
    path.write_text(DROP)
    return path


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-c", "import sys; from gfsim.workbench.cli import main; sys.exit(main())", *arguments]


def start(folder: Path, *arguments: str) -> subprocess.Popen:
    """`gfsim` in a process of its own."""
    environment = os.environ | {"PYTHONPATH": str(Path(gfsim.__file__).parents[1])}
    output = subprocess.DEVNULL
    return subprocess.Popen(command(*arguments), cwd=folder, env=environment, stdout=output, stderr=output)


def assert_same(path: Path, undisturbed: Path) -> None:
    """The sweeps hold the same runs, each once, in the same order, with the same numbers."""
    found, wanted = load_record(path), load_record(undisturbed)
    assert len(set(found["identity"].values)) == found.sizes["run"]
    assert found.identical(wanted)
    assert not path.with_suffix(".unfinished").exists()
