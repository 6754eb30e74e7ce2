"""Requests with many bytes ask for room one after the other, in all web processes together."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from redis import Redis

from shared.breaker import Breaker
from shared.records.load import reservation
from shared.records.load.reservation import Reservation, Reserved

#: Requests with fewer bytes of images ask only their own process: they are stored in a moment.
LEAST_BYTES = 2**24

#: What others have reserved, for a request that does not ask.
NOTHING_BEFORE = Reserved(0, 0, 0, 0)


class LargeRequests:
    def __init__(self, redis: Redis, breaker: Breaker) -> None:
        self._redis = redis
        self._process = uuid.uuid4().hex
        self._breaker = breaker
        #: Requests of this process see each other in its own counts.
        self._lock = threading.Lock()

    def staged_elsewhere(self, members: Iterable[bytes]) -> int:
        """Bytes of images that other processes have stored, by the reservations in Redis."""
        return reservation.staged_elsewhere(members, self._process)

    @contextmanager
    def asking(self, client: str, size: int) -> Iterator[Reservation]:
        """Let a request of a client, with `size` bytes of images, ask for room in the block.

        Raises RedisError.
        """
        with self._lock:
            with self._breaker:
                reserved = Reservation(self._redis, self._process, client, size)
            yield reserved
