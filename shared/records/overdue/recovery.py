"""Recovery of parts that showed no life in time: queue them again, split them, or give up.

A part is overdue when its deadline has passed. Either its message was lost (kombu removes a message
from the queue before it notes that it has it), or its worker is gone. A part that was started too
often is split into its images. An image that is alone and still kills its worker becomes a failed
item and a dead letter. Each step is one script or one transaction that checks again before it acts.
"""

from __future__ import annotations

import base64
import json
from functools import cache, partial
from typing import Any, NamedTuple

from redis import Redis

from shared import clock, keys
from shared.errors import JobNotFound, WorkerLost
from shared.jobs import Lane, Outcome, PartRef
from shared.message import message
from shared.records.accounts.account import ChargeCheck
from shared.records.codec import outcome_field
from shared.records.overdue.dead_letters import DeadLetter, DeadLetters
from shared.records.overdue.gone_versions import GoneVersions
from shared.records.read import JobReader
from shared.records.scripts import Script
from shared.records.work import MAX_ATTEMPTS, PartRecords
from shared.serving import model_versions
from shared.serving.model_versions import Versions

#: Parts of one pass. It runs in a worker's main process, which must not be busy for long.
_AT_ONCE = 200

_REQUEUE = Script("overdue/requeue")
_EXPIRE = Script("overdue/expire")
_SPLIT = Script("overdue/split")


class Recovered(NamedTuple):
    """Parts of one pass over a lane, by what was done."""

    requeued: int
    split: int
    buried: int


class _Overdue(NamedTuple):
    ref: PartRef
    deadline: float  #: As it was read. Each step checks that it is still the same.
    attempts: int
    successor: str  #: The model version that takes over the part; empty if its own does it.
    queue: str  #: The model version whose queue gets it; empty for the queue of all workers.


