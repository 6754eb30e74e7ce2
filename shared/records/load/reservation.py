"""Bytes that a request has reserved while their images are being stored.

To store hundreds of megabytes takes seconds, and `held` has them only at the end. Other web
processes would accept as many meanwhile. A reservation ends with its request. If the process dies,
it ends when the images expire that were stored and never accepted.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple

from redis import Redis
from redis.exceptions import RedisError

from shared import clock, keys
from shared.records.scripts import Script

#: As long as staged images live (shared.records.images).
_SECONDS = 120

_RESERVE = Script("load/reserve")

#: The process, the bytes and the rest. A reader ignores other forms: a later release may have one.
_MEMBER = re.compile(rb"(\S+) \S+ (\d+) (\d+) ")

#: So many more bytes are stored before others hear of it.
_STEP = 2**25


class Reserved(NamedTuple):
    """What was there when a request reserved bytes."""

    held: int  #: Bytes of the images of both lanes.
    elsewhere: int  #: Bytes that other processes had reserved.
    unstored: int  #: Of these, the ones that were not stored yet.
    elsewhere_for_client: int  #: Those for the same client.


def staged_elsewhere(members: Iterable[bytes], process: str) -> int:
    """Bytes of images that other processes have stored, by their reservations."""
    known = (each for each in map(_MEMBER.match, members) if each)
    return sum(int(each[2]) - int(each[3]) for each in known if each[1] != process.encode())


class Reservation:
    """The bytes that one request has reserved."""

    def __init__(self, redis: Redis, process: str, client: str, size: int) -> None:
        """Reserve `size` bytes, also in a full Redis. Raises RedisError.

        `process` stands for this web process.
        """
        self._redis = redis
        self._client = client
        self._name = f"{process} {uuid.uuid4().hex}"
        self._size = self._rest = size
        self._member = self._current()
        self._until = clock.now(redis) + _SECONDS
        reply = _RESERVE(
            redis,
            reserved=keys.RESERVED,
            held=keys.HELD,
            process=process,
            client=client,
            member=self._member,
            now=self._until - _SECONDS,
            seconds=_SECONDS,
        )
        self.before = Reserved(*map(int, reply))

    def note_stored(self, size: int) -> None:
        """Let others know how much of it Redis has."""
        if self._rest - (self._size - size) < _STEP:
            return
        self._rest = max(0, self._size - size)
        with suppress(RedisError), self._redis.pipeline(transaction=True) as pipe:
            pipe.zrem(keys.RESERVED, self._member)
            pipe.zadd(keys.RESERVED, {self._current(): self._until})
            pipe.execute()
            self._member = self._current()

    def end(self) -> None:
        with suppress(RedisError):  # it expires
            self._redis.zrem(keys.RESERVED, self._member, self._current())

    def _current(self) -> str:
        return f"{self._name} {self._size} {self._rest} {self._client}"
