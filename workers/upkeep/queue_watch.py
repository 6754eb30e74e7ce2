"""Sees clients whose messages do not arrive, because slow ones of other clients fill the worker.

A worker holds a few messages. Of the lane `bulk`, all of them may be of clients with slow pictures:
some run alone in each process, and some wait for a free process. Then no message of another client
arrives, and nothing would recall a batch for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from redis import Redis
from redis.exceptions import RedisError

from shared.jobs import Lane
from shared.records.fairness.waiting_clients import next_clients
from workers.batching.micro_batch import Batcher

#: Between two looks at the queues, while slow pictures run in all processes.
SECONDS = 0.5


class QueueWatch:
    def __init__(
        self, redis: Redis, batcher: Batcher, lane: Lane, versions: Callable[[], Iterable[str]]
    ) -> None:
        """`versions` gives the model versions whose queues the worker consumes."""
        self._redis = redis
        self._batcher = batcher
        self._lane = lane
        self._versions = versions

    def tick(self) -> None:
        """Tell the batcher who waits. Runs in the worker's event loop."""
        if not self._batcher.all_run_alone:
            return
        try:
            clients = next_clients(self._redis, self._lane, self._versions())
        except RedisError:
            return  # The sign of life logs an outage.
        self._batcher.note_waiting(clients)
