"""Submitting jobs: the web process stores a job with its images and queues its parts.

Each method stores all of it, or nothing: one transaction or one script does it. So the process may
die between any two lines, and no part is stored without being queued. If a method raises, the
caller must not answer that the job was accepted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from redis import Redis
from redis.client import Pipeline
from redis.exceptions import WatchError

from shared import clock, keys
from shared.errors import JobClosed, JobNotFound, PartConflict, TooManyOpenJobs, Unavailable
from shared.jobs import PART_SIZE, Job, Lane, NewItem, NewJob, OpenJob, PartRef, parts_of
from shared.message import message, packed
from shared.records import codec, footprint
from shared.records.accounts import account
from shared.records.accounts.account import Entry
from shared.records.claims import AlreadyClaimed, Claim, begin, claimed
from shared.records.fairness import rounds
from shared.records.listing import owned_jobs
from shared.records.scripts import Script
from shared.records.images import Note, deleted_if_refused, note_nothing, staged_keys, store_images
from shared.records.open_jobs.staging import StagedPart
from shared.records.open_jobs.stored_part import stored_part

#: `Retry-After` of a client that has too many open jobs.
_OPEN_JOBS_RETRY_SECONDS = 10

_MAY_OPEN = Script("open_jobs/may_open")
_Sizes = Mapping[PartRef, int]  #: The bytes of each part's images.

_PUT_PART = Script("open_jobs/put_part")


class Accepted(NamedTuple):
    """The lane's totals, with the images that were just accepted."""

    images: int  #: Outstanding in the lane.
    bytes_held: int  #: Of the images of both lanes.
    new_bytes: int  #: Of the images that were just accepted.


class PutPart(NamedTuple):
    """The result of `put_part`."""

    is_new: bool  #: False if the same part was stored before.
    missing_parts: int  #: Of the job.
    accepted: Accepted | None  #: None if nothing was stored.


