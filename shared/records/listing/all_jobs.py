"""The jobs of all owners, by the time at which they were made: the lists of the owners, merged."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from typing import Any

from redis import Redis

from shared import keys
from shared.records.listing.position import Position

#: Entries of one owner that a round trip reads.
_AT_ONCE = 200


def owners(redis: Redis) -> list[str]:
    """The owners of listed jobs, without those whose jobs an earlier release has stored."""
    names: Any = redis.zrange(keys.OWNERS, 0, -1)
    return sorted(name.decode() for name in names)


def newest(redis: Redis, of: Iterable[str], *, before: Position) -> Iterator[Position]:
    """The jobs of some owners that are before a position, the newest first.

    Some of them have expired.
    """
    lists = [_newest_of(redis, owner, before) for owner in of]
    return heapq.merge(*lists, reverse=True)


def _newest_of(redis: Redis, owner: str, before: Position) -> Iterator[Position]:
    offset = 0
    while True:
        entries: Any = redis.zrevrangebyscore(
            keys.jobs_of(owner), before.made_at, "-inf", offset, _AT_ONCE, withscores=True
        )
        if not entries:
            return
        for job_id, made_at in entries:
            position = Position(made_at, job_id.decode())
            if position < before:
                yield position
        offset += len(entries)