class Recovery:
    def __init__(
        self,
        redis: Redis,
        reader: JobReader,
        parts: PartRecords,
        dead_letters: DeadLetters,
        *,
        deadline_seconds: float,
        grace_seconds: float,
    ) -> None:
        """Parts wait for a worker of their model version as long as `grace_seconds`."""
        self._redis = redis
        self._gone = GoneVersions(redis, seconds=grace_seconds)
        self._reader = reader
        self._parts = parts
        self._dead_letters = dead_letters
        self._deadline = deadline_seconds
        self._charges = ChargeCheck(redis)

    def recover(self, lane: Lane) -> Recovered:
        """Check a lane for overdue parts and do what is due for each."""
        versions = model_versions.read(self._redis, lane)
        self._gone.clear(lane, versions)
        self._parts.feed(lane, [each for each in versions.seen if versions.route(each)])
        self._charges.go_on()
        requeued = split = buried = 0
        for overdue in self._overdue(lane, versions):
            if overdue.attempts < MAX_ATTEMPTS:
                requeued += self._requeue(lane, overdue)
            elif overdue.ref.only is None:
                split += self._split(lane, overdue)
            else:
                buried += self._bury(lane, overdue)
        return Recovered(requeued, split, buried)

    def expire_deadlines(self, lane: Lane) -> None:
        """Make all parts overdue that are in a queue or with a worker. No worker may be running.

        They keep their order, which tells those that are still in the queue from the others.
        """
        _EXPIRE(
            self._redis,
            outstanding=keys.outstanding(lane),
            latest=clock.now(self._redis) + self._deadline,
            seconds=self._deadline,
        )

    def _overdue(self, lane: Lane, versions: Versions) -> list[_Overdue]:
        """Parts whose deadline has passed, without those that still wait in the queue."""
        key = keys.outstanding(lane)
        late: Any = self._redis.zrangebyscore(
            key, "-inf", clock.now(self._redis), start=0, num=_AT_ONCE
        )
        refs = [PartRef.from_member(member.decode()) for member in late]
        if not refs:
            return []
        pipe = self._redis.pipeline(transaction=False)
        for ref in refs:
            pipe.zscore(key, ref.member)
            pipe.hget(keys.part(ref.job_id, ref.number), ref.attempts_field)
            pipe.hget(keys.job(ref.job_id), "model_version")
        replies = pipe.execute()
        waiting_since = partial(cache(self._oldest_waiting), lane)
        overdue = []
        for ref, deadline, attempts, of_job in zip(
            refs, replies[::3], replies[1::3], replies[2::3], strict=True
        ):
            version = of_job.decode() if of_job else ""
            successor = self._gone.successor(versions, version)
            # A worker of an earlier release puts every part into the queue of all workers.
            since = min(waiting_since(each) for each in {"", version})
            if deadline is not None and (attempts or deadline < since):
                queue = versions.route(successor or version)
                overdue.append(_Overdue(ref, deadline, int(attempts or 0), successor, queue))
        return overdue

    def _oldest_waiting(self, lane: Lane, version: str) -> float:
        """The deadline of the part that has waited longest in a queue; infinite if none waits.

        The queue is in the order of deadlines. So a part that was never started, with this deadline
        or a later one, still waits in the queue. One with an earlier deadline has left it. Parts
        that wait for their round are never overdue.
        """
        text = self._redis.lindex(keys.queue(lane, version), -1)
        if text is None:
            return float("inf")
        body = json.loads(base64.b64decode(json.loads(text)["body"]))
        members = [PartRef.from_message(part).member for part in body[0][0]]
        scores = [self._redis.zscore(keys.outstanding(lane), member) for member in members]
        deadlines = [score for score in scores if score is not None]
        # If all parts of this message are committed, it says nothing about the others. The next
        # pass decides.
        return min(deadlines, default=float("-inf"))

    def _requeue(self, lane: Lane, overdue: _Overdue) -> int:
        requeued = _REQUEUE(
            self._redis,
            job=keys.job(overdue.ref.job_id),
            outstanding=keys.outstanding(lane),
            queue=keys.queue(lane, overdue.queue),
            member=overdue.ref.member,
            seen_deadline=overdue.deadline,
            deadline=clock.now(self._redis) + self._deadline,
            message=message(lane, [overdue.ref], version=overdue.queue),
            successor=overdue.successor,
        )
        return int(requeued)

    def _split(self, lane: Lane, overdue: _Overdue) -> int:
        ref = overdue.ref
        record = self._redis.hgetall(keys.part(ref.job_id, ref.number))
        if not record:  # It has expired. The next start of the part removes it.
            return self._requeue(lane, overdue)
        items = len(json.loads(record[b"spec"])["items"])
        singles = [
            PartRef(ref.job_id, ref.number, 1, k)
            for k in range(items)
            if outcome_field(k).encode() not in record
        ]
        split = _SPLIT(
            self._redis,
            [(each.member, message(lane, [each], version=overdue.queue)) for each in singles],
            job=keys.job(ref.job_id),
            part=keys.part(ref.job_id, ref.number),
            outstanding=keys.outstanding(lane),
            held=keys.HELD,
            queue=keys.queue(lane, overdue.queue),
            member=ref.member,
            seen_deadline=overdue.deadline,
            deadline=clock.now(self._redis) + self._deadline,
            successor=overdue.successor,
        )
        return int(split)

    def _bury(self, lane: Lane, overdue: _Overdue) -> int:
        """Commit the image as failed and keep it as a dead letter, in one transaction."""
        ref = overdue.ref
        assert ref.only is not None
        items = self._reader.part_items(ref.job_id, ref.number)
        try:
            owner = self._reader.get(ref.job_id).owner
        except JobNotFound:
            items = []
        if not items:  # They have expired. The next start of the part removes it.
            self._requeue(lane, overdue)
            return 0
        image: Any = self._redis.hget(keys.images(ref.job_id, ref.number), str(ref.only))
        pipe = self._redis.pipeline(transaction=True)
        self._parts.commit(pipe, ref, lane, {ref.only: Outcome.failure(WorkerLost())})
        if image:
            item = items[ref.only]
            letter = DeadLetter(
                member=ref.member,
                lane=lane,
                job_id=ref.job_id,
                index=item.index,
                name=item.name,
                owner=owner,
                at=clock.now(self._redis),
                bytes=len(image),
            )
            self._dead_letters.add(pipe, letter, image)
        written, *_ = pipe.execute()
        if not written:  # A slow worker has committed the image meanwhile, and its outcome stands.
            self._dead_letters.remove(ref.member)
        self._dead_letters.all()  # removes the expired ones, even if no client ever lists them
        return int(written)
