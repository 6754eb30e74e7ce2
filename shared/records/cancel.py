"""Ending jobs before they are done: `cancel` for their owner, `abandon` for a failed upload."""

from __future__ import annotations

import time
from collections.abc import Sequence

from redis import Redis

from shared import keys
from shared.jobs import JobState, Lane, PartRef, parts_of
from shared.records.claims import Claim
from shared.records.read import JobReader
from shared.records.scripts import script

#: Parts of a cancelled job that one script releases: a few milliseconds of Redis's time.
_RELEASED_AT_ONCE = 100


class JobCanceller:
    def __init__(self, redis: Redis, reader: JobReader, *, ttl_seconds: int) -> None:
        self._redis = redis
        self._reader = reader
        self._ttl = ttl_seconds
        self._cancel_script = script("records", "cancel")
        self._abandon_script = script("records", "abandon", "cancel")
        self._release_script = script("records", "release")

    def cancel(self, job_id: str) -> bool:
        """End a job now; False if it has ended already. Raises JobNotFound.

        After the first script no outcome is added. If the process dies after that script, the
        job's parts stay outstanding and hold memory until a worker starts on each of them and
        releases it.
        """
        return self._end(self._cancel_script, job_id)

    def abandon(self, job_id: str, claim: Claim | None) -> bool:
        """Cancel a job that no client knows and no client ever will; False if it is complete.

        The same script removes its webhook and its claim, so that the same request makes another
        job next time. A job that has all its parts stays: another request with the same claim has
        completed it. Raises JobNotFound.
        """
        return self._end(self._abandon_script, job_id, *([claim.name] if claim else []))

    def _end(self, ending: str, job_id: str, *claims: str) -> bool:
        ended = self._redis.eval(
            ending,
            1 + len(claims),
            keys.job(job_id),
            *claims,
            time.time(),
            self._ttl,
            keys.COMMITTED,
            job_id,
        )
        job = self._reader.get(job_id)
        # Also if another process cancelled it, because that one may have died before this step.
        if job.state is JobState.CANCELLED:
            for start in range(0, parts_of(job.total), _RELEASED_AT_ONCE):
                stop = min(start + _RELEASED_AT_ONCE, parts_of(job.total))
                self._release([PartRef(job_id, n, 0) for n in range(start, stop)], job.lane)
        return bool(ended)

    def _release(self, refs: Sequence[PartRef], lane: Lane) -> None:
        hashes = [
            key
            for ref in refs
            for key in (keys.part(ref.job_id, ref.number), keys.images(ref.job_id, ref.number))
        ]
        self._redis.eval(
            self._release_script,
            4 + len(hashes),
            keys.outstanding(lane),
            keys.outstanding_images(lane),
            keys.HELD,
            keys.waiting(lane),
            *hashes,
            *(ref.name for ref in refs),
        )
