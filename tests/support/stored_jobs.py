"""What tests store in Redis in place of a web process or a worker: jobs, outcomes, a model."""

from __future__ import annotations

from redis import Redis

from shared import keys
from shared.jobs import PART_SIZE, ItemState, Lane, NewItem, NewJob, Outcome, PartRef, new_job_id
from shared.records.job_records import JobRecords
from shared.serving import model_info
from shared.serving.model_info import ModelInfo

#: Bytes of a picture, unless a test says otherwise.
SIZE = 1000

DONE = Outcome(state=ItemState.SUCCEEDED, model_version="m-1")


def new_job(images: int = 1, lane: Lane = Lane.BULK, size: int = SIZE, client: str = "") -> NewJob:
    items = [NewItem(name="", digest=f"{k}", data=bytes(size)) for k in range(images)]
    return NewJob(id=new_job_id(), lane=lane, top_k=5, items=items, client=client)


def commit(redis: Redis, jobs: JobRecords, job: NewJob) -> None:
    """Commit all parts of a job, as a worker does."""
    pipe = redis.pipeline(transaction=False)
    for start in range(0, len(job.items), PART_SIZE):
        images = len(job.items[start : start + PART_SIZE])
        ref = PartRef(job.id, start // PART_SIZE, images)
        jobs.parts.commit(pipe, ref, job.lane, dict.fromkeys(range(images), DONE))
    pipe.execute()


def new_model(version: str = "m-1") -> ModelInfo:
    return ModelInfo(
        name="m",
        version=version,
        weights="w",
        weights_digest="d",
        engine="e",
        classes=2,
        input_size=8,
    )


def announce_model(redis: Redis, version: str = "m-1") -> None:
    """Announce a model and make it current."""
    redis.delete(keys.MODEL)
    model_info.announce(redis, new_model(version))
