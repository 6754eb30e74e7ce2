"""Parts that showed no life in time: delivered again, split, or given up on.

A part is overdue when its deadline has passed. Its message was lost (kombu pops a message before
it notes it), or whoever worked on it is gone. A part that was started too often is split into its
images, and an image that is alone and still kills its worker becomes a failed item and a dead
letter. Each step is one script or one transaction that looks again before it acts.
"""

from __future__ import annotations

import base64
import json
import time
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from redis import Redis

from shared import keys
from shared.records.claims import Claim, value
from shared.errors import JobNotFound, WorkerLost
from shared.jobs import Lane, Outcome, PartRef
from shared.message import message
from shared.records.read import JobReader
from shared.records.scripts import Script
from shared.records.work import MAX_ATTEMPTS, PartRecords

#: Parts that are looked at in one go: a worker's main process must not be away for long.
_AT_ONCE = 200

_REQUEUE = Script("requeue")
_SPLIT = Script("split")
_REVIVE = Script("revive")


class Recovered(NamedTuple):
    """What one look at a lane came to."""

    requeued: int
    split: int
    buried: int


class _Overdue(NamedTuple):
    ref: PartRef
    score: float  #: Compared again before anything is done.
    attempts: int


@dataclass(frozen=True, kw_only=True)
class DeadLetter:
    """An image that no worker survived."""

    member: str
    lane: Lane
    job_id: str
    index: int
    name: str
    owner: str  #: Name of the key that submitted it; empty where keys were off.
    at: float  #: Unix seconds.


