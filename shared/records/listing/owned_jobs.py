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
from shared.records.scripts import Script

#: Jobs of one owner that the index keeps: the newest ones. They take about a megabyte.
MOST_OF_OWNER = 10_000

#: Entries that one script reads. Most of them have expired if a client lists its jobs seldom.
_EXAMINED = 1000

_NEWEST = Script("listing/newest")


class Listed(NamedTuple):
    job_ids: list[str]  #: The newest first.
    has_older: bool  #: Whether older jobs may follow.


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
    """At most `limit` jobs of `owner`; with `before`, those that are older than this job."""
    job_ids: list[bytes] = []
    has_older = True
    while has_older and not job_ids:  # a call that lists nothing has removed what it read
        *job_ids, has_older = _NEWEST(
            redis, jobs=keys.jobs_of(owner), before=before, limit=limit, examined=_EXAMINED
        )
    return Listed([job_id.decode() for job_id in job_ids], bool(has_older))
