"""Connections to Redis, made one way everywhere."""

from __future__ import annotations

from redis import BlockingConnectionPool, Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

#: A caller must hear about an outage within 2 s; redis-py's defaults keep it waiting for a minute.
TIMEOUT_SECONDS = 1.0

#: A thousand waiters of one job wake together and take turns; a turn is about a millisecond.
_TURN_SECONDS = 5.0


def connect(url: str, *, max_connections: int) -> Redis:
    """A client for short commands: bytes in, bytes out. Not for blocking reads.

    Callers beyond `max_connections` wait for a free connection rather than open one each: a
    thousand greenlets that wake at once would otherwise open a thousand.
    """
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=max_connections,
        timeout=_TURN_SECONDS,
        socket_timeout=TIMEOUT_SECONDS,
        socket_connect_timeout=TIMEOUT_SECONDS,
        # Never repeat by ourselves: a submit that timed out may have been stored, and a second one
        # would reset a job that a worker has begun. A pooled connection that Redis has closed is
        # noticed and replaced before it is used.
        retry=Retry(NoBackoff(), retries=0),
    )
    return Redis(connection_pool=pool)