class Recovery:
    def __init__(
        self,
        redis: Redis,
        reader: JobReader,
        parts: PartRecords,
        *,
        ttl_seconds: int,
        deadline_seconds: float,
    ) -> None:
        self._redis = redis
        self._reader = reader
        self._parts = parts
        self._ttl = ttl_seconds
        self._deadline = deadline_seconds

    def recover(self, lane: Lane) -> Recovered:
        """Look at every overdue part of a lane and do what is due."""
        self._parts.feed(lane)
        requeued = split = buried = 0
        for overdue in self._overdue(lane):
            if overdue.attempts < MAX_ATTEMPTS:
                requeued += self._requeue(lane, overdue)
            elif overdue.ref.only is None:
                split += self._split(lane, overdue)
            else:
                buried += self._bury(lane, overdue)
        return Recovered(requeued, split, buried)

    def dead_letters(self) -> list[DeadLetter]:
        """Oldest first. One whose image has expired is forgotten: nobody can try it again."""
        found = self._redis.hvals(keys.DEAD_LETTERS)
        letters = sorted((_letter(json.loads(text)) for text in found), key=lambda each: each.at)
        since = time.time() - self._ttl
        if expired := [letter.member for letter in letters if letter.at < since]:
            self._redis.hdel(keys.DEAD_LETTERS, *expired)
        return [letter for letter in letters if letter.at >= since]

    def retry(self, letter: DeadLetter, claim: Claim | None = None) -> bool:
        """Try a dead letter once more; False where it is gone, or its job expired or cancelled."""
        ref = PartRef.from_member(letter.member)
        revived = _REVIVE(
            self._redis,
            job=keys.job(ref.job_id),
            part=keys.part(ref.job_id, ref.number),
            images=keys.images(ref.job_id, ref.number),
            outstanding=keys.outstanding(letter.lane),
            outstanding_images=keys.outstanding_images(letter.lane),
            held=keys.HELD,
            queue=keys.queue(letter.lane),
            dead_letters=keys.DEAD_LETTERS,
            dead_image=keys.dead_image(letter.member),
            claim=claim.name if claim else "",
            member=letter.member,
            position=ref.only or 0,
            outcome_field=f"r{ref.only}",
            attempts_field=ref.attempts_field,
            deadline=time.time() + self._deadline,
            message=message(letter.lane, [ref]),
            claim_value=value(claim, ref.job_id) if claim else "",
            claim_seconds=2 * self._ttl if claim else "",
        )
        return bool(revived)

    def _overdue(self, lane: Lane) -> list[_Overdue]:
        """Parts whose deadline has passed, but for those that simply wait their turn."""
        key = keys.outstanding(lane)
        late: Any = self._redis.zrangebyscore(key, "-inf", time.time(), start=0, num=_AT_ONCE)
        refs = [PartRef.from_member(member.decode()) for member in late]
        if not refs:
            return []
        pipe = self._redis.pipeline(transaction=False)
        for ref in refs:
            pipe.zscore(key, ref.member)
            pipe.hget(keys.part(ref.job_id, ref.number), ref.attempts_field)
        replies = pipe.execute()
        waiting_since = self._oldest_waiting(lane)
        return [
            _Overdue(ref, score, int(attempts or 0))
            for ref, score, attempts in zip(refs, replies[::2], replies[1::2], strict=True)
            if score is not None and (attempts or score < waiting_since)
        ]

    def _oldest_waiting(self, lane: Lane) -> float:
        """Deadline of the part that has waited longest in the queue; infinite where none waits.

        Parts that wait their turn are not in it, and are never overdue. The queue is in the order
        of deadlines. A part that was never started and is due no earlier than this one still waits
        behind it; an earlier one has left the queue.
        """
        text = self._redis.lindex(keys.queue(lane), -1)
        if text is None:
            return float("inf")
        body = json.loads(base64.b64decode(json.loads(text)["body"]))
        members = [PartRef(*part).member for part in body[0][0]]
        scores = [self._redis.zscore(keys.outstanding(lane), member) for member in members]
        known = [score for score in scores if score is not None]
        # A message whose parts are all done says nothing of the others: look again next time.
        return min(known, default=float("-inf"))

    def _requeue(self, lane: Lane, overdue: _Overdue) -> int:
        return int(
            _REQUEUE(
                self._redis,
                outstanding=keys.outstanding(lane),
                queue=keys.queue(lane),
                member=overdue.ref.member,
                seen_deadline=overdue.score,
                deadline=time.time() + self._deadline,
                message=message(lane, [overdue.ref]),
            )
        )

    def _split(self, lane: Lane, overdue: _Overdue) -> int:
        ref = overdue.ref
        record = self._redis.hgetall(keys.part(ref.job_id, ref.number))
        if not record:  # expired: the next start of the part clears it away
            return self._requeue(lane, overdue)
        items = len(json.loads(record[b"spec"])["items"])
        singles = [
            PartRef(ref.job_id, ref.number, 1, k) for k in range(items) if b"r%d" % k not in record
        ]
        return int(
            _SPLIT(
                self._redis,
                [(each.member, message(lane, [each])) for each in singles],
                outstanding=keys.outstanding(lane),
                queue=keys.queue(lane),
                member=ref.member,
                seen_deadline=overdue.score,
                deadline=time.time() + self._deadline,
            )
        )

    def _bury(self, lane: Lane, overdue: _Overdue) -> int:
        """Commit the image as failed, and keep it as a dead letter, in one transaction."""
        ref = overdue.ref
        assert ref.only is not None
        items = self._reader.part_items(ref.job_id, ref.number)
        try:
            owner = self._reader.get(ref.job_id).owner
        except JobNotFound:
            items = []
        if not items:  # expired: the next start of the part clears it away
            self._requeue(lane, overdue)
            return 0
        data = self._redis.hget(keys.images(ref.job_id, ref.number), str(ref.only))
        pipe = self._redis.pipeline(transaction=True)
        self._parts.commit(pipe, ref, lane, {ref.only: Outcome.failure(WorkerLost())})
        if data:
            item = items[ref.only]
            letter = DeadLetter(
                member=ref.member,
                lane=lane,
                job_id=ref.job_id,
                index=item.index,
                name=item.name,
                owner=owner,
                at=time.time(),
            )
            pipe.hset(keys.DEAD_LETTERS, ref.member, json.dumps(asdict(letter)))
            pipe.set(keys.dead_image(ref.member), data, ex=self._ttl)
        written, *_ = pipe.execute()
        if not written:  # a slow worker came first: its outcome stands, and nothing is dead
            self._redis.hdel(keys.DEAD_LETTERS, ref.member)
            self._redis.delete(keys.dead_image(ref.member))
        self.dead_letters()  # forgets the expired: nobody may ever ask for the list
        return int(written)


def _letter(fields: dict[str, Any]) -> DeadLetter:
    return DeadLetter(**{**fields, "lane": Lane(fields["lane"])})
