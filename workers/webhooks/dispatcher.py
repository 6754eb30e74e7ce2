"""Leases the webhooks that are due, and queues them for the threads that deliver them."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable

from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from shared.records.webhooks.outbox import Lease

logger = logging.getLogger(__name__)


class Dispatcher:
    """Queues at most one webhook for each thread: a lease would end while a longer queue waits."""

    def __init__(
        self,
        lease: Callable[[int], list[Lease]],
        queued: Callable[[], int],
        queue: Callable[[Lease], object],
        *,
        threads: int,
    ) -> None:
        """`lease` gives at most so many webhooks, and `queued` the length of the queue."""
        self._lease = lease
        self._queued = queued
        self._queue = queue
        self._threads = threads
        #: Leased and not queued. Redis may refuse a message because it is full. Nobody else may
        #: deliver these webhooks until their leases end.
        self._leased: deque[Lease] = deque()

    def tick(self) -> None:
        try:
            room = self._threads - self._queued() - len(self._leased)
            if room > 0:
                self._leased.extend(self._lease(room))
            while self._leased:
                self._queue(self._leased[0])
                self._leased.popleft()
        except (RedisError, OperationalError) as error:
            logger.warning("cannot queue the webhooks that are due: %s", error)
