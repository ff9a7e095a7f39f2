"""How the workers of a cluster, later ones included, come to take part in a sweep. This module travels to them."""

import os
from typing import Any

from distributed import WorkerPlugin

from gfsim.workbench.software import refusal


class Admission(WorkerPlugin):
    """Gives a worker, as soon as it is there, the resource `ticket` that the sweep's tasks ask for, or says why not."""

    def __init__(self, ticket: str, wanted: dict[str, str], folder: str):
        self.name = self.ticket = ticket
        self.wanted = wanted
        self.folder = folder

    async def setup(self, worker: Any) -> None:
        reason = refusal(self.wanted, self.folder)
        if reason:
            worker.log_event(self.ticket, {"worker": worker.address, "reason": reason})
            return
        # XLA would start a thread for every core in every worker, and they would fight.
        os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")
        from gfsim.workbench.runtime import prepare_jax

        prepare_jax()
        await worker.set_resources(**{self.ticket: 1})
