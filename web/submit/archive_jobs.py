"""A job from an uploaded archive: its members become the parts of an open job.

The archive is on disk. It is unpacked a part at a time, in a thread, so that other clients are
answered meanwhile; a part waits on disk too until it is stored. Where a lane is full the archive
waits for room, as long as a client may wait for anything. Nobody is told of the job before all of
it is stored: a process that dies earlier leaves a job that nobody knows and that expires.
"""

from __future__ import annotations

import hashlib
import logging
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count, islice
from typing import IO

from flask import request
from redis.exceptions import RedisError

from shared.records.claims import Claim
from shared.errors import BadArchive, JobNotFound, NoFiles, Overloaded
from shared.jobs import PART_SIZE, Job, JobState, Lane, OpenJob, new_job_id
from shared.settings import Settings
from web.intake.archives import archive
from web.http import auth, idempotency
from web.intake import uploads
from web.intake.archives.archive import Limits, Member
from web.intake.parts import PartUpload
from web.submit.service import Service, service
from web.server.threads import in_thread

logger = logging.getLogger(__name__)

#: Between two looks for room.
_LOOK_SECONDS = 0.5


def _limits(settings: Settings) -> Limits:
    return Limits(
        members=settings.max_archive_members,
        unpacked_bytes=settings.max_unpacked_bytes,
        ratio=settings.max_archive_ratio,
        free_bytes=settings.max_request_bytes,
        member_bytes=settings.max_image_bytes,
    )


def submit(file: IO[bytes], *, lane: Lane | None, top_k: int, webhook: str | None) -> Job:
    """Accept all of the archive that the present request carries, or nothing.

    Raises BadArchive, ArchiveTooLarge and NoFiles before anything is stored. Where it fails later,
    what was stored is cancelled.
    """
    found = service()
    kind = archive.kind_of(file)
    if kind is None:
        raise BadArchive("This is no .zip, .tar or .tar.gz.")
    limits = _limits(found.settings)
    items = in_thread(partial(archive.scan, file, kind, limits))
    if not items:
        raise NoFiles("The archive holds no files.")
    job = OpenJob(
        id=new_job_id(),
        lane=lane or Lane.BULK,
        top_k=top_k,
        total=items,
        owner=auth.owner(),
        webhook=webhook,
    )
    record, claim = _open(found, job, file)
    # Otherwise it was accepted before. One that another request left half-stored, or that it is
    # at, is gone on with: storing a part twice is harmless.
    if record.state is JobState.RECEIVING:
        with _abandoned_on_failure(found, record.id, claim):
            _fill(found, record, archive.members(file, kind, limits))
    return found.job(record.id)


def _open(found: Service, job: OpenJob, file: IO[bytes]) -> tuple[Job, Claim | None]:
    digest = in_thread(partial(_digest, file)) if idempotency.HEADER in request.headers else None
    claim = idempotency.claim(job.lane, job.top_k, job.webhook, digest)

    def make() -> str:
        found.open(job, claim)
        return job.id

    return found.job(idempotency.once(claim, make)), claim


def _fill(found: Service, job: Job, members: Iterator[Member]) -> None:
    give_up = time.monotonic() + found.settings.max_wait_seconds
    spool = tempfile.TemporaryFile()
    try:
        for number in count():
            part = in_thread(partial(_unpack_part, members, spool))
            if not part:
                return
            _put(found, job, number, part, give_up)
    finally:
        in_thread(spool.close)  # what gives back hundreds of megabytes takes its time


def _put(found: Service, job: Job, number: int, part: list[PartUpload], give_up: float) -> None:
    """Store a part, when there is room for it. Raises Overloaded where there is none in time."""
    while True:
        try:
            found.put_part(job, number, part)
            return
        except Overloaded:
            if time.monotonic() + _LOOK_SECONDS > give_up:
                raise
            time.sleep(_LOOK_SECONDS)


@contextmanager
def _abandoned_on_failure(found: Service, job_id: str, claim: Claim | None) -> Iterator[None]:
    try:
        yield
    except BaseException:
        try:
            found.canceller.abandon(job_id, claim)
        except (RedisError, JobNotFound) as error:
            # It is worked on as far as it got, for nobody, and expires.
            logger.warning("cannot cancel a job that was not accepted: %s", error)
        raise


def _digest(file: IO[bytes]) -> str:
    file.seek(0)
    return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]


def _unpack_part(members: Iterator[Member], spool: IO[bytes]) -> list[PartUpload]:
    """The next part's pictures, their bytes in `spool`; none at the archive's end."""
    spool.seek(0)
    spool.truncate()
    return [_upload(member, spool) for member in islice(members, PART_SIZE)]


def _upload(member: Member, spool: IO[bytes]) -> PartUpload:
    start, size = spool.tell(), len(member.data)
    spool.write(member.data)
    return PartUpload(
        name=uploads.clean(member.name),
        custom_id=None,
        digest=hashlib.sha256(member.data).hexdigest(),
        read=partial(_read, spool, start, size),
        size=size,
        head=member.data[: archive.HEAD_BYTES],
        error=member.error,
    )


def _read(spool: IO[bytes], start: int, size: int) -> bytes:
    spool.seek(start)
    return spool.read(size)
