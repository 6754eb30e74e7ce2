"""A job as clients read it: its record, and an estimate of how long it still takes."""

from __future__ import annotations

from redis import Redis

from shared.jobs import Job
from shared.records.load import estimate
from web.schemas.job import JobSchema


class JobView:
    def __init__(self, redis: Redis, *, deadline_seconds: float) -> None:
        self._redis = redis
        self._deadline = deadline_seconds

    def schema(self, job: Job) -> JobSchema:
        """One round trip for the estimate, if the job has not ended. Raises RedisError."""
        present = estimate.of_job(self._redis, job, deadline_seconds=self._deadline)
        return JobSchema.of(job, present)

    def json(self, job: Job) -> bytes:
        return self.schema(job).model_dump_json().encode()
