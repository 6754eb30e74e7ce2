"""A job from an uploaded archive: its members become the parts of an open job.

The archive is on disk. It is unpacked one part at a time, in a thread, so that other clients are
answered meanwhile. A part waits on disk too until it is stored. If the lane is full, the archive
waits for room, as long as a client may wait for anything. The client is not answered before all of
it is stored. If the process dies earlier, a job remains that no client knows; it expires.
"""

from __future__ import annotations

import hashlib
import logging
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import count, islice
from typing import IO

from redis.exceptions import RedisError

from shared.errors import (
    BadArchive,
    JobClosed,
    JobNotFound,
    NoFiles,
    Overloaded,
    TooManyOutstanding,
)
from shared.formats import HEAD_BYTES
from shared.jobs import PART_SIZE, Job, JobState, Lane, OpenJob, new_job_id
from shared.records.ending.canceller import JobCanceller
from shared.records.claims import Claim
from shared.records.read import JobReader
from shared.settings import Settings
from web.http import idempotency
from web.http.clients import Client
from web.http.idempotency import Key
from web.intake.archives import archive
from web.intake.archives.archive import Limits, Member
from web.intake.uploads import Upload, clean, fault
from web.server import threads
from web.server.fairness.departures import ClientGone, has_gone
from web.server.fairness.rests import RESTS
from web.server.threads import in_thread
from web.submit.room import Room
from web.submit.submission import Submission

logger = logging.getLogger(__name__)

#: Pause between two attempts to store a part in a full lane.
_PAUSE_SECONDS = 0.5


