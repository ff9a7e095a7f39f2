"""A progress meter in log time."""

import math
from types import TracebackType

import numpy as np
from numpy.typing import ArrayLike


class LogTimeMeter:
    """Shows how far the clock has come between its first step and the end, on a logarithmic scale, on stderr.

    A meter linear in t stands still during every transient and then jumps; in log t each decade is worth the same.
    """

    def __init__(self, end: float, shown: bool):
        self._end = end
        self._shown = shown
        self._first: float | None = None

    def __enter__(self) -> "LogTimeMeter":
        if self._shown:
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

            console = Console(stderr=True)
            # In a file or a pipe a line that is redrawn would leave one that is empty.
            self._shown = console.is_terminal or console.is_jupyter
            self._progress = Progress(
                TextColumn("flow"),
                BarColumn(),
                TextColumn("t = {task.fields[clock]:.3g} of {task.fields[end]:.3g}, {task.fields[steps]} steps"),
                TimeElapsedColumn(),
                console=console,
                transient=True,
                disable=not self._shown,
            )
            self._task = self._progress.add_task("", total=1.0, clock=0.0, end=self._end, steps=0)
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._shown:
            self._progress.stop()

    def show(self, clocks: ArrayLike, steps: int) -> None:
        """The clock now, of an ensemble those of its members: its slowest one is shown."""
        if not self._shown or (clock := float(np.min(clocks))) <= 0:
            return
        self._first = clock if self._first is None else self._first
        span = math.log(self._end / self._first) if self._end > self._first else 1.0
        done = min(1.0, math.log(max(clock, self._first) / self._first) / span)
        self._progress.update(self._task, completed=done, clock=clock, steps=steps)
