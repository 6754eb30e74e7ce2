"""Commits results as a worker does, for services that run without one."""

from __future__ import annotations

from shared.jobs import ItemState, Lane, Outcome, PartRef
from shared.records.job_records import JobRecords
from shared.redis_client import connect

SUCCESS = Outcome(state=ItemState.SUCCEEDED, model_version="m-1")


def commit(
    redis_url: str, *parts: PartRef, lane: Lane = Lane.INTERACTIVE, outcome: Outcome = SUCCESS
) -> None:
    """Give every image of these parts the same outcome, in one round trip."""
    redis = connect(redis_url, max_connections=1)
    jobs = JobRecords(redis, result_ttl_seconds=3600, part_deadline_seconds=60)
    pipe = redis.pipeline(transaction=False)
    for part in parts:
        jobs.parts.commit(pipe, part, lane, dict.fromkeys(range(part.images), outcome))
    pipe.execute()
    redis.connection_pool.disconnect()