class ArchiveJobs:
    def __init__(
        self,
        settings: Settings,
        jobs: JobReader,
        canceller: JobCanceller,
        submission: Submission,
    ) -> None:
        self._jobs = jobs
        self._canceller = canceller
        self._submission = submission
        self._longest_wait = settings.max_wait_seconds
        self._limits = Limits(
            members=settings.max_archive_members,
            unpacked_bytes=settings.max_unpacked_bytes,
            ratio=settings.max_archive_ratio,
            free_bytes=settings.max_request_bytes,
            member_bytes=settings.max_image_bytes,
            seconds=settings.max_archive_seconds,
            rest=threads.rest,
        )

    def submit(
        self,
        owner: str,
        file: IO[bytes],
        room: Room,
        *,
        connection: socket.socket | None,
        lane: Lane | None,
        top_k: int,
        min_score: float,
        webhook: str | None,
        thumbnails: bool,
        embeddings: bool,
        key: Key | None,
    ) -> str:
        """Accept all pictures of an archive as a job of `owner`, or none; gives the job's id.

        The number of open jobs of a client is limited. Each part takes `room`, and gives it back.
        If the client closes its `connection` while the archive waits, it waits no longer.
        Raises BadArchive, ArchiveTooLarge, NoFiles, TooManyOpenJobs, and as `Submission.open`
        before anything is stored. If it fails later, what was stored is cancelled. Raises
        Overloaded if there is no room, also for another request that stores the same job.
        """
        kind = archive.kind_of(file)
        if kind is None:
            raise BadArchive("The file is not a .zip, .tar or .tar.gz archive.")
        found = in_thread(partial(archive.scan, file, kind, self._limits))
        if not found.items:
            raise NoFiles(_no_pictures(found.skipped))
        job = OpenJob(
            id=new_job_id(),
            lane=lane or Lane.BULK,
            top_k=top_k,
            min_score=min_score,
            total=found.items,
            skipped=found.skipped,
            owner=owner,
            client=room.client.name,
            weight=room.client.limits.weight,
            webhook=webhook,
            thumbnails=thumbnails,
        )
        digest = in_thread(partial(_digest, file)) if key else None
        claim = key and key.claim(
            *(job.lane, job.top_k, job.webhook, digest),
            min_score=job.min_score,
            thumbnails=thumbnails,
            embeddings=embeddings,
        )
        stored = self._open(job, room.client, claim, embeddings)
        # A job that an earlier request left half-stored is continued, because storing a part twice
        # is harmless. A job in another state is complete, or that request has just given it up.
        if stored.state is JobState.RECEIVING:
            with self._abandoned_on_failure(stored.id, claim):
                self._fill(stored, archive.members(file, kind, self._limits), room, connection)
        elif self._is_abandoned(stored.id, claim):
            raise Overloaded
        return stored.id

    def _open(self, job: OpenJob, client: Client, claim: Claim | None, embeddings: bool) -> Job:
        def make() -> str:
            self._submission.open(job, client, claim, embeddings=embeddings)
            return job.id

        return self._jobs.get(idempotency.once(self._jobs, claim, make))

    def _fill(
        self, job: Job, members: Iterator[Member], room: Room, connection: socket.socket | None
    ) -> None:
        give_up_at = time.monotonic() + self._longest_wait
        spool = tempfile.TemporaryFile()
        try:
            for number in count():
                part = in_thread(partial(self._unpack_part, members, spool))
                if not part:
                    return
                store = partial(self._submission.put_part, job, number, part, room)
                _store_when_there_is_room(store, give_up_at, connection)
                RESTS.rest()
        finally:
            in_thread(spool.close)  # to free hundreds of megabytes on disk takes a while

    @contextmanager
    def _abandoned_on_failure(self, job_id: str, claim: Claim | None) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            try:
                self._canceller.abandon(job_id, claim)
            except (RedisError, JobNotFound) as outage:
                # Workers classify the parts that are stored, and the job expires.
                logger.warning("cannot cancel job %s, which was not accepted: %s", job_id, outage)
            if isinstance(error, JobClosed) and self._is_abandoned(job_id, claim):
                raise Overloaded from error
            raise

    def _is_abandoned(self, job_id: str, claim: Claim | None) -> bool:
        """Whether another request with the same claim has given up the job."""
        # Giving up removes the claim. If a client cancels the job, the claim stays.
        return claim is not None and self._jobs.claimed(claim) != job_id

    def _unpack_part(self, members: Iterator[Member], spool: IO[bytes]) -> list[Upload]:
        """The next part's pictures, with their bytes in `spool`; none at the archive's end."""
        spool.seek(0)
        spool.truncate()
        return [self._spooled(member, spool) for member in islice(members, PART_SIZE)]

    @threads.shift()
    def _spooled(self, member: Member, spool: IO[bytes]) -> Upload:
        start, size = spool.tell(), len(member.data)
        error = member.error or fault(
            member.data[:HEAD_BYTES], size, max_bytes=self._limits.member_bytes
        )
        if not error:  # the bytes of others are not stored
            spool.write(member.data)
        return Upload(
            name=clean(member.name),
            digest=hashlib.sha256(member.data).hexdigest(),
            size=size,
            read=partial(_read, spool, start, size),
            error=error,
        )


def _no_pictures(skipped: Mapping[str, int]) -> str:
    if not skipped:
        return "The archive holds no files."
    kinds = sorted(skipped.items(), key=lambda each: (-each[1], each[0]))
    listed = ", ".join(f"{number} {ending}" for ending, number in kinds[:5])
    return f"The archive holds no pictures; its files are skipped by their names: {listed}."


def _store_when_there_is_room(
    store: Callable[[], object], give_up_at: float, connection: socket.socket | None
) -> None:
    """Raises Overloaded or TooManyOutstanding if there is no room in time.

    Raises ClientGone if the client closes its connection during a wait.
    """
    while True:
        try:
            store()
            return
        except (Overloaded, TooManyOutstanding):
            if time.monotonic() + _PAUSE_SECONDS > give_up_at:
                raise
        time.sleep(_PAUSE_SECONDS)
        if has_gone(connection):
            raise ClientGone


def _digest(file: IO[bytes]) -> str:
    file.seek(0)
    return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]


def _read(spool: IO[bytes], start: int, size: int) -> bytes:
    spool.seek(start)
    return spool.read(size)
