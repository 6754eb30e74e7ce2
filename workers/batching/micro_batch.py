"""Dynamic batching inside Celery: each batch takes the messages that are waiting right now.

The rule is the one of text-embeddings-inference, and it needs no timer. While every pool process is
busy, messages wait in the consumer. A free process gets all that wait, up to a number of images.
When the worker is idle, nothing is delayed. Under load, batches are full.

Each message stays a Celery request of its own. Celery's default strategy creates the request,
checks revocation and sends events. Only its last step, the call of the pool, is replaced here. The
pool's callbacks for a batch call those of each request. So acknowledgement, redelivery after a lost
process, revocation, time limits and task events work as for any task.

A message that must run alone may be slow. One process of several takes none of them, so that the
others do not wait for them. A worker may use all processes for them while only their clients send
anything. As soon as another client does, one of these batches is recalled. Those messages that wait
in the consumer do not count as prefetched, so that the others still arrive.

This module depends on `Task.start_strategy`, `consumer.on_task_request` as the last step of the
default strategy, `pool.apply_async` with its callbacks, and the `on_*` methods of a request.
`frozen_processes.py` depends on `_write_to` of the pool's result and on `_waiting_to_start` of the
pool. The versions of celery, billiard and kombu are pinned for that reason.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from celery import Task
from celery.worker.strategy import default as default_strategy

from workers.batching.batch import Batch, client, images, put_back, runs_alone
from workers.batching.event_flush import flush_events_together, send_events_once
from workers.batching.frozen_processes import end_frozen_processes
from workers.batching.order import SmallFirst, Turns
from workers.batching.other_clients import OtherClients
from workers.batching.pool_process import recall, run_batch
from workers.batching.prefetch import Prefetch
from workers.batching.results import read_results

#: A single picture may use the other cores only if no two batches overlapped for this long. Its
#: threads spin while they wait for each other. Beside other batches they cost more than they save.
_QUIET_SECONDS = 0.25


class MicroBatch(Task):  # type: ignore[misc]
    """Base of a task whose messages are run together.

    Each message carries one list. The task's function gets the lists of a batch as one list. It
    also gets `alone`, which is true if every other pool process is free and was so for a moment;
    `slow`, for a message that must run alone; `others`, if clients with other messages are there;
    and `recalled`, which returns true once others need the process. The header `images` of a
    message is its size. A message without the header counts as 1.
    """

    abstract = True
    acks_late = True
    max_batch_size = 32
    #: Batches of messages that need not run alone. None for one in each process.
    batches_at_once: int | None = None
    #: Whether one process never takes a message that must run alone, so that none is recalled.
    keeps_one_free = True
    #: Whether only one message waits in the worker while batches are long.
    prefetches_less_if_long = False

    def start_strategy(self, app: Any, consumer: Any, **kwargs: Any) -> Any:
        """Celery calls this at every connect to the broker."""
        if self.batcher is None:
            self.batcher = Batcher(self, consumer.pool)
            end_frozen_processes(self.batcher, app.conf.task_time_limit, consumer.timer)
        self.batcher.forget_old_connection(consumer)
        read_results(consumer.pool)
        send_events_once(consumer)
        flush_events_together(consumer)
        return default_strategy(self, app, _Gathering(consumer, self.batcher.add), **kwargs)

    #: It is kept over a reconnect, because pool processes stay busy meanwhile.
    batcher: Batcher | None = None


class _Gathering:
    """The consumer for the default strategy, with its requests redirected to the batcher."""

    def __init__(self, consumer: Any, add: Callable[[Any], None]) -> None:
        self._consumer = consumer
        self.on_task_request = add

    def __getattr__(self, name: str) -> Any:
        return getattr(self._consumer, name)


class Batcher:
    """Collects requests and gives them to free pool processes. There is one per worker."""

    def __init__(
        self, task: MicroBatch, pool: Any, put_back: Callable[[Any], None] = put_back
    ) -> None:
        """`put_back` returns a request's message to the queue, as the next one."""
        self._put_back = put_back
        self._task = task
        self._pool = pool
        self.received = 0  #: Requests so far. It grows while the worker consumes.
        self._waiting: deque[Any] = deque()
        self._alone: deque[Any] = deque()  #: Waiting messages that must run alone.
        self._prefetched = Prefetch(one_if_long=task.prefetches_less_if_long)
        self._last_was_alone = False
        self._small_first = SmallFirst()
        self._turns = Turns()  #: Of those that must run alone, because each may be slow.
        self._others = OtherClients()
        self.paused = False
        self._running: set[Batch] = set()
        self._overlapped_at = -math.inf

    @property
    def idle(self) -> bool:
        """Whether a process is free for any message. Then none should stay in the queue."""
        return self._has_room(alone=False)

    @property
    def processes(self) -> int:
        return int(self._pool.num_processes)

    @property
    def running(self) -> int:
        """Batches in the pool, one per process."""
        return len(self._running)

    @property
    def not_begun(self) -> list[Batch]:
        """Batches that were handed to the pool, and that no process has accepted yet."""
        return [batch for batch in self._running if not batch.accepted]

    def holder(self, batch: Batch) -> Any:
        """The living process to which the pool has sent a batch; None if there is none yet.

        After a process has died, the pool may name one that still loads the model, or one that
        runs another batch. Neither has got this batch.
        """
        process = batch.result._write_to
        if not process or process.exitcode is not None:
            return None
        busy = any(each.process == process.pid for each in self._running)
        return None if busy or process in self._pool._pool._waiting_to_start else process

    @property
    def parts(self) -> int:
        """Parts in the batches that run now."""
        return sum(len(request.args[0]) for batch in self._running for request in batch.requests)

    @property
    def waiting(self) -> int:
        """Messages that wait for the next batches."""
        return len(self._waiting) + len(self._alone)

    def add(self, request: Any) -> None:
        self.received += 1
        self._others.note(request)
        if runs_alone(request):
            self._alone.append(request)
            self._prefetch()
        else:
            self._waiting.append(request)
        if self.paused:
            self._return_waiting()
        self._fill_free_processes()
        self._recall_one()

    def pause(self) -> None:
        """Start no more batches, and return the messages that wait here to the queue.

        Batches that are running end as usual.
        """
        self.paused = True
        self._return_waiting()

    def resume(self) -> None:
        self.paused = False
        self._fill_free_processes()

    def _return_waiting(self) -> None:
        for waiting in (self._waiting, self._alone):
            while waiting:
                self._put_back(waiting[-1])  # the oldest last, so that it is the next one
                waiting.pop()
        self._prefetch()

    def _prefetch(self) -> None:
        self._prefetched.set(processes=self.processes, alone=len(self._alone))

    def forget_old_connection(self, consumer: Any) -> None:
        """Drop the requests that the broker will deliver again. `consumer` has the new connection.

        kombu has returned the old connection's messages to the queue, so those that wait here must
        not run, too. The pool has discarded batches that no process had accepted, without a
        callback. If they still counted as running, they would hold their slots for ever.
        """
        self._waiting.clear()
        self._alone.clear()
        self._prefetched.connect(consumer)
        self._running = {batch for batch in self._running if batch.accepted}

    def _fill_free_processes(self) -> None:
        while not self.paused:
            waiting = self._next()
            if not waiting:
                return
            requests = self._take(waiting)
            if requests and not self._send(Batch(requests, self._on_done)):
                return

    @property
    def all_run_alone(self) -> bool:
        """Whether each of several processes is busy with a message that must run alone."""
        return sum(batch.runs_alone for batch in self._running) == self.processes > 1

    def note_waiting(self, clients: Iterable[str]) -> None:
        """These clients have messages in the queue, which may not reach this worker."""
        self._others.note_waiting(clients)
        self._recall_one()

    def _recall_one(self) -> None:
        """End a batch early if all of them run alone and another client is there."""
        if self.all_run_alone and self._others.are_there:
            recall.ask(min(batch.number for batch in self._running))

    def _has_room(self, *, alone: bool) -> bool:
        """Whether a batch of this kind may start."""
        same = sum(batch.runs_alone == alone for batch in self._running)
        most = self._task.batches_at_once or self.processes
        if alone and self._leaves_one_free():
            most = max(1, min(most, self.processes - 1))
        return self.running < self.processes and same < most

    def _leaves_one_free(self) -> bool:
        """Whether one process is left by the messages that must run alone."""
        # Nobody knows the clients of suspect pictures, and each has killed a worker before.
        suspects = any(not client(request) for request in self._alone)
        return self._task.keeps_one_free or self._others.are_there or suspects

    def _next(self) -> deque[Any]:
        """The messages of the next batch; empty if none may start. The two kinds alternate."""
        alone = bool(self._alone) and self._has_room(alone=True)
        others = bool(self._waiting) and self._has_room(alone=False)
        if not alone and not others:
            return deque()
        self._last_was_alone = alone and not (others and self._last_was_alone)
        return self._alone if self._last_was_alone else self._waiting

    def _take(self, waiting: deque[Any]) -> list[Any]:
        """The next batch; empty if all its requests were revoked or expired."""
        order = self._turns if waiting is self._alone else self._small_first
        requests: list[Any] = []
        room = self._task.max_batch_size
        for request in order.of(waiting):
            if requests and images(request) > room:
                continue
            waiting.remove(request)
            if not request.revoked():
                requests.append(request)
                room -= images(request)
        self._prefetch()
        return requests

    def _send(self, batch: Batch) -> bool:
        """Give a batch to the pool; False if the pool is closing and refuses it."""
        if self._running or self.waiting:
            self._overlapped_at = time.monotonic()
        result = self._pool.apply_async(
            run_batch,
            (
                batch.number,
                self._task.name,
                [request.args[0] for request in batch.requests],
                [request.id for request in batch.requests],
                time.monotonic() - self._overlapped_at > _QUIET_SECONDS,
                batch.runs_alone,
                self._others.are_there,
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
            return False  # The closing channel returns unacknowledged messages to the queue.
        batch.result = result
        self._running.add(batch)
        return True

    def _on_done(self, batch: Batch) -> None:
        self._running.discard(batch)
        if not batch.runs_alone:
            self._prefetched.note_batch(batch.seconds)
        self._fill_free_processes()
        self._prefetch()