class JobSubmitter:
    def __init__(
        self,
        redis: Redis,
        *,
        ttl_seconds: int,
        deadline_seconds: int,
        max_open_jobs: int,
        max_open_images: int,
    ) -> None:
        self._redis = redis
        self._ttl = ttl_seconds
        self._deadline = deadline_seconds
        self._max_open_jobs = max_open_jobs
        self._max_open_images = max_open_images

    def accept(
        self, jobs: Sequence[NewJob], claim: Claim | None = None, *, at_once: bool = False
    ) -> Accepted | None:
        """Store jobs of one lane with their images, in one transaction.

        Their parts wait for their rounds, or are queued `at_once`. `stage` may have stored images
        of many bytes. Gives None if no image needs a worker. A claim is for a single job. Raises
        AlreadyClaimed if the claim's job exists, IdempotencyKeyReused, and Unavailable if staged
        images have expired.
        """
        now = clock.now(self._redis)
        lane = jobs[0].lane
        pipe = begin(self._redis, claim, jobs[0].id, ttl=self._ttl, needed=staged_keys(jobs))
        entries: dict[PartRef, Entry] = {}
        for job in jobs:
            entries |= self._add_job(pipe, job, now, claim)
        self._list(pipe, jobs, now)
        sizes = {ref: entry.size for ref, entry in entries.items() if ref.images}
        deadline, clients = now + self._deadline, {job.id: job.client for job in jobs}
        for version, of_version in _by_version(jobs, sizes).items():
            if at_once:
                _queue(pipe, lane, of_version, deadline, version)
            else:
                rounds.join(pipe, lane, of_version, clients, deadline=deadline, version=version)
        counted = len(pipe.command_stack)
        account.accept(pipe, lane, entries.values(), now=now, ttl=self._ttl)
        replies = self._execute(pipe, claim)[:counted]
        if not sizes:
            return None
        images, bytes_held = replies[-2:] if at_once else replies[-1]
        return Accepted(images, bytes_held, sum(sizes.values()))

    def open(self, job: OpenJob, claim: Claim | None = None) -> None:
        """Store a job whose parts are still to come.

        Raises as `accept` does, and TooManyOpenJobs if its client has too many. Requests at the
        same moment may pass that limit by their number.
        """
        open_jobs = keys.open_jobs(job.client)
        if not _MAY_OPEN(
            self._redis,
            open_jobs=open_jobs,
            images=job.total,
            most_jobs=self._max_open_jobs,
            most_images=self._max_open_images,
        ):
            raise TooManyOpenJobs(retry_after_seconds=_OPEN_JOBS_RETRY_SECONDS)
        now = clock.now(self._redis)
        pipe = begin(self._redis, claim, job.id, ttl=self._ttl)
        fields = codec.open_job_fields(job, now, self._ttl)
        pipe.hset(keys.job(job.id), mapping=fields)
        pipe.expire(keys.job(job.id), 2 * self._ttl)
        pipe.setbit(keys.parts(job.id), parts_of(job.total) - 1, 0)
        pipe.expire(keys.parts(job.id), 2 * self._ttl)
        owned_jobs.add(pipe, job.owner, [job.id], now=now, ttl=self._ttl)
        pipe.hset(open_jobs, job.id, job.total)
        pipe.expire(open_jobs, 2 * self._ttl)
        kept = footprint.kept_of_job(fields, claim and claim.name, job.total)
        entry = Entry(keys.job(job.id), "", job.client, kept=kept)
        account.accept(pipe, job.lane, [entry], now=now, ttl=self._ttl)
        self._execute(pipe, claim)

    def put_part(
        self,
        job: Job,
        number: int,
        items: Iterable[NewItem],
        trace: str = "",
        *,
        client: str = "",
        version: str = "",
        note: Note = note_nothing,
    ) -> PutPart:
        """Store a part of an open job and queue it. Repeating the call is harmless.

        It counts in the account of `client`, which has sent it. `version` names the queue, and
        becomes the job's model version if it has none yet.
        `items` is read once and in order. If it is a generator, only a few megabytes of images are
        in memory at a time. Raises JobNotFound, JobClosed, PartConflict if other pictures are
        stored as this part, and Unavailable if reading `items` took minutes.
        """
        if stored := stored_part(self._redis, job, number):
            return _put_part("stored", stored, [item.digest for item in items])
        staged = StagedPart(self._redis, job, trace, note)
        # If the script accepts the part, it gives these keys other names.
        with deleted_if_refused(self._redis, staged.key, staged.images_key):
            for item in items:
                staged.add(item)
            ref = PartRef(job.id, number, staged.pending)
            pipe = staged.rest()
            now = clock.now(self._redis)  # the upload may have taken minutes
            _PUT_PART(
                pipe,
                [[number * PART_SIZE + k] for k in staged.finished],
                job=keys.job(job.id),
                part=keys.part(job.id, number),
                images=keys.images(job.id, number),
                staged=staged.key,
                staged_images=staged.images_key,
                outstanding_images=keys.outstanding_images(job.lane),
                held=keys.HELD,
                queue=keys.queue(job.lane, version),
                parts=keys.parts(job.id),
                finished=keys.finished(job.id),
                job_id=job.id,
                number=number,
                member=ref.member,
                message=message(job.lane, [ref], version=version, client=client),
                item_count=len(staged.items),
                pending=staged.pending,
                bytes=staged.bytes,
                succeeded=staged.succeeded,
                failed=staged.failed,
                model_version=version or staged.model_version or "",
                now=now,
                deadline=now + self._deadline,
                ttl=self._ttl,
                client=client,
                lane=job.lane,
                kept=staged.kept,
                **account.times(now, self._ttl),
            )
            *_, (word, *reply) = pipe.execute()
            digests = [item.digest for item in staged.items]
            return _put_part(codec.text(word), reply, digests, staged.bytes)

    def _execute(self, pipe: Pipeline, claim: Claim | None) -> list[Any]:
        try:
            return pipe.execute()
        except WatchError as error:  # another request with the same key was faster
            if earlier := claim and claimed(self._redis, claim):
                raise AlreadyClaimed(earlier) from error
            raise Unavailable from error

    def _list(self, pipe: Pipeline, jobs: Sequence[NewJob], now: float) -> None:
        """Add jobs to the lists of their owners, with a few commands for each owner."""
        by_owner: dict[str, list[str]] = {}
        for job in jobs:
            if job.listed:
                by_owner.setdefault(job.owner, []).append(job.id)
        for owner, job_ids in by_owner.items():
            owned_jobs.add(pipe, owner, job_ids, now=now, ttl=self._ttl)

    def _add_job(
        self, pipe: Pipeline, job: NewJob, now: float, claim: Claim | None
    ) -> dict[PartRef, Entry]:
        """Add a job and its parts to a transaction; gives the parts."""
        key, seconds = keys.job(job.id), self._seconds(job)
        fields = codec.job_fields(job, now, self._ttl)
        pipe.hset(key, mapping=fields)
        pipe.expire(key, seconds)
        if job.webhook and not job.pending:
            pipe.zadd(keys.WEBHOOKS_DUE, {job.id: now})
        finished = [k for k, item in enumerate(job.items) if item.outcome]
        if finished and len(job.items) > 1:
            pipe.rpush(keys.finished(job.id), *finished)
            pipe.expire(keys.finished(job.id), seconds)
        entries = {}
        for start in range(0, len(job.items), PART_SIZE):
            items = job.items[start : start + PART_SIZE]
            ref = PartRef(job.id, start // PART_SIZE, sum(not item.outcome for item in items))
            kept = self._add_part(pipe, ref, items, job, now)
            entries[ref] = Entry(
                key,
                keys.part(job.id, ref.number),
                job.client,
                len(items),
                ref.images,
                job.pending_bytes(ref.number),
                kept + (0 if start else footprint.kept_of_job(fields, claim and claim.name)),
            )
        return entries

    def _add_part(
        self, pipe: Pipeline, ref: PartRef, items: Sequence[NewItem], job: NewJob, now: float
    ) -> int:
        """Add a part to a transaction; gives the bytes of its record, about."""
        key = keys.part(ref.job_id, ref.number)
        fields = codec.part_fields(items, job.top_k, now, job.trace, job)
        pipe.hset(key, mapping=fields)
        pipe.expire(key, self._seconds(job))
        if ref.images:
            data = {k: one.data for k, one in enumerate(items) if not (one.outcome or one.stored)}
            store_images(pipe, keys.images(ref.job_id, ref.number), data, self._ttl)
        return footprint.kept_of_part(fields, thumbnails=job.thumbnails)

    def _seconds(self, job: NewJob) -> int:
        """How long the records of a new job live, unless it ends earlier."""
        # Twice as long as images: one that waited too long still becomes an item with an error.
        return 2 * self._ttl if job.pending else self._ttl


def _by_version(jobs: Sequence[NewJob], sizes: _Sizes) -> dict[str, dict[PartRef, int]]:
    """The parts for each model version. Jobs that are accepted together mostly have the same."""
    versions = {job.id: job.model_version for job in jobs}
    by_version: dict[str, dict[PartRef, int]] = {}
    for ref, size in sizes.items():
        by_version.setdefault(versions[ref.job_id], {})[ref] = size
    return by_version


def _queue(pipe: Pipeline, lane: Lane, sizes: _Sizes, deadline: float, version: str) -> None:
    """Add parts to a transaction that stores them; its last two replies are those of Accepted."""
    pipe.zadd(keys.outstanding(lane), {ref.member: deadline for ref in sizes})
    messages = (message(lane, each, version=version) for each in packed(sizes))
    pipe.lpush(keys.queue(lane, version), *messages)
    held: codec.Fields = {keys.part(ref.job_id, ref.number): size for ref, size in sizes.items()}
    pipe.hset(keys.HELD, mapping=held)
    pipe.incrby(keys.outstanding_images(lane), sum(ref.images for ref in sizes))
    pipe.hincrby(keys.HELD, "total", sum(sizes.values()))


def _put_part(word: str, reply: list[Any], digests: list[str], size: int = 0) -> PutPart:
    """The script's reply. Raises JobNotFound, JobClosed, PartConflict, Unavailable."""
    if word == "unknown":
        raise JobNotFound
    if word == "closed":
        raise JobClosed
    if word == "lost":
        raise Unavailable("The part took too long to arrive. Send it again.")
    if word == "stored":
        missing_parts, spec = reply
        if codec.digests(spec) != digests:
            raise PartConflict
        return PutPart(False, missing_parts, None)
    missing_parts, images, bytes_held = reply
    return PutPart(True, missing_parts, Accepted(images, bytes_held, size))
