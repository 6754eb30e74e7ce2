"""Jobs that have ended, and the webhooks that are due."""

from __future__ import annotations

from redis import Redis

from shared import keys
from shared.records.job_records import JobRecords
from shared.jobs import ItemState, Lane, NewItem, NewJob, Outcome, PartRef, Prediction, new_job_id
from workers.webhooks.delivery import WebhookDelivery

SUCCESS = Outcome(state=ItemState.SUCCEEDED, predictions=(Prediction(1, "a", 0.5),))


def new_job(url: str, items: int = 1, outcome: Outcome | None = None) -> NewJob:
    new = [
        NewItem(name=f"{k}", digest=f"{k:064}", data=b"x", outcome=outcome) for k in range(items)
    ]
    return NewJob(id=new_job_id(), lane=Lane.BULK, top_k=1, items=new, webhook=url)


def commit(redis: Redis, jobs: JobRecords, job: NewJob, positions: range) -> None:
    """Commit outcomes as a worker does."""
    pipe = redis.pipeline()
    ref = PartRef(job.id, 0, len(job.items))
    jobs.parts.start([ref], Lane.BULK)
    jobs.parts.commit(pipe, ref, Lane.BULK, {k: SUCCESS for k in positions})
    pipe.execute()


def due(redis: Redis) -> dict[str, float]:
    entries = redis.zrange(keys.WEBHOOKS_DUE, 0, -1, withscores=True)
    return {job_id.decode(): score for job_id, score in entries}


def deliver_all(delivery: WebhookDelivery) -> int:
    leases = delivery.lease(100)
    for lease in leases:
        delivery.deliver(lease)
    return len(leases)


def ended_job(redis: Redis, jobs: JobRecords, url: str) -> NewJob:
    job = new_job(url)
    jobs.submitter.accept([job])
    commit(redis, jobs, job, range(1))
    return job
