"""Ending jobs before they are done: `cancel` for their owner, `abandon` for a failed upload."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from redis import Redis

from shared import clock, keys
from shared.jobs import Job, JobState, PartRef, parts_of
from shared.records.claims import Claim
from shared.records.read import JobReader
from shared.records.scripts import Script

#: Parts of a cancelled job that one script releases: a few milliseconds of Redis's time.
_RELEASED_AT_ONCE = 100

_CANCEL = Script("ending/cancel")
_ABANDON = Script("ending/abandon")
_RELEASE = Script("ending/release")


class JobCanceller:
    def __init__(self, redis: Redis, reader: JobReader, *, ttl_seconds: int) -> None:
        self._redis = redis
        self._reader = reader
        self._ttl = ttl_seconds

    def cancel(self, job_id: str) -> bool:
        """End a job now; False if it has ended already. Raises JobNotFound.

        After the first script no outcome is added. If the process dies after that script, the
        job's parts stay outstanding and hold memory until a worker starts on each of them and
        releases it.
        """
        return self._end(job_id, _CANCEL)

    def abandon(self, job_id: str, claim: Claim | None) -> bool:
        """Cancel a job that no client knows and no client ever will; False if it is complete.

        The same script removes its webhook and its claim, so that the same request makes another
        job next time. A job that has all its parts stays: another request with the same claim has
        completed it. Raises JobNotFound.
        """
        return self._end(job_id, partial(_ABANDON, claim=claim.name if claim else ""))

    def _end(self, job_id: str, script: Callable[..., int]) -> bool:
        ended = script(
            self._redis,
            job=keys.job(job_id),
            job_id=job_id,
            now=clock.now(self._redis),
            ttl=self._ttl,
        )
        job = self._reader.get(job_id)
        # Also if another process cancelled it, because that one may have died before this step.
        if job.state is JobState.CANCELLED:
            self._release_all(job)
        return bool(ended)

    def _release_all(self, job: Job) -> None:
        """Release the parts that arrived and that no earlier call has released."""
        missing = set(self._reader.missing_parts(job.id))
        arrived = [n for n in range(parts_of(job.total)) if n not in missing]
        released = int(self._redis.hget(keys.job(job.id), "released") or 0)
        for start in range(released, len(arrived), _RELEASED_AT_ONCE):
            numbers = arrived[start : start + _RELEASED_AT_ONCE]
            refs = [PartRef(job.id, n, 0) for n in numbers]
            self._release(refs, job, released=start + len(refs))

    def _release(self, refs: Sequence[PartRef], job: Job, *, released: int) -> None:
        _RELEASE(
            self._redis,
            [
                (keys.part(ref.job_id, ref.number), keys.images(ref.job_id, ref.number), ref.name)
                for ref in refs
            ],
            job=keys.job(job.id),
            outstanding=keys.outstanding(job.lane),
            outstanding_images=keys.outstanding_images(job.lane),
            held=keys.HELD,
            waiting=keys.waiting(job.lane, job.model_version or ""),
            # A part may have come before its job had a version.
            waiting_without_version=keys.waiting(job.lane),
            released=released,
        )
