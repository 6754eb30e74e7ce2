"""Bytes that requests have reserved while their images are being stored.

To store hundreds of megabytes takes seconds, and `held` has them only at the end. Other web
processes would accept as many meanwhile. A reservation ends with its request. If the process dies,
it ends when the images expire that were stored and never accepted.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from redis import Redis
from redis.exceptions import RedisError

from shared import clock, keys
from shared.records.scripts import Script

#: As long as staged images live (shared.records.images).
_SECONDS = 120

_RESERVE = Script("load/reserve")


class Reservation(NamedTuple):
    """What was there when a request reserved bytes."""

    held: int  #: Bytes of the images of both lanes.
    elsewhere: int  #: Bytes that other processes had reserved.
    elsewhere_for_client: int  #: Of these, for the same client.
    end: Callable[[], None]  #: Ends the reservation.


class Reservations:
    """Those of one process."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._process = uuid.uuid4().hex

    def add(self, client: str, size: int) -> Reservation:
        """Reserve `size` bytes, also in a full Redis. Raises RedisError."""
        token = uuid.uuid4().hex
        held, elsewhere, for_client = _RESERVE(
            self._redis,
            reserved=keys.RESERVED,
            held=keys.HELD,
            process=self._process,
            token=token,
            bytes=size,
            client=client,
            now=clock.now(self._redis),
            seconds=_SECONDS,
        )
        member = f"{self._process} {token} {size} {client}"
        return Reservation(int(held), elsewhere, for_client, lambda: self._remove(member))

    def _remove(self, member: str) -> None:
        with suppress(RedisError):  # it expires
            self._redis.zrem(keys.RESERVED, member)
