"""Cancels all jobs of a lane, in pieces that a request has time for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from time import monotonic
from typing import NamedTuple

from redis import Redis

from shared import keys
from shared.errors import JobNotFound
from shared.jobs import JobState, Lane, PartRef
from shared.records.ending.canceller import JobCanceller
from shared.records.listing.position import Position
from shared.records.read import JobReader

#: Entries that one round trip reads.
_AT_ONCE = 500


class Purged(NamedTuple):
    cancelled: int  #: Jobs that this call has cancelled.
    more: bool  #: Whether jobs may be left. Call again.


class Purge:
    """Cancels each job as its owner could. If the process dies, a further call does the rest."""

    def __init__(self, redis: Redis, reader: JobReader, canceller: JobCanceller) -> None:
        self._redis = redis
        self._reader = reader
        self._canceller = canceller

    def run(
        self, lane: Lane, owners: Sequence[str], *, made_before: float, seconds: float
    ) -> Purged:
        """Cancel jobs of `lane` that were made before a time (Unix seconds), for so many seconds.

        That are all jobs with outstanding parts, and the jobs of `owners` that wait for parts.

        Raises RedisError in an outage; what was cancelled stays so.
        """
        give_up = monotonic() + seconds
        cancelled = 0
        for job_id in self._candidates(lane, owners, made_before):
            if monotonic() > give_up:
                return Purged(cancelled, more=True)
            cancelled += self._cancel(job_id, lane, made_before)
        return Purged(cancelled, more=False)

    def _cancel(self, job_id: str, lane: Lane, made_before: float) -> bool:
        try:
            job = self._reader.get(job_id)
            if job.lane is not lane or job.created_at >= made_before:
                return False
            # A cancelled job may still hold parts, if the process that cancelled it died then.
            return self._canceller.cancel(job_id)
        except JobNotFound:
            return False  # it has expired, and the next start of its parts releases them

    def _candidates(self, lane: Lane, owners: Sequence[str], made_before: float) -> Iterator[str]:
        """Jobs with outstanding parts, and listed jobs that wait for parts."""
        seen: set[str] = set()
        for member, _ in self._redis.zscan_iter(keys.outstanding(lane), count=_AT_ONCE):
            job_id = PartRef.from_member(member.decode()).job_id
            if job_id not in seen:
                seen.add(job_id)
                yield job_id
        before = Position(made_before, "")
        for page in self._reader.newest_of_all(owners, before=before, at_once=_AT_ONCE):
            for job in page:
                if job.lane is lane and job.state is JobState.RECEIVING:
                    yield job.id
