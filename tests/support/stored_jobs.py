"""Jobs that tests store and commit without a web process and without a worker."""

from __future__ import annotations

from redis import Redis

from shared.jobs import PART_SIZE, ItemState, Lane, NewItem, NewJob, Outcome, PartRef, new_job_id
from shared.records.job_records import JobRecords

#: Bytes of a picture, unless a test says otherwise.
SIZE = 1000

DONE = Outcome(state=ItemState.SUCCEEDED, model_version="m-1")


def new_job(images: int = 1, lane: Lane = Lane.BULK, size: int = SIZE) -> NewJob:
    items = [NewItem(name="", digest=f"{k}", data=bytes(size)) for k in range(images)]
    return NewJob(id=new_job_id(), lane=lane, top_k=5, items=items)


def commit(redis: Redis, jobs: JobRecords, job: NewJob) -> None:
    """Commit all parts of a job, as a worker does."""
    pipe = redis.pipeline(transaction=False)
    for start in range(0, len(job.items), PART_SIZE):
        images = len(job.items[start : start + PART_SIZE])
        ref = PartRef(job.id, start // PART_SIZE, images)
        jobs.parts.commit(pipe, ref, job.lane, dict.fromkeys(range(images), DONE))
    pipe.execute()
