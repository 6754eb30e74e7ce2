"""The index of each owner's jobs, by the time at which they were made.

The transaction that makes a job adds it. A job leaves the index when it is among the oldest of too
many, and when it has expired.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from redis import Redis
from redis.client import Pipeline

from shared import keys
from shared.records.listing.position import Position, no_place
from shared.records.scripts import Script

#: Jobs of one owner that the index keeps: the newest ones. They take about a megabyte.
MOST_OF_OWNER = 10_000

#: Entries that one script reads. Most of them have expired if a client lists its jobs seldom.
_EXAMINED = 1000

_NEWEST = Script("listing/newest")


class Listed(NamedTuple):
    job_ids: list[str]  #: The newest first.
    next_before: str | None  #: Where older jobs begin; None if there are none.


def add(pipe: Pipeline, owner: str, job_ids: Sequence[str], *, now: float, ttl: int) -> None:
    """Add to a transaction: these jobs of `owner` are made `now` (Unix seconds)."""
    key = keys.jobs_of(owner)
    pipe.zadd(key, dict.fromkeys(job_ids, now))
    pipe.zremrangebyrank(key, 0, -MOST_OF_OWNER - 1)
    pipe.expire(key, 2 * ttl)
    # For the operator, who lists the jobs of all owners. A list that has expired leaves no owner.
    pipe.zadd(keys.OWNERS, {owner: now})
    pipe.zremrangebyscore(keys.OWNERS, "-inf", now - 2 * ttl)
    pipe.expire(keys.OWNERS, 2 * ttl)


def newest(redis: Redis, owner: str, *, before: str = "", limit: int) -> Listed:
    """At most `limit` jobs of `owner`; with `before`, those that are older than this place.

    `before` is `next_before` of another call, or the id of a listed job. Raises InvalidRequest if
    it is neither. A place stays, also if its job has left the list.
    """
    # The release before gave the id alone.
    made_at, job_id = Position.of(before) if ":" in before else ("", before)
    while True:
        reply = _NEWEST(
            redis,
            jobs=keys.jobs_of(owner),
            after=job_id,
            after_made_at=made_at,
            limit=limit,
            examined=_EXAMINED,
        )
        if reply is None:
            raise no_place()
        *job_ids, last_made_at, has_older = reply
        if job_ids or not has_older:  # a call that lists nothing has removed what it read
            break
    listed = [each.decode() for each in job_ids]
    if not has_older:
        return Listed(listed, None)
    return Listed(listed, str(Position(float(last_made_at), listed[-1])))
