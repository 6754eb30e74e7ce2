"""Working on parts: a worker starts on them and commits their outcomes."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from redis import Redis
from redis.client import Pipeline

from shared import keys
from shared.jobs import Lane, Outcome, PartRef
from shared.records import fairness
from shared.records.scripts import script

#: A part is started this often, and then each of its images alone, before recovery gives up.
MAX_ATTEMPTS = 2


@dataclass(frozen=True, kw_only=True)
class PartWork:
    """A part as a worker gets it."""

    ref: PartRef
    top_k: int
    accepted_at: float  #: Unix seconds.
    trace: str  #: `traceparent` of the request that brought it.
    attempt: int  #: 1 at the first.
    digests: Mapping[int, str]  #: Position in the part -> digest, of the items without an outcome.
    images: Mapping[int, bytes]  #: Position -> bytes; a missing one has expired.


class PartRecords:
    def __init__(self, redis: Redis, *, ttl_seconds: int, deadline_seconds: int) -> None:
        self._redis = redis
        self._ttl = ttl_seconds
        self._deadline = deadline_seconds
        self._start_script = script("records", "start")
        self._commit_script = script("records", "commit")

    def start(self, refs: Sequence[PartRef], lane: Lane) -> list[PartWork]:
        """Begin work on parts: read their records and images, in one round trip.

        Leaves out a part that another delivery has committed meanwhile.
        """
        now = time.time()
        pipe = self._redis.pipeline(transaction=False)
        for ref in refs:
            pipe.eval(
                self._start_script,
                6,
                keys.job(ref.job_id),
                keys.part(ref.job_id, ref.number),
                keys.outstanding(lane),
                keys.outstanding_images(lane),
                keys.HELD,
                keys.images(ref.job_id, ref.number),
                now,
                now + self._deadline,
                ref.member,
                ref.images,
                ref.attempts_field,
                MAX_ATTEMPTS,
                "" if ref.only is None else f"r{ref.only}",
                ref.name,
            )
            pipe.hgetall(keys.images(ref.job_id, ref.number))
        if lane in fairness.FAIR:
            fairness.feed(pipe, lane, deadline=now + self._deadline, taken=len(refs))
        replies = pipe.execute()[: 2 * len(refs)]
        return [
            _part_work(ref, record, images)
            for ref, record, images in zip(refs, replies[::2], replies[1::2], strict=True)
            if record
        ]

    def feed(self, lane: Lane) -> None:
        """Queue the parts whose round has come, as each start does.

        Recovery calls this in case all messages of the lane were lost.
        """
        if lane in fairness.FAIR:
            pipe = self._redis.pipeline(transaction=False)
            fairness.feed(pipe, lane, deadline=time.time() + self._deadline, taken=0)
            pipe.execute()

    def commit(
        self, pipe: Pipeline, ref: PartRef, lane: Lane, outcomes: Mapping[int, Outcome]
    ) -> None:
        """Add a part's outcomes, by position, to a pipeline; each takes effect at most once.

        The reply is the number of outcomes that were new.
        """
        version = next((o.model_version for o in outcomes.values() if o.model_version), "")
        kind = "whole" if ref.only is None else "single"
        now = time.time()
        arguments: list[str | float] = [
            now, ref.member, ref.job_id, version, self._ttl, keys.COMMITTED, kind, ref.number
        ]  # fmt: skip
        for position, outcome in outcomes.items():
            arguments += [f"r{position}", outcome.state, outcome.to_json()]
        pipe.eval(
            self._commit_script,
            8,
            keys.job(ref.job_id),
            keys.part(ref.job_id, ref.number),
            keys.images(ref.job_id, ref.number),
            keys.outstanding(lane),
            keys.outstanding_images(lane),
            keys.HELD,
            keys.drained(lane, int(now)),
            keys.finished(ref.job_id),
            *arguments,
        )


def _part_work(ref: PartRef, record: list[bytes], images: Mapping[bytes, bytes]) -> PartWork:
    fields = dict(zip(record[::2], record[1::2], strict=True))
    spec = json.loads(fields[b"spec"])
    digests = {
        k: digest
        for k, (_, _, digest) in enumerate(spec["items"])
        if b"r%d" % k not in fields and ref.only in (None, k)
    }
    return PartWork(
        ref=ref,
        top_k=spec["top_k"],
        accepted_at=spec["accepted_at"],
        trace=spec.get("trace", ""),  # a part of an older version has none
        attempt=int(fields[ref.attempts_field.encode()]),
        digests=digests,
        images={int(k): data for k, data in images.items()},
    )
