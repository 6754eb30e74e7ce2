"""A Redis of the tests that may use only so much memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from redis import Redis


@contextmanager
def memory_limit(redis: Redis, size: int) -> Iterator[None]:
    """Let Redis use so many bytes in the block. With 1 it stores nothing more."""
    redis.config_set("maxmemory", size)
    try:
        yield
    finally:
        redis.config_set("maxmemory", 0)
