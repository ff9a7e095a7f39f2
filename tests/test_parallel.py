"""Jobs side by side."""

import threading

import pytest

from gfsim.parallel import in_parallel
from gfsim.workbench.scenario import aloud


def test_results_keep_the_order_of_jobs_that_ran_together():
    meeting = threading.Barrier(2, timeout=10)
    assert in_parallel([lambda: (meeting.wait(), "a")[1], lambda: (meeting.wait(), "b")[1]]) == ["a", "b"]


def test_jobs_see_the_callers_context():
    from gfsim.workbench.scenario import _aloud

    with aloud(True):
        assert in_parallel([_aloud.get, _aloud.get]) == [True, True]
    assert in_parallel([_aloud.get]) == [False]


def test_the_first_exception_is_raised():
    with pytest.raises(ZeroDivisionError):
        in_parallel([lambda: 1 / 0, lambda: 1])
