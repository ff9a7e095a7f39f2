"""Sweeps on many processes and hosts, by dask.distributed.

The scheduler sees configurations and counts only: what is solved reaches the store through a file system that all
workers share. A worker takes tasks once it has shown that it would compute the same as this process; one that dies
gives its tasks back.
"""

import collections
import contextlib
import logging
import math
import re
import secrets
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

from gfsim.workbench.sweep_runs import Engine, Job, Progress, Run, Split, solve

# dask types whatever its client returns as possibly a coroutine.
Client = Any

# Seconds to wait for the scheduler, for a first worker, and for what a task that is done returns.
PATIENCE = 10.0
# Tasks given out for each worker: one to solve and one to go on with.
AHEAD = 2
# Seconds without a result after which the tasks given out are looked at.
GLANCE = 1.0

_SETTINGS = {
    "distributed.worker.multiprocessing-method": "spawn",
    # Memory that JAX holds cannot be moved to disk: a worker that exceeds its share is ended.
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": 0.95,
    # A worker that happens to be starting again this long after any death would be given up for good.
    "distributed.deploy.lost-worker-timeout": "1000 days",
}


def on_cluster(address: str, notice: Callable[[str], None]) -> Engine:
    """The engine that solves a sweep on the workers of `address`, as `connected` reads it.

    `notice` is told which workers were refused, and why, and that none is left.

    Raises `ValueError` for what is no address.
    """
    _local(address)

    def engine(job: Job, split: Split) -> Iterator[Progress]:
        with connected(address) as client:
            yield from _solve(client, _admit(client, job.staging, notice), job, split, notice)

    return engine


@contextlib.contextmanager
def connected(address: str) -> Iterator[Client]:
    """Starts workers here (`local:N`), or joins the scheduler of an address (`tcp://…`) or of a scheduler file.

    Raises `ValueError` for anything else, without dask.distributed, and where no scheduler or no worker answers.
    """
    try:
        import distributed
        from dask.config import set as settings
        from distributed.system import MEMORY_LIMIT
    except ImportError:
        raise ValueError("--cluster needs dask.distributed: install gfsim[cluster]") from None
    workers = _local(address)
    with contextlib.ExitStack() as stack:
        # What goes wrong is said in one line, without dask's own account of it.
        stack.callback(logging.disable, logging.root.manager.disable)
        logging.disable(logging.CRITICAL)
        stack.enter_context(settings(_SETTINGS))
        try:
            if workers:
                cluster = distributed.LocalCluster(
                    n_workers=workers,
                    threads_per_worker=1,
                    memory_limit=0.9 * MEMORY_LIMIT / workers,
                    dashboard_address="127.0.0.1:0",
                    silence_logs=60,
                )
                where: dict[str, Any] = {"address": stack.enter_context(cluster)}
            else:
                where = {"scheduler_file": address} if Path(address).is_file() else {"address": address}
            client: Client = distributed.Client(**where, timeout=PATIENCE)
            stack.enter_context(client)
            client.wait_for_workers(1, timeout=PATIENCE)
        except (OSError, TimeoutError) as error:
            reason = " ".join(str(error).split())
            raise ValueError(f"cluster must have a scheduler and a worker, was {address!r} ({reason})") from error
        yield client


def _local(address: str) -> int:
    """How many workers are to be started here; none for the address of a scheduler, or its file.

    Raises `ValueError` for anything else.
    """
    if local := re.fullmatch(r"local:([1-9]\d*)", address):
        return int(local[1])
    if not (re.match(r"(tcp|tls)://\S+:\d+$", address) or Path(address).is_file()):
        raise ValueError(
            f"cluster must be local:N, tcp://HOST:PORT, tls://HOST:PORT or a scheduler file, was {address!r}"
        )
    return 0


def _solve(client: Client, ticket: str, job: Job, split: Split, notice: Callable[[str], None]) -> Iterator[Progress]:
    """Gives the tasks out, never many more than there are workers, until the store holds every run.

    Raises OSError where the store cannot be written or the scheduler is gone; what was finished stays.
    """
    from distributed import KilledWorker, wait

    waiting = collections.deque(split(len(client.ncores())))
    given: dict[Any, list[Run]] = {}
    seen = time.monotonic()
    while waiting or given:
        workers = len(client.ncores())
        if workers:
            seen = time.monotonic()
        elif time.monotonic() - seen > PATIENCE:
            notice("gfsim: no worker is left; waiting for one")
            seen = math.inf
        while waiting and len(given) < AHEAD * max(1, workers):
            task = waiting.popleft()
            given[client.submit(solve, job, task, pure=False, resources={ticket: 1})] = task
        yield Progress(0, 0, sum(len(task) for task in list(given.values())[:workers]))
        try:
            waited: Any = wait(list(given), timeout=GLANCE, return_when="FIRST_COMPLETED")
        except TimeoutError:
            # A task that found no admitted worker when it came would not be looked at again once there is one.
            placed = {key for keys in client.processing().values() for key in keys}
            for future in [future for future in given if future.status == "pending" and future.key not in placed]:
                waiting.append(given.pop(future))
                future.cancel()
            continue
        except CancelledError:
            raise ConnectionError("cluster went away; the same sweep started again goes on") from None
        for future in waited.done:
            task = given.pop(future)
            try:
                error = future.exception(timeout=PATIENCE)
                done, failed = (0, 0) if error else future.result(timeout=PATIENCE)
            except TimeoutError:
                # Its worker died with the counts. The runs are in the store, where whoever takes the task finds them.
                future.cancel()
                waiting.append(task)
                continue
            if error is None:
                yield Progress(done, failed, 0)
            elif isinstance(error, KilledWorker):
                # Workers died while they had it, perhaps of a neighbour: `solve` finds out which run it is.
                waiting.append(task)
            else:
                raise error


def _admit(client: Client, staging: str, notice: Callable[[str], None]) -> str:
    """The resource that every worker holds which may take part, later ones included.

    Raises `ValueError` where there is no such worker.
    """
    import cloudpickle

    from gfsim.workbench import admission, software

    # By value: a worker's own copies may be others, or missing.
    for module in (admission, software):
        cloudpickle.register_pickle_by_value(module)
    ticket, wanted = f"gfsim-{secrets.token_hex(8)}", software.software()
    reasons = client.run(software.refusal, wanted, staging)
    refused = {worker: reason for worker, reason in reasons.items() if reason}
    if len(refused) == len(reasons):
        worker, reason = next(iter(refused.items()))
        raise ValueError(f"worker {worker} {reason}")

    def refuse(event: tuple[float, dict[str, str]]) -> None:
        worker, reason = event[1]["worker"], event[1]["reason"]
        notice(f"gfsim: refused: worker {worker} {reason}")

    client.subscribe_topic(ticket, refuse)
    client.register_plugin(admission.Admission(ticket, wanted, staging))
    return ticket
