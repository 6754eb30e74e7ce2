"""Records of jobs in Redis: the truth about them. Celery only delivers.

One writer for every key of a job. What must not come apart is one transaction or one script, so a
process may die between any two lines here: a job is stored whole or not at all, and an outcome is
written once. Times are Unix seconds of the caller's clock; machines are taken to run NTP.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from redis import Redis
from redis.client import Pipeline

from shared import keys
from shared.errors import JobNotFound
from shared.jobs import (
    PART_SIZE,
    Item,
    ItemState,
    Job,
    JobState,
    Lane,
    NewItem,
    NewJob,
    Outcome,
    PartRef,
)
from shared.message import message, packed

_Fields = dict[Any, Any]  #: Of a hash, as redis-py takes them.

_LUA = Path(__file__).parent / "lua"


#: Starts of a part, and then of a suspect image alone, before it is given up on.
MAX_ATTEMPTS = 2


def new_job_id() -> str:
    """Random: whoever knows it may read the job."""
    return uuid.uuid4().hex


class Accepted(NamedTuple):
    """What there is, with what has just been accepted."""

    images: int  #: Outstanding in the lane.
    bytes_held: int  #: Of the images of both lanes.


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
        # Sent whole each time: a kilobyte on loopback, and no NOSCRIPT after a Redis restart.
        self._start_script = (_LUA / "start.lua").read_text()
        self._commit_script = (_LUA / "commit.lua").read_text()

    # The web process

    def accept(self, jobs: Sequence[NewJob]) -> Accepted | None:
        """Store jobs of one lane with their images and queue their parts; all of it or nothing.

        One transaction: whoever dies, and whenever, there is no part that is stored and not
        queued. Where it raises, nothing may be told to be accepted. Gives None where no image
        needs a worker.
        """
        now = time.time()
        lane = jobs[0].lane
        pipe = self._redis.pipeline(transaction=True)
        refs: list[PartRef] = []
        held: _Fields = {}
        for job in jobs:
            for ref in self._add_job(pipe, job, now):
                refs.append(ref)
                held[keys.part(job.id, ref.number)] = job.pending_bytes(ref.number)
        if not refs:
            pipe.execute()
            return None
        deadline = now + self._deadline
        pipe.zadd(keys.outstanding(lane), {ref.member: deadline for ref in refs})
        pipe.lpush(keys.queue(lane), *(message(lane, each) for each in packed(refs)))
        pipe.hset(keys.HELD, mapping=held)
        pipe.hincrby(keys.HELD, "total", sum(held.values()))
        pipe.incrby(keys.outstanding_images(lane), sum(ref.images for ref in refs))
        *_, bytes_held, images = pipe.execute()
        return Accepted(images, bytes_held)

    def _add_job(self, pipe: Pipeline, job: NewJob, now: float) -> list[PartRef]:
        """Write a job and its parts; gives those that need a worker."""
        key = keys.job(job.id)
        pipe.hset(key, mapping=_job_fields(job, now, self._ttl))
        pipe.expire(key, 2 * self._ttl)
        refs = []
        for start in range(0, len(job.items), PART_SIZE):
            items = job.items[start : start + PART_SIZE]
            pending = sum(item.outcome is None for item in items)
            refs.append(PartRef(job.id, start // PART_SIZE, pending))
            self._add_part(pipe, refs[-1], items, job.top_k, now)
        return [ref for ref in refs if ref.images]

    def _add_part(
        self, pipe: Pipeline, ref: PartRef, items: Sequence[NewItem], top_k: int, now: float
    ) -> None:
        spec = {
            "top_k": top_k,
            "accepted_at": now,
            "items": [[item.name, item.custom_id, item.digest] for item in items],
        }
        fields: _Fields = {"spec": json.dumps(spec), "pending": ref.images}
        for k, item in enumerate(items):
            if item.outcome:
                fields[f"r{k}"] = item.outcome.to_json()
        key = keys.part(ref.job_id, ref.number)
        pipe.hset(key, mapping=fields)
        # Records outlive the images by a whole time to live: an image that waited too long still
        # ends as an item with an error that its owner can read.
        pipe.expire(key, 2 * self._ttl)
        if ref.images:
            key = keys.images(ref.job_id, ref.number)
            data: _Fields = {k: item.data for k, item in enumerate(items) if not item.outcome}
            pipe.hset(key, mapping=data)
            pipe.expire(key, self._ttl)

    def get(self, job_id: str) -> Job:
        """A job's record. Raises JobNotFound."""
        fields = self._redis.hgetall(keys.job(job_id))
        if not fields:
            raise JobNotFound
        return _job(job_id, {_text(name): _text(value) for name, value in fields.items()})

    def items(self, job_id: str, start: int, stop: int) -> list[Item]:
        """Items `start` to `stop` - 1 in input order, as many as there are; one round trip."""
        first = start // PART_SIZE
        pipe = self._redis.pipeline(transaction=False)
        for number in range(first, -(-stop // PART_SIZE)):
            pipe.hgetall(keys.part(job_id, number))
        items: list[Item] = []
        for number, fields in enumerate(pipe.execute(), first):
            items += _items(number * PART_SIZE, fields)
        return [item for item in items if start <= item.index < stop]

    def part_items(self, job_id: str, number: int) -> list[Item]:
        """The items of one part; none where it has expired."""
        fields: Any = self._redis.hgetall(keys.part(job_id, number))
        return _items(number * PART_SIZE, fields)

    def backlog(self, lane: Lane) -> Backlog:
        """How much a lane has outstanding; one round trip."""
        pipe = self._redis.pipeline(transaction=False)
        pipe.zcard(keys.outstanding(lane))
        pipe.get(keys.outstanding_images(lane))
        pipe.zrange(keys.outstanding(lane), 0, 0, withscores=True)
        parts, images, oldest = pipe.execute()
        return Backlog(parts, int(images or 0), oldest[0][1] if oldest else None)

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
                5,
                keys.job(ref.job_id),
                keys.part(ref.job_id, ref.number),
                keys.outstanding(lane),
                keys.outstanding_images(lane),
                keys.HELD,
                now,
                now + self._deadline,
                ref.member,
                ref.images,
                ref.attempts_field,
                MAX_ATTEMPTS,
                "" if ref.only is None else f"r{ref.only}",
            )
            pipe.hgetall(keys.images(ref.job_id, ref.number))
        replies = pipe.execute()
        return [
            _part_work(ref, record, images)
            for ref, record, images in zip(refs, replies[::2], replies[1::2], strict=True)
            if record
        ]

    def commit(
        self, pipe: Pipeline, ref: PartRef, lane: Lane, outcomes: Mapping[int, Outcome]
    ) -> None:
        """Add a part's outcomes, by position, to a round trip; each takes effect at most once."""
        version = next((o.model_version for o in outcomes.values() if o.model_version), "")
        kind = "whole" if ref.only is None else "single"
        now = time.time()
        arguments: list[str | float] = [
            now, ref.member, ref.job_id, version, self._ttl, keys.COMMITTED, kind
        ]  # fmt: skip
        for position, outcome in outcomes.items():
            arguments += [f"r{position}", outcome.state, outcome.to_json()]
        pipe.eval(
            self._commit_script,
            7,
            keys.job(ref.job_id),
            keys.part(ref.job_id, ref.number),
            keys.images(ref.job_id, ref.number),
            keys.outstanding(lane),
            keys.outstanding_images(lane),
            keys.HELD,
            keys.drained(lane, int(now)),
            *arguments,
        )


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _job_fields(job: NewJob, now: float, ttl: int) -> _Fields:
    known = [item.outcome for item in job.items if item.outcome]
    succeeded = [outcome for outcome in known if outcome.state is ItemState.SUCCEEDED]
    fields: _Fields = {
        "owner": job.owner,
        "lane": job.lane,
        "top_k": job.top_k,
        "total": len(job.items),
        "parts": -(-len(job.items) // PART_SIZE),
        "state": JobState.QUEUED,
        "succeeded": len(succeeded),
        "failed": len(known) - len(succeeded),
        "cached": len(succeeded),
        "created_at": now,
        "expires_at": now + ttl,
    }
    if succeeded and succeeded[-1].model_version:
        fields["model_version"] = succeeded[-1].model_version
    if not job.pending:
        fields |= {"state": JobState.COMPLETED, "started_at": now, "finished_at": now}
    return fields


def _job(job_id: str, fields: Mapping[str, str]) -> Job:
    started, finished = fields.get("started_at"), fields.get("finished_at")
    return Job(
        id=job_id,
        owner=fields["owner"],
        lane=Lane(fields["lane"]),
        state=JobState(fields["state"]),
        top_k=int(fields["top_k"]),
        total=int(fields["total"]),
        succeeded=int(fields["succeeded"]),
        failed=int(fields["failed"]),
        cached=int(fields["cached"]),
        model_version=fields.get("model_version") or None,
        created_at=float(fields["created_at"]),
        started_at=float(started) if started else None,
        finished_at=float(finished) if finished else None,
        expires_at=float(fields["expires_at"]),
    )


def _items(first: int, fields: Mapping[bytes, bytes]) -> list[Item]:
    if not fields:
        return []
    items = []
    for k, (name, custom_id, _) in enumerate(json.loads(fields[b"spec"])["items"]):
        text = fields.get(b"r%d" % k)
        outcome = Outcome.from_json(text) if text else None
        items.append(Item(index=first + k, name=name, custom_id=custom_id, outcome=outcome))
    return items


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
        attempt=int(fields[ref.attempts_field.encode()]),
        digests=todo,
        images={int(k): data for k, data in images.items()},
    )
