"""Requests with many bytes ask for room one after the other, in all web processes together."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from redis import Redis

from shared.breaker import Breaker
from shared.records.load.reservations import Reservation, Reservations, Reserved

#: What counts for a request with few bytes.
NOTHING_BEFORE = Reserved(0, 0, 0, 0)


class LargeRequests:
    def __init__(self, redis: Redis, breaker: Breaker) -> None:
        self._reservations = Reservations(redis)
        self._breaker = breaker
        #: Requests of this process see each other in its own counts.
        self._lock = threading.Lock()

    @contextmanager
    def asking(self, client: str, size: int) -> Iterator[Reservation]:
        """Let a request of a client, with `size` bytes of images, ask for room in the block.

        Raises RedisError.
        """
        with self._lock:
            with self._breaker:
                reservation = self._reservations.add(client, size)
            yield reservation
