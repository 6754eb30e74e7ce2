"""A client of Redis for short commands."""

from __future__ import annotations

import time
from collections.abc import Callable
from queue import Empty, LifoQueue
from typing import Any

from redis import BlockingConnectionPool, Redis
from redis.backoff import NoBackoff
from redis.connection import HiredisRespSerializer, PythonRespSerializer
from redis.retry import Retry

from shared.breaker import Breaker
from shared.addresses.redis_address import RedisAddress, parse
from shared.redis_client.connections import MasterFinder, connection_class

#: A caller must hear of an outage within 2 s; redis-py's defaults keep it waiting for a minute.
TIMEOUT_SECONDS = 1.0

#: A thousand clients that wait for one job wake together and wait for a free connection; each
#: holds one for about a millisecond.
_FREE_CONNECTION_SECONDS = 5.0

#: Larger values, in bytes, are sent from where they lie.
_LARGE = 16 * 2**10


class _Packer(HiredisRespSerializer):
    """Serialises commands. hiredis is fast and copies a picture, so a large value goes uncopied."""

    _uncopied = PythonRespSerializer(_LARGE, Redis().get_encoder().encode)

    def pack(self, *args: Any) -> list[bytes]:
        large = isinstance(args[-1], bytes) and len(args[-1]) > _LARGE
        pack: Callable[..., list[bytes]] = self._uncopied.pack if large else super().pack
        return pack(*args)


class _FreeConnections(LifoQueue[Any]):
    """The pool's free connections.

    A caller that waits for a connection hears of an outage together with the caller that met it.
    Otherwise each waiting caller would meet the outage by itself, one second after the other.
    redis-py disconnects a connection whose command failed, before it returns it.
    """

    def __init__(self, maxsize: int = 0) -> None:
        super().__init__(maxsize)
        self._breaker = Breaker(TIMEOUT_SECONDS)

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        if item and item.is_connected:
            self._breaker.note_success()
        elif item:
            self._breaker.note_failure()
        super().put(item, block, timeout)

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        asked_at = time.monotonic()
        item = super().get(block, timeout)
        if item and item.is_outdated:
            item.disconnect()  # the pool connects it again
        if self._breaker.only_failed_since(asked_at):  # so it had to wait
            super().put(item)
            raise Empty
        return item


def connect(url: str, *, max_connections: int) -> Redis:
    """A client for short commands: bytes in, bytes out. It is not for blocking reads.

    A caller beyond `max_connections` waits for a free connection. A thousand greenlets that wake at
    once would otherwise open a thousand connections.
    """
    pool = BlockingConnectionPool(  # type: ignore[no-untyped-call]
        queue_class=_FreeConnections,
        max_connections=max_connections,
        timeout=_FREE_CONNECTION_SECONDS,
        command_packer=_Packer(),
        # A command is never repeated here: a submit that timed out may have been stored, and a
        # second one would reset a job that a worker has begun. redis-py notices a pooled connection
        # that Redis has closed, and replaces it before it is used.
        retry=Retry(NoBackoff(), retries=0),
        **_options(parse(url)),
    )
    return Redis(connection_pool=pool)


def _options(address: RedisAddress) -> dict[str, Any]:
    """Of each connection. The address may name other time limits."""
    options = {
        "connection_class": connection_class(address),
        "socket_timeout": TIMEOUT_SECONDS,
        "socket_connect_timeout": TIMEOUT_SECONDS,
    }
    if address.sentinels:
        options["find_master"] = MasterFinder(address, timeout_seconds=TIMEOUT_SECONDS)
    return options | address.options | (address.tls or {})
