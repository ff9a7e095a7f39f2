"""What a sweep of many small flows gains over a process for each, and what it adds to the flows themselves."""

import dataclasses
import json
import sys
import time

import pytest

from gfsim.workbench.cli import main
from scenarios.early_convergence import EarlyConvergence
from tests.workbench.sweeps import start

SMALL = ["delta=1e-3,1e-4", "width=4", "rtol=1e-8"]


def seconds_of(capsys, folder, seeds: int) -> list[float]:
    """Of a run, while an ensemble of this size has to be compiled, and after that."""
    seconds = []
    for turn in ("compiling", "compiled"):
        out = str(folder / f"{turn}-{seeds}")
        arguments = ["--grid", *SMALL, "--seeds", f"0:{seeds}", "--vmap", "--out", out, "--json"]
        assert main(["sweep", "early-convergence", *arguments]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["solved"] == 2 * seeds
        seconds.append(found["seconds"] / (2 * seeds))
    return seconds


@pytest.mark.verify
def test_two_thousand_small_flows(tmp_path, capsys):
    began = time.perf_counter()
    point = ["--delta", "1e-3", "--width", "4", "--rtol", "1e-8", "--out", str(tmp_path)]
    for seed in range(2):
        assert start(tmp_path, "run", "early-convergence", *point, "--seed", str(seed)).wait() == 0
    by_process = (time.perf_counter() - began) / 2

    _, few = seconds_of(capsys, tmp_path, 250)
    first, many = seconds_of(capsys, tmp_path, 1000)
    members = [EarlyConvergence(delta=1e-3, width=4, rtol=1e-8, seed=seed) for seed in range(100)]
    began = time.perf_counter()
    for _ in range(3):
        EarlyConvergence.simulate_ensemble(members)
    bare = (time.perf_counter() - began) / 300
    costs = {"process": by_process, "of 500": few, "of 2000, compiling": first, "of 2000": many, "own": many - bare}
    per_run = ", ".join(f"{name} {1e3 * value:.3g} ms" for name, value in costs.items())
    with capsys.disabled():
        sys.stdout.write(f"\nper run: {per_run}\n")
    assert by_process >= 5 * first
    # In proportion to the members, but for what the machine does beside.
    assert 0.5 <= many / few <= 1.5


def test_one_ensemble_is_as_good_as_each_alone():
    members = [
        EarlyConvergence(delta=delta, width=3, rtol=1e-8, seed=seed) for delta in (1e-3, 1e-4) for seed in (0, 1)
    ]
    assert len({member.ensemble for member in members}) == 1
    assert dataclasses.replace(members[0], width=4).ensemble != members[0].ensemble
    together = EarlyConvergence.simulate_ensemble(members)
    for member, record in zip(members, together, strict=True):
        alone = member.simulate()
        assert abs(float(alone["escape_time"] / record["escape_time"]) - 1) < 1e-6
        (claim,) = member.claims(record)
        assert claim.holds
        (claim,) = member.claims(record.assign(escape_time=100 * record["escape_time"]))
        assert not claim.holds
    # T* of one direction: δ·t has the same limit for every δ.
    assert abs(float(together[2]["escape_time"] / together[0]["escape_time"]) / 10 - 1) < 0.01
