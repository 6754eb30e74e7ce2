"""Dynamic batching inside Celery: small batches formed from whatever messages wait right now.

The rule is text-embeddings-inference's, and has no timer. While every pool process is busy,
messages gather in the consumer; when a process is free it gets all that waits, up to a number of
images. Idle, nothing is delayed; loaded, batches are full.

Each message stays a Celery request of its own. Celery's default strategy makes it (and checks
revocation, sends events); we only replace the last step, "hand it to the pool", and call the
request's own callbacks for the batch it travelled in. So acknowledgement, redelivery after a lost
process, revocation, time limits and task events work as for any task.

What this leans on, pinned with celery and kombu: `Task.start_strategy`, `consumer.on_task_request`
as the default strategy's last step, `pool.apply_async` with its callbacks, and the `on_*` methods
of a request.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from celery import Task, current_app
from celery.worker.strategy import default as default_strategy

from shared.observe import log
from workers.batching.batch import Batch, images
from workers.batching.event_flush import flush_events_together

#: A lone picture has the other cores only where no two batches met for this long. Its threads wait
#: for each other spinning: beside pictures that come in turn they cost more than they bring.
_QUIET_SECONDS = 0.25


class BatchOutOfMemory(Exception):
    """A pool process ran out of memory on a batch.

    Stands for MemoryError, which Celery lets through everything: raised by a request's callback
    in the worker's main process, it would end the worker.
    """


class MicroBatch(Task):  # type: ignore[misc]
    """Base of a task whose messages are run together.

    Each message carries one list. The task's function gets the lists of a batch as one, and
    `alone`: whether every other pool process was free, then and a moment before. The header
    `images` of a message is its size; without one it counts as 1.
    """

    abstract = True
    acks_late = True
    max_batch_size = 32

    def start_strategy(self, app: Any, consumer: Any, **kwargs: Any) -> Any:
        """Called by Celery at every connect to the broker, the first and each later one."""
        if self.batcher is None:
            self.batcher = Batcher(self, consumer.pool)
        self.batcher.forget_old_connection()
        flush_events_together(consumer)
        return default_strategy(self, app, _Gathering(consumer, self.batcher.add), **kwargs)

    #: Outlives connections: pool processes stay busy across a reconnect.
    batcher: Batcher | None = None


class _Gathering:
    """A consumer as the default strategy sees it, whose requests go to the batcher."""

    def __init__(self, consumer: Any, add: Callable[[Any], None]) -> None:
        self._consumer = consumer
        self.on_task_request = add

    def __getattr__(self, name: str) -> Any:
        return getattr(self._consumer, name)


class Batcher:
    """Gathers requests and hands them to free pool processes. One per worker."""

    def __init__(self, task: MicroBatch, pool: Any) -> None:
        self._task = task
        self._pool = pool
        self.received = 0  #: Requests so far; tells a worker that consumes from one that does not.
        self._waiting: deque[Any] = deque()
        self._running: set[Batch] = set()
        self._met_at = -math.inf

    @property
    def idle(self) -> bool:
        """A process is free: whatever is in the queue should have come here."""
        return self.running < self.processes

    @property
    def processes(self) -> int:
        return int(self._pool.num_processes)

    @property
    def running(self) -> int:
        """Batches in the pool, one to a process."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """Messages that the next batches will take."""
        return len(self._waiting)

    def add(self, request: Any) -> None:
        self.received += 1
        self._waiting.append(request)
        self._fill_free_processes()

    def forget_old_connection(self) -> None:
        """Drop what the broker will deliver again.

        kombu has put the old connection's messages back. Those that wait here must not run too,
        and batches that no process had accepted were discarded by the pool without a callback:
        counted as running, they would hold their slots for ever.
        """
        self._waiting.clear()
        self._running = {batch for batch in self._running if batch.accepted}

    def _fill_free_processes(self) -> None:
        while self._waiting and self.idle:
            requests = self._take()
            if requests and not self._send(Batch(requests, self._on_done)):
                return

    def _take(self) -> list[Any]:
        """The next batch, in order; empty where all that waited was revoked or has expired."""
        requests: list[Any] = []
        room = self._task.max_batch_size
        while self._waiting:
            request = self._waiting[0]
            if requests and images(request) > room:
                break
            self._waiting.popleft()
            if not request.revoked():
                requests.append(request)
                room -= images(request)
        return requests

    def _send(self, batch: Batch) -> bool:
        """Give a batch to the pool; False where the pool is closing and takes no more."""
        if self._running or self._waiting:
            self._met_at = time.monotonic()
        result = self._pool.apply_async(
            _run,
            (
                self._task.name,
                [request.args[0] for request in batch.requests],
                [request.id for request in batch.requests],
                time.monotonic() - self._met_at > _QUIET_SECONDS,
            ),
            accept_callback=batch.on_accepted,
            callback=batch.on_success,
            error_callback=batch.on_failure,
            timeout_callback=batch.on_timeout,
            soft_timeout=self._task.soft_time_limit,
            timeout=self._task.time_limit,
            correlation_id=batch.requests[0].id,
        )
        if result is None:
            return False  # the channel, when it closes, gives unacknowledged messages back
        self._running.add(batch)
        return True

    def _on_done(self, batch: Batch) -> None:
        self._running.discard(batch)
        self._fill_free_processes()


def _run(task_name: str, lists: list[list[Any]], ids: list[str], alone: bool) -> tuple[Any, float]:
    """In a pool process: the task's function over the lists of all messages, as one."""
    started = time.monotonic()
    log.fields.set({"task.id": ids})
    try:
        entries = [entry for each in lists for entry in each]
        value = current_app.tasks[task_name].run(entries, alone=alone)
    except MemoryError:
        raise BatchOutOfMemory(f"out of memory on a batch of {len(lists)} messages") from None
    return value, time.monotonic() - started
