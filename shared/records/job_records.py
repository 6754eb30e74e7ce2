"""The records of jobs in Redis: one object for each kind of use, all built here from the settings.

Redis holds the truth about jobs; Celery only delivers messages. All times in the records are Unix
seconds by the clock of Redis (shared.clock).
"""

from __future__ import annotations

from redis import Redis

from shared.records.ending.canceller import JobCanceller
from shared.records.overdue.dead_letters import DeadLetters
from shared.records.read import JobReader
from shared.records.overdue.recovery import Recovery
from shared.records.submit import JobSubmitter
from shared.records.work import PartRecords
from shared.settings import Settings


class JobRecords:
    def __init__(
        self,
        redis: Redis,
        *,
        result_ttl_seconds: int,
        part_deadline_seconds: int,
        max_open_jobs: int = 100,
        max_open_images: int = 1_000_000,
        model_grace_seconds: float = 120,
    ) -> None:
        ttl, deadline = result_ttl_seconds, part_deadline_seconds
        self.reader = JobReader(redis)
        self.submitter = JobSubmitter(
            redis,
            ttl_seconds=ttl,
            deadline_seconds=deadline,
            max_open_jobs=max_open_jobs,
            max_open_images=max_open_images,
        )
        self.parts = PartRecords(redis, ttl_seconds=ttl, deadline_seconds=deadline)
        self.canceller = JobCanceller(redis, self.reader, ttl_seconds=ttl)
        self.dead_letters = DeadLetters(redis, ttl_seconds=ttl, deadline_seconds=deadline)
        self.recovery = Recovery(
            redis,
            self.reader,
            self.parts,
            self.dead_letters,
            deadline_seconds=deadline,
            grace_seconds=model_grace_seconds,
        )

    @classmethod
    def from_settings(cls, redis: Redis, settings: Settings) -> JobRecords:
        return cls(
            redis,
            result_ttl_seconds=settings.result_ttl_seconds,
            part_deadline_seconds=settings.part_deadline_seconds,
            max_open_jobs=settings.max_open_jobs,
            max_open_images=settings.max_open_images,
            model_grace_seconds=settings.model_grace_seconds,
        )
