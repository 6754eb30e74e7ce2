"""Ends a worker that no longer consumes messages, so that its supervisor starts another.

This happens with Celery and Redis after reconnects: the process answers and its event loop runs,
but it takes no messages. Only the length of the queue shows it.

The worker itself may be stopped for a while: its laptop sleeps, or Redis does not answer it. In
that time it could not consume. So the detector counts the time between its checks, and no gap
counts as longer than the usual one.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable

from celery.worker import state
from redis import Redis
from redis.exceptions import RedisError

from shared.jobs import Lane
from workers.batching.micro_batch import Batcher

logger = logging.getLogger(__name__)

EXIT_STATUS = 70  #: EX_SOFTWARE of sysexits.h.

#: A regular stop may never finish while the connection is broken.
_STOP_SECONDS = 10


class StallDetector:
    def __init__(
        self,
        redis: Redis,
        batcher: Batcher,
        lane: Lane,
        queues: Callable[[], Iterable[str]],
        *,
        seconds: float,
        interval: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`queues` gives those that the worker consumes; `tick` is called every `interval` s."""
        self._redis = redis
        self._batcher = batcher
        self._lane = lane
        self._queues = queues
        self._seconds = seconds
        # With the half, no single check can end the worker, however rare checks are.
        self._longest_gap = min(interval, seconds / 2)
        self._clock = clock
        self._received = batcher.received
        self._checked_at = clock()
        self._stalled = 0.0  #: Seconds, as far as the checks have seen them.

    def tick(self) -> None:
        """Check once. Runs in the worker's event loop."""
        now = self._clock()
        gap = min(now - self._checked_at, self._longest_gap)
        self._checked_at = now
        if self._is_consuming():
            self._received = self._batcher.received
            self._stalled = 0.0
            return
        self._stalled += gap
        if self._stalled >= self._seconds:
            self._end()

    def _is_consuming(self) -> bool:
        """Whether it took a message since the last tick, or had no reason to."""
        batcher = self._batcher
        if batcher.paused or batcher.received != self._received or not batcher.idle:
            return True
        try:
            return not any(self._redis.llen(queue) for queue in self._queues())
        except RedisError:
            return True  # An outage of Redis is not this worker's fault.

    def _end(self) -> None:
        logger.critical(
            "stalled: messages wait in the lane %s and a process is free, but the worker consumed "
            "nothing for %.0f s; it ends so that another one takes over",
            self._lane,
            self._seconds,
        )
        state.should_stop = EXIT_STATUS
        threading.Timer(_STOP_SECONDS, os._exit, [EXIT_STATUS]).start()
