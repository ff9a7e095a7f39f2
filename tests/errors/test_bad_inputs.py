"""Whatever is wrong with an argument is said in one line: which argument, what it must be, what it was."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.errors.bad_inputs import CASES

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def answers():
    run = "runpy.run_module('tests.errors.bad_inputs', run_name='__main__')"
    program = f"import runpy, gfsim.workbench.runtime as runtime; runtime.prepare_jax(); {run}"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.parametrize("number", range(len(CASES)), ids=[f"{name}-{was}" for name, was, _ in CASES])
def test_the_library_says_what_is_wrong_in_one_line(answers, number):
    argument, was, _ = CASES[number]
    answer = answers[number]
    assert answer["kind"] in ("ValueError", "TypeError"), answer
    # A refusal made by gfsim, not an accident below it.
    assert "/gfsim/" in answer["file"], answer
    assert answer["raised"].startswith("raise "), answer
    assert "\n" not in answer["says"]
    assert len(answer["says"]) < 400
    assert argument in answer["says"].split(was)[0], answer["says"]
    assert was in answer["says"], answer["says"]
