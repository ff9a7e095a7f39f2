"""Independent pieces of work at the same time."""

import contextlib
import contextvars
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import jax

T = TypeVar("T")


def in_parallel(jobs: Sequence[Callable[[], T]], threads: int = 2) -> list[T]:
    """The results of `jobs`, in their order, run on a few threads.

    A compilation, and most solves, keep one core busy and do not hold Python up; independent ones may share the
    machine. What is computed does not depend on what runs beside it. Each job sees the caller's context, as for whether
    progress is shown, and the precision and device that JAX has in the caller's thread. The first exception, in the
    order of jobs, is raised; jobs not yet started are dropped.
    """
    config: Any = jax.config
    x64, device = config.jax_enable_x64, config.jax_default_device

    def as_here(job: Callable[[], T]) -> T:
        with jax.enable_x64(x64), jax.default_device(device) if device else contextlib.nullcontext():
            return job()

    with ThreadPoolExecutor(threads) as pool:
        running = [pool.submit(contextvars.copy_context().run, as_here, job) for job in jobs]
        try:
            return [job.result() for job in running]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
