"""Jobs in Redis, as web accepts them and workers commit them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from redis import Redis

from shared.errors import DecodeFailed
from shared.jobs import (
    PART_SIZE,
    Durations,
    ItemState,
    Lane,
    NewItem,
    NewJob,
    Outcome,
    PartRef,
    Prediction,
    new_job_id,
    part_size,
)
from shared.records.job_records import JobRecords

SUCCESS = Outcome(
    state=ItemState.SUCCEEDED,
    predictions=(Prediction(84, "peacock", 0.875), Prediction(7, 'cock, "rooster"', 0.0625)),
    model_version="m-1",
    durations=Durations(queue_ms=12.5, preprocess_ms=2.25, inference_ms=7.125),
)
FAILURE = Outcome.failure(DecodeFailed())


def accept(
    jobs: JobRecords, items: int, *, top_k: int = 2, min_score: float = 0, **of_item: Any
) -> str:
    """The id of a new job whose items wait for a worker."""
    job_id = new_job_id()
    new = [
        NewItem(**{"name": f"{k}.jpg", "digest": f"{k:064x}", "data": b"x"} | of_item)
        for k in range(items)
    ]
    job = NewJob(id=job_id, lane=Lane.BULK, top_k=top_k, min_score=min_score, items=new)
    jobs.submitter.accept([job])
    return job_id


def commit(jobs: JobRecords, redis: Redis, job_id: str, outcomes: Mapping[int, Outcome]) -> None:
    """Commit `outcomes`, by index in the job: parts in order, each with one call."""
    total = jobs.reader.get(job_id).total
    parts: dict[int, dict[int, Outcome]] = {}
    for index, outcome in outcomes.items():
        parts.setdefault(index // PART_SIZE, {})[index % PART_SIZE] = outcome
    pipe = redis.pipeline(transaction=False)
    for number, of_part in parts.items():
        ref = PartRef(job_id, number, part_size(total, number))
        jobs.parts.commit(pipe, ref, Lane.BULK, of_part)
    pipe.execute()


def succeed(jobs: JobRecords, redis: Redis, job_id: str, *indexes: int) -> None:
    """Commit items one by one, in this order."""
    for index in indexes:
        commit(jobs, redis, job_id, {index: SUCCESS})


def finished(jobs: JobRecords, redis: Redis, items: int, **options: Any) -> str:
    """The id of a job that is completed."""
    job_id = accept(jobs, items, **options)
    commit(jobs, redis, job_id, dict.fromkeys(range(items), SUCCESS))
    return job_id
