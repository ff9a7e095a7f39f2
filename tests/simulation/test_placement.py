"""Samples, parameters and members split over devices and over processes: the same run to rounding."""

import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).with_name("spread.py")
ROOT = SCRIPT.parents[2]


def cases(*arguments: tuple[str, ...]) -> list[dict[str, list[str]]]:
    """What each of the scripts started together printed, by case."""
    command = [sys.executable, str(SCRIPT)]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": ROOT}
    running = [subprocess.Popen([*command, *given], **options) for given in arguments]
    printed = []
    for process in running:
        out, error = process.communicate(timeout=300)
        assert process.returncode == 0, error[-2000:]
        printed.append({line.split(", ")[0]: line.split(", ")[1:] for line in out.splitlines() if ", " in line})
    return printed


@pytest.fixture(scope="module")
def eight_devices() -> dict[str, list[str]]:
    return cases(())[0]


def assert_same(result: list[str], alone: list[str]) -> None:
    assert result[0] == alone[0], "as many steps"
    np.testing.assert_allclose(np.array(result[2:], float), np.array(alone[2:], float), rtol=1e-11)


@pytest.mark.parametrize("case", ["samples split", "parameters split", "both split"])
def test_a_run_on_eight_devices_equals_one_on_one(eight_devices, case):
    assert_same(eight_devices[case], eight_devices["nothing split"])


def test_an_ensemble_on_eight_devices_equals_one_on_one(eight_devices):
    assert_same(eight_devices["members split"], eight_devices["members together"])


def test_states_stay_on_the_devices_that_hold_them(eight_devices):
    split = {case: result[1] for case, result in eight_devices.items()}
    assert split["parameters split"] == split["both split"] == split["members split"] == "True"
    assert split["nothing split"] == split["members together"] == "False"


def test_a_run_that_was_ended_goes_on_spread_and_bit_identically(eight_devices):
    assert eight_devices["resumed"] == ["True", "True"]


def test_two_processes_equal_one(eight_devices):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    first, second = cases((address, "0"), (address, "1"))
    assert first.keys() == {"both split", "members split"}
    for case, result in first.items():
        assert second[case] == result
        assert_same(result, eight_devices[case])
