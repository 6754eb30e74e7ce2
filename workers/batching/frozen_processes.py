"""Ends a pool process that does not begin the batch that was given to it.

Celery's time limit begins when a process accepts its batch. A process that was frozen while it was
idle accepts none. So it would keep its batch, and its place in the pool, for ever.

A process has as long to begin a batch as it then has to end it, and at least `LEAST_SECONDS`.
Checks are counted, and not the time between them: a worker that was frozen as a whole ends no
process when it wakes.
"""

from __future__ import annotations

import logging
import os
import signal
from typing import TYPE_CHECKING, Any

from workers.batching.batch import Batch

if TYPE_CHECKING:
    from workers.batching.micro_batch import Batcher

logger = logging.getLogger(__name__)

#: Checks in a time limit.
_CHECKS = 9

#: On a machine that is very busy, a process that is not frozen may need seconds to begin.
LEAST_SECONDS = 10.0


class FrozenProcesses:
    """`tick` is called `_CHECKS` times in each time limit."""

    def __init__(self, batcher: Batcher, seconds: float) -> None:
        self._batcher = batcher
        self._seconds = seconds
        #: How many checks have seen that this process had not begun this batch.
        self._seen: dict[tuple[Batch, Any], int] = {}

    def tick(self) -> None:
        """Check once. Runs in the worker's event loop."""
        holders = [(batch, self._batcher.holder(batch)) for batch in self._batcher.not_begun]
        self._seen = {held: self._seen.get(held, 0) + 1 for held in holders if held[1]}
        for (batch, process), checks in self._seen.items():
            # Between the first check and this one there was a whole time limit.
            if checks > _CHECKS:
                self._end(process, batch)

    def _end(self, process: Any, batch: Batch) -> None:
        """Kill a process. The pool then starts another, and gives the batch to a free one."""
        logger.error(
            "pool process %d has not begun its batch within %.0f s, so it is killed",
            process.pid,
            self._seconds,
            extra={"task.id": [request.id for request in batch.requests]},
        )
        os.kill(process.pid, signal.SIGKILL)


def end_frozen_processes(batcher: Batcher, seconds: float | None, timer: Any) -> None:
    """Check from now on, if batches have a time limit. The timer continues over reconnects."""
    if seconds:
        seconds = max(seconds, LEAST_SECONDS)
        timer.call_repeatedly(seconds / _CHECKS, FrozenProcesses(batcher, seconds).tick)
