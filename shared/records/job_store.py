"""Records of jobs in Redis: the truth about them. Celery only delivers.

One writer for every key of a job. What must not come apart is one transaction or one script, so a
process may die between any two lines here: a job is stored whole or not at all, and an outcome is
written once. Times are Unix seconds of the caller's clock; machines are taken to run NTP.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeVar

from redis import Redis
from redis.client import Pipeline
from redis.exceptions import WatchError

from shared import keys
from shared.records import fairness
from shared.records.claims import AlreadyClaimed, Claim, begin, claimed
from shared.errors import JobClosed, JobNotFound, PartConflict, Unavailable
from shared.jobs import (
    PART_SIZE,
    Item,
    ItemState,
    Job,
    JobState,
    Lane,
    NewItem,
    NewJob,
    OpenJob,
    Outcome,
    PartRef,
    part_size,
    parts_of,
)
from shared.message import message, packed
from shared.records.scripts import script

T = TypeVar("T")

_Fields = dict[Any, Any]  #: Of a hash, as redis-py takes them.

#: Bytes of images that are sent in one round trip; Redis has a second for it.
_STAGED_AT_ONCE = 8 * 2**20

#: A part that is not taken in by then never will be.
_STAGED_SECONDS = 120

#: Parts of a cancelled job that are released in one script: a few milliseconds of Redis's time.
_RELEASED_AT_ONCE = 100

#: Starts of a part, and then of a suspect image alone, before it is given up on.
MAX_ATTEMPTS = 2


def new_job_id() -> str:
    """Random: whoever knows it may read the job."""
    return uuid.uuid4().hex


class Accepted(NamedTuple):
    """What there is, with what has just been accepted."""

    images: int  #: Outstanding in the lane.
    bytes_held: int  #: Of the images of both lanes.


class PutPart(NamedTuple):
    """What became of a part."""

    is_new: bool  #: False where the same was here already.
    missing_parts: int
    accepted: Accepted | None  #: None where nothing was.


class Backlog(NamedTuple):
    """What a lane has accepted and not yet committed."""

    parts: int
    images: int
    oldest_deadline: float | None  #: Unix seconds.


@dataclass(frozen=True, kw_only=True)
class PartWork:
    """A part as a worker gets it."""

    ref: PartRef
    top_k: int
    accepted_at: float  #: Unix seconds.
    trace: str  #: `traceparent` of the request that brought it.
    attempt: int  #: 1 at the first.
    digests: Mapping[int, str]  #: Position in the part -> digest, of the items still to do.
    images: Mapping[int, bytes]  #: Position -> bytes; a missing one has expired.


class JobStore:
    def __init__(
        self, redis: Redis, *, result_ttl_seconds: int, part_deadline_seconds: int
    ) -> None:
        self._redis = redis
        self._ttl = result_ttl_seconds
        self._deadline = part_deadline_seconds
        self._start_script = script("records", "start")
        self._commit_script = script("records", "commit")
        self._put_part_script = script("records", "turns", "put_part")
        self._cancel_script = script("records", "cancel")
        self._abandon_script = script("records", "abandon", "cancel")
        self._release_script = script("records", "release")

    # The web process

    def accept(self, jobs: Sequence[NewJob], claim: Claim | None = None) -> Accepted | None:
        """Store jobs of one lane with their images and queue their parts; all of it or nothing.

        One transaction: whoever dies, and whenever, there is no part that is stored and not
        queued. Where it raises, nothing may be told to be accepted. Gives None where no image
        needs a worker. With a claim, which is for one job, raises AlreadyClaimed where the job
        exists, and IdempotencyKeyReused.
        """
        now = time.time()
        lane = jobs[0].lane
        pipe = begin(self._redis, claim, jobs[0].id, ttl=self._ttl)
        sizes = {
            ref: job.pending_bytes(ref.number)
            for job in jobs
            for ref in self._add_job(pipe, job, now)
        }
        if not sizes:
            self._execute(pipe, claim)
            return None
        deadline = now + self._deadline
        if lane in fairness.FAIR:
            fairness.join(pipe, lane, sizes, deadline=deadline)
            *_, (images, bytes_held) = self._execute(pipe, claim)
        else:
            _queue(pipe, lane, sizes, deadline)
            *_, images, bytes_held = self._execute(pipe, claim)
        return Accepted(images, bytes_held)

    def _execute(self, pipe: Pipeline, claim: Claim | None) -> list[Any]:
        try:
            return pipe.execute()
        except WatchError as error:  # another request with the same key was faster
            if earlier := claim and self.claimed(claim):
                raise AlreadyClaimed(earlier) from error
            raise Unavailable from error

    def claimed(self, claim: Claim) -> str | None:
        """Id of the job that was made with a claim, if any. Raises IdempotencyKeyReused."""
        return claimed(self._redis, claim)

    def _add_job(self, pipe: Pipeline, job: NewJob, now: float) -> list[PartRef]:
        """Write a job and its parts; gives those that need a worker."""
        key = keys.job(job.id)
        pipe.hset(key, mapping=_job_fields(job, now, self._ttl))
        pipe.expire(key, 2 * self._ttl)
        if job.webhook and not job.pending:
            pipe.zadd(keys.WEBHOOKS_DUE, {job.id: now})
        known = [k for k, item in enumerate(job.items) if item.outcome]
        if known and len(job.items) > 1:
            pipe.rpush(keys.finished(job.id), *known)
            pipe.expire(keys.finished(job.id), 2 * self._ttl)
        refs = []
        for start in range(0, len(job.items), PART_SIZE):
            items = job.items[start : start + PART_SIZE]
            pending = sum(item.outcome is None for item in items)
            refs.append(PartRef(job.id, start // PART_SIZE, pending))
            self._add_part(pipe, refs[-1], items, job, now)
        return [ref for ref in refs if ref.images]

    def _add_part(
        self, pipe: Pipeline, ref: PartRef, items: Sequence[NewItem], job: NewJob, now: float
    ) -> None:
        key = keys.part(ref.job_id, ref.number)
        pipe.hset(key, mapping=_part_fields(items, job.top_k, now, job.trace))
        # Records outlive the images by a whole time to live: an image that waited too long still
        # ends as an item with an error that its owner can read.
        pipe.expire(key, 2 * self._ttl)
        if ref.images:
            data = {k: item.data for k, item in enumerate(items) if not item.outcome}
            _store_images(pipe, keys.images(ref.job_id, ref.number), data, self._ttl)

    def open(self, job: OpenJob, claim: Claim | None = None) -> None:
        """Store a job whose parts are still to come. Raises as `accept` does."""
        now = time.time()
        pipe = begin(self._redis, claim, job.id, ttl=self._ttl)
        pipe.hset(keys.job(job.id), mapping=_open_job_fields(job, now, self._ttl))
        pipe.expire(keys.job(job.id), 2 * self._ttl)
        pipe.setbit(keys.parts(job.id), parts_of(job.total) - 1, 0)
        pipe.expire(keys.parts(job.id), 2 * self._ttl)
        self._execute(pipe, claim)

    def put_part(self, job: Job, number: int, items: Iterable[NewItem], trace: str = "") -> PutPart:
        """Store a part of an open job and queue it; all of it, or nothing.

        Repeating it is harmless. `items` is read once and in order: where it makes them as they
        are asked for, no more than a few megabytes of images are in memory at a time. Raises
        JobNotFound, JobClosed, PartConflict where other pictures are stored as this part, and
        Unavailable where `items` took minutes.
        """
        staged = _StagedPart(self._redis, job, trace)
        for item in items:
            staged.add(item)
        ref = PartRef(job.id, number, staged.pending)
        fair = (keys.waiting(job.lane), keys.turn(job.lane)) if job.lane in fairness.FAIR else ()
        pipe = staged.rest()
        pipe.eval(
            self._put_part_script,
            11 + len(fair),
            keys.job(job.id),
            keys.part(job.id, number),
            keys.images(job.id, number),
            *staged.keys,
            keys.outstanding(job.lane),
            keys.outstanding_images(job.lane),
            keys.HELD,
            keys.queue(job.lane),
            keys.parts(job.id),
            keys.finished(job.id),
            *fair,
            staged.now,
            staged.now + self._deadline,
            self._ttl,
            keys.COMMITTED,
            job.id,
            number,
            len(staged.items),
            ref.images,
            staged.bytes,
            ref.member,
            message(job.lane, [ref]),
            *staged.counts(first=number * PART_SIZE),
        )
        *_, (word, *reply) = pipe.execute()
        return _put_part(_text(word), reply, [item.digest for item in staged.items])

    def digests(self, job_id: str, number: int) -> list[str] | None:
        """Digests of the pictures that are stored as a part, in order; None where it is missing."""
        spec: Any = self._redis.hget(keys.part(job_id, number), "spec")
        return _digests(spec) if spec else None

    def missing_parts(self, job_id: str) -> list[int]:
        """Numbers of the parts that an open job still waits for. Raises JobNotFound."""
        pipe = self._redis.pipeline(transaction=True)
        pipe.hmget(keys.job(job_id), "total", "received")
        pipe.get(keys.parts(job_id))
        (total, received), bitmap = pipe.execute()
        if not total:
            raise JobNotFound
        if received is None:
            return []
        here = (byte >> (7 - bit) & 1 for byte in bitmap or b"" for bit in range(8))
        return [n for n, bit in zip(range(parts_of(int(total))), here, strict=False) if not bit]

    def cancel(self, job_id: str) -> bool:
        """End a job where it stands; False where it has ended already. Raises JobNotFound.

        From the first step on no outcome is added. Who dies after it leaves parts outstanding
        that hold room and memory until a worker comes to start on them, and finds them cancelled.
        """
        return self._end(self._cancel_script, job_id)

    def abandon(self, job_id: str, claim: Claim | None) -> bool:
        """Cancel a job that nobody has been told of, and never will be; False where it is whole.

        Its webhook and its claim go in the same step: the same request again makes another job.
        One that is whole was accepted, for another request with the same claim. Raises JobNotFound.
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
        job = self.get(job_id)
        if job.state is JobState.CANCELLED:  # also where another has cancelled it, and died
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

    def get(self, job_id: str) -> Job:
        """A job's record. Raises JobNotFound."""
        fields = self._redis.hgetall(keys.job(job_id))
        if not fields:
            raise JobNotFound
        return _job(job_id, {_text(name): _text(value) for name, value in fields.items()})

    def items(self, job_id: str, start: int, stop: int) -> list[Item]:
        """Items `start` to `stop` - 1 in input order, as many as there are; one round trip."""
        numbers = range(start // PART_SIZE, parts_of(stop))
        pipe = self._redis.pipeline(transaction=False)
        pipe.hmget(keys.job(job_id), "total", "state")
        for number in numbers:
            pipe.hgetall(keys.part(job_id, number))
        (total, state), *parts = pipe.execute()
        if not total:
            return []
        state = _text(state)
        items: list[Item] = []
        for number, fields in zip(numbers, parts, strict=True):
            items += _items(number, fields, _undone(state)) or _missing(number, int(total), state)
        return [item for item in items if start <= item.index < stop]

    def items_at(self, job_id: str, indexes: Sequence[int]) -> list[Item]:
        """Items by index, in the order that is asked for; one round trip. Raises JobNotFound."""
        asked: dict[int, set[int]] = {}
        for index in indexes:
            asked.setdefault(index // PART_SIZE, set()).add(index % PART_SIZE)
        pipe = self._redis.pipeline(transaction=False)
        pipe.hmget(keys.job(job_id), "total", "state")
        names = {n: ["spec", *(f"r{k}" for k in positions)] for n, positions in asked.items()}
        for number, fields in names.items():
            pipe.hmget(keys.part(job_id, number), fields)
        (total, state), *replies = pipe.execute()
        if not total:
            raise JobNotFound
        state = _text(state)
        found: dict[int, Item] = {}
        for (number, fields), values in zip(names.items(), replies, strict=True):
            known = {k.encode(): v for k, v in zip(fields, values, strict=True) if v}
            of_part = _items(number, known, _undone(state)) or _missing(number, int(total), state)
            found |= {item.index: item for item in of_part}
        return [found[index] for index in indexes if index in found]

    def finished(self, job_id: str, start: int, stop: int) -> list[int]:
        """Indexes of the `start`-th to the `stop` - 1-th item that finished, in that order.

        An item that was tried again after a failure is told again.
        """
        pipe = self._redis.pipeline(transaction=False)
        pipe.lrange(keys.finished(job_id), start, stop - 1)
        pipe.hmget(keys.job(job_id), "total", "succeeded", "failed")
        told, (total, succeeded, failed) = pipe.execute()
        if total and int(total) == 1:  # has no list: the hot path is spared two commands
            return [0][: int(succeeded) + int(failed)][start:stop]
        return [int(index) for index in told]

    def part_items(self, job_id: str, number: int) -> list[Item]:
        """The items of one part; none where it has expired."""
        fields: Any = self._redis.hgetall(keys.part(job_id, number))
        return _items(number, fields, ItemState.QUEUED)

    def backlog(self, lane: Lane) -> Backlog:
        """How much a lane has outstanding; one round trip."""
        pipe = self._redis.pipeline(transaction=False)
        pipe.zcard(keys.outstanding(lane))
        pipe.get(keys.outstanding_images(lane))
        pipe.zrange(keys.outstanding(lane), 0, 0, withscores=True)
        least = time.time() + fairness.WAITING_SECONDS / 2
        pipe.zrangebyscore(keys.outstanding(lane), least, "+inf", 0, 1, withscores=True)
        parts, images, queued, waiting = pipe.execute()
        deadlines = [score for _, score in queued if score < least]
        deadlines += [score - fairness.WAITING_SECONDS for _, score in waiting]
        return Backlog(parts, int(images or 0), min(deadlines, default=None))

    # A pool process

    def start(self, refs: Sequence[PartRef], lane: Lane) -> list[PartWork]:
        """Begin work on parts: their records and images, in one round trip.

        A part that has been committed meanwhile, by another delivery, is left out.
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
        """Queue the parts whose turn it is, as each start does: should their messages be lost."""
        if lane in fairness.FAIR:
            pipe = self._redis.pipeline(transaction=False)
            fairness.feed(pipe, lane, deadline=time.time() + self._deadline, taken=0)
            pipe.execute()

    def commit(
        self, pipe: Pipeline, ref: PartRef, lane: Lane, outcomes: Mapping[int, Outcome]
    ) -> None:
        """Add a part's outcomes, by position, to a round trip; each takes effect at most once."""
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


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


class _StagedPart:
    """A part on its way in: beside the records, until a script takes it in whole.

    As arguments of the script the images would be copied three times, and all of a part at once
    may be too much for one round trip. Who dies here leaves keys that are soon gone.
    """

    def __init__(self, redis: Redis, job: Job, trace: str) -> None:
        self._redis = redis
        self._trace = trace
        self._top_k = job.top_k
        self._waiting: dict[int, bytes] = {}  # images that have not been sent
        self._waiting_bytes = 0
        self.now = time.time()
        token = uuid.uuid4().hex
        self.keys = (keys.staged(token), keys.staged_images(token))
        self.items: list[NewItem] = []  #: Without their images.
        self.pending = 0
        self.bytes = 0

    def add(self, item: NewItem) -> None:
        if not item.outcome:
            self._waiting[len(self.items)] = item.data
            self._waiting_bytes += len(item.data)
            self.bytes += len(item.data)
            self.pending += 1
        self.items.append(replace(item, data=b""))
        if self._waiting_bytes > _STAGED_AT_ONCE:
            pipe = self._redis.pipeline(transaction=True)
            self._send(pipe)
            pipe.execute()

    def rest(self) -> Pipeline:
        """A transaction with all that has not been sent."""
        pipe = self._redis.pipeline(transaction=True)
        fields = _part_fields(self.items, self._top_k, self.now, self._trace)
        pipe.hset(self.keys[0], mapping=fields)
        pipe.expire(self.keys[0], _STAGED_SECONDS)
        self._send(pipe)
        return pipe

    def counts(self, first: int) -> list[str | int]:
        """The known items as the script takes them: counts, model version, indexes."""
        known = {k: item.outcome for k, item in enumerate(self.items, first) if item.outcome}
        succeeded = [each for each in known.values() if each.state is ItemState.SUCCEEDED]
        version = succeeded[-1].model_version if succeeded else None
        return [len(succeeded), len(known) - len(succeeded), version or "", *known]

    def _send(self, pipe: Pipeline) -> None:
        if self._waiting:
            _store_images(pipe, self.keys[1], self._waiting, _STAGED_SECONDS)
        self._waiting, self._waiting_bytes = {}, 0


def _store_images(pipe: Pipeline, key: str, images: Mapping[int, bytes], seconds: int) -> None:
    """A command each: one of several megabytes is copied over and over, on both sides."""
    for position, data in images.items():
        pipe.hset(key, str(position), data)
    pipe.expire(key, seconds)


def _put_part(word: str, reply: list[Any], digests: list[str]) -> PutPart:
    """The script's answer. Raises JobNotFound, JobClosed, PartConflict, Unavailable."""
    if word == "unknown":
        raise JobNotFound
    if word == "closed":
        raise JobClosed
    if word == "lost":
        raise Unavailable("The part took too long to arrive; send it again.")
    if word == "stored":
        missing_parts, spec = reply
        if _digests(spec) != digests:
            raise PartConflict
        return PutPart(False, missing_parts, None)
    missing_parts, images, bytes_held = reply
    return PutPart(True, missing_parts, Accepted(images, bytes_held))


def _digests(spec: bytes) -> list[str]:
    return [digest for _, _, digest in json.loads(spec)["items"]]


def _part_fields(items: Sequence[NewItem], top_k: int, now: float, trace: str) -> _Fields:
    spec = {
        "top_k": top_k,
        "accepted_at": now,
        "trace": trace,
        "items": [[item.name, item.custom_id, item.digest] for item in items],
    }
    outcomes = {f"r{k}": item.outcome.to_json() for k, item in enumerate(items) if item.outcome}
    return {"spec": json.dumps(spec), "pending": len(items) - len(outcomes), **outcomes}


def _queue(pipe: Pipeline, lane: Lane, sizes: Mapping[PartRef, int], deadline: float) -> None:
    """Add parts, by the bytes they hold, to a transaction; it ends with what Accepted tells."""
    pipe.zadd(keys.outstanding(lane), {ref.member: deadline for ref in sizes})
    pipe.lpush(keys.queue(lane), *(message(lane, each) for each in packed(sizes)))
    held: _Fields = {keys.part(ref.job_id, ref.number): size for ref, size in sizes.items()}
    pipe.hset(keys.HELD, mapping=held)
    pipe.incrby(keys.outstanding_images(lane), sum(ref.images for ref in sizes))
    pipe.hincrby(keys.HELD, "total", sum(sizes.values()))


def _open_job_fields(job: OpenJob, now: float, ttl: int) -> _Fields:
    return {
        "owner": job.owner,
        "lane": job.lane,
        "top_k": job.top_k,
        "total": job.total,
        "state": JobState.RECEIVING,
        "received": 0,
        "succeeded": 0,
        "failed": 0,
        "cached": 0,
        "created_at": now,
        "expires_at": now + ttl,
        **_webhook(job),
    }


def _webhook(job: NewJob | OpenJob) -> _Fields:
    return {"webhook": job.webhook} if job.webhook else {}


def _job_fields(job: NewJob, now: float, ttl: int) -> _Fields:
    known = [item.outcome for item in job.items if item.outcome]
    succeeded = [outcome for outcome in known if outcome.state is ItemState.SUCCEEDED]
    fields: _Fields = {
        "owner": job.owner,
        "lane": job.lane,
        "top_k": job.top_k,
        "total": len(job.items),
        "state": JobState.QUEUED,
        "succeeded": len(succeeded),
        "failed": len(known) - len(succeeded),
        "cached": len(succeeded),
        "created_at": now,
        "expires_at": now + ttl,
        **_webhook(job),
    }
    if succeeded and succeeded[-1].model_version:
        fields["model_version"] = succeeded[-1].model_version
    if not job.pending:
        fields |= {"state": JobState.COMPLETED, "started_at": now, "finished_at": now}
    return fields


def _job(job_id: str, fields: Mapping[str, str]) -> Job:
    return Job(
        id=job_id,
        owner=fields["owner"],
        lane=Lane(fields["lane"]),
        state=JobState(fields["state"]),
        top_k=int(fields["top_k"]),
        total=int(fields["total"]),
        opened="received" in fields,
        received=int(fields.get("received", fields["total"])),
        succeeded=int(fields["succeeded"]),
        failed=int(fields["failed"]),
        cancelled=int(fields.get("cancelled", 0)),
        cached=int(fields["cached"]),
        model_version=fields.get("model_version") or None,
        created_at=float(fields["created_at"]),
        started_at=_number(fields.get("started_at"), float),
        finished_at=_number(fields.get("finished_at"), float),
        expires_at=float(fields["expires_at"]),
        first_turn=_number(fields.get("first_turn"), int),
        next_turn=_number(fields.get("next_turn"), int),
        first_due=_number(fields.get("first_due"), float),
        webhook=fields.get("webhook"),
    )


def _number(text: str | None, kind: Callable[[str], T]) -> T | None:
    return None if text is None else kind(text)


def _undone(state: str) -> ItemState:
    """State of an item without an outcome, in a job of this state."""
    return ItemState.CANCELLED if state == JobState.CANCELLED else ItemState.QUEUED


def _items(number: int, fields: Mapping[bytes, bytes], undone: ItemState) -> list[Item]:
    """A part's items from its record; none where there is no record."""
    if b"spec" not in fields:
        return []
    items = []
    for k, (name, custom_id, _) in enumerate(json.loads(fields[b"spec"])["items"]):
        text = fields.get(b"r%d" % k)
        outcome = Outcome.from_json(text) if text else None
        items.append(
            Item(
                index=number * PART_SIZE + k,
                name=name,
                custom_id=custom_id,
                outcome=outcome,
                state=outcome.state if outcome else undone,
            )
        )
    return items


def _missing(number: int, total: int, state: str) -> list[Item]:
    """Items of a part that is not here yet; none where it must have been and has expired."""
    if state == JobState.COMPLETED:
        return []
    undone = _undone(state)
    first = number * PART_SIZE
    return [
        Item(index=index, name="", custom_id=None, outcome=None, state=undone)
        for index in range(first, first + part_size(total, number))
    ]


def _part_work(ref: PartRef, record: list[bytes], images: Mapping[bytes, bytes]) -> PartWork:
    fields = dict(zip(record[::2], record[1::2], strict=True))
    spec = json.loads(fields[b"spec"])
    todo = {
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
        digests=todo,
        images={int(k): data for k, data in images.items()},
    )
