"""Independent parts of a scenario at the same time."""

import contextvars
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def in_parallel(jobs: Sequence[Callable[[], T]], threads: int = 2) -> list[T]:
    """The results of `jobs`, in their order, run on a few threads.

    A compilation, and most solves, keep one core busy and do not hold Python up; independent ones may share the
    machine. What is computed does not depend on what runs beside it. Each job sees the caller's context, as for whether
    progress is shown. The first exception, in the order of jobs, is raised; jobs not yet started are dropped.
    """
    with ThreadPoolExecutor(threads) as pool:
        running = [pool.submit(contextvars.copy_context().run, job) for job in jobs]
        try:
            return [job.result() for job in running]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
