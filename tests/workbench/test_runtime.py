"""Processes that compile much let go of old programs."""

from pathlib import Path

import jax
import pytest

from gfsim.workbench import runtime


@pytest.mark.skipif(not Path("/proc/self/maps").is_file(), reason="only Linux counts maps")
def test_programs_are_released_only_where_there_are_too_many(monkeypatch):
    doubled = jax.jit(lambda x: 2 * x)
    doubled(1.0)
    monkeypatch.setattr(runtime, "MOST_MAPS", 10**9)
    runtime.release_programs()
    assert doubled._cache_size() == 1
    monkeypatch.setattr(runtime, "MOST_MAPS", 0)
    runtime.release_programs()
    assert doubled._cache_size() == 0
    assert doubled(1.0) == 2.0
