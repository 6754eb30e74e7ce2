"""Connections to Redis, made one way everywhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from queue import Empty, LifoQueue
from typing import Any

from redis import BlockingConnectionPool, Redis
from redis.backoff import NoBackoff
from redis.connection import HiredisRespSerializer, PythonRespSerializer
from redis.retry import Retry

#: A caller must hear about an outage within 2 s; redis-py's defaults keep it waiting for a minute.
TIMEOUT_SECONDS = 1.0

#: A thousand waiters of one job wake together and take turns; a turn is about a millisecond.
_TURN_SECONDS = 5.0

#: Bytes beyond which a value is sent from where it lies.
_LARGE = 16 * 2**10


class _Packer(HiredisRespSerializer):
    """Makes bytes of commands: fast by hiredis, which would copy a picture, or that uncopied."""

    _uncopied = PythonRespSerializer(_LARGE, Redis().get_encoder().encode)

    def pack(self, *args: Any) -> list[bytes]:
        large = isinstance(args[-1], bytes) and len(args[-1]) > _LARGE
        pack: Callable[..., list[bytes]] = self._uncopied.pack if large else super().pack
        return pack(*args)


class _Turns(LifoQueue[Any]):
    """The pool's free connections. Who waits for one hears of an outage with who found it.

    Were they to take their turns, each would find out by itself, a second after the other.
    """

    _answered_at = 0.0

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        if item and item.is_connected:
            self._answered_at = time.monotonic()
        super().put(item, block, timeout)

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        asked_at = time.monotonic()
        item = super().get(block, timeout)
        waited = time.monotonic() - asked_at
        if waited > TIMEOUT_SECONDS / 2 and self._answered_at < asked_at:
            self.put_nowait(item)
            raise Empty
        return item


def connect(url: str, *, max_connections: int) -> Redis:
    """A client for short commands: bytes in, bytes out. Not for blocking reads.

    Callers beyond `max_connections` wait for a free connection rather than open one each: a
    thousand greenlets that wake at once would otherwise open a thousand.
    """
    pool = BlockingConnectionPool.from_url(
        url,
        queue_class=_Turns,
        max_connections=max_connections,
        timeout=_TURN_SECONDS,
        socket_timeout=TIMEOUT_SECONDS,
        socket_connect_timeout=TIMEOUT_SECONDS,
        command_packer=_Packer(),
        # Never repeat by ourselves: a submit that timed out may have been stored, and a second one
        # would reset a job that a worker has begun. A pooled connection that Redis has closed is
        # noticed and replaced before it is used.
        retry=Retry(NoBackoff(), retries=0),
    )
    return Redis(connection_pool=pool)
