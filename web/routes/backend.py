"""What the routes work with. `web.app` makes one for each process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from flask import current_app, request
from redis import Redis

from shared.errors import (
    DailyLimitReached,
    JobNotFound,
    ListingNeedsKey,
    Overloaded,
    TooManyOutstanding,
    TooMuchKept,
    Unavailable,
)
from shared.jobs import Job
from shared.observe import log
from shared.operation.purge import Purge
from shared.records.ending.canceller import JobCanceller
from shared.records.listing import all_jobs
from shared.records.overdue.dead_letters import DeadLetters
from shared.records.read import JobReader
from shared.serving.model_versions import CurrentModel
from shared.settings import Settings
from shared.thumbnails import Thumbnails
from web.follow.commit_listener import CommitListener
from web.follow.event_streams import EventStreams
from web.follow.job_view import JobView
from web.http import auth, clients
from web.http.api_keys import ApiKeys
from web.http.clients import Client
from web.intake.archives.uploads import ArchiveUploads
from web.server.fairness.shares import Shares
from web.submit.admission import Admission
from web.submit.archive_jobs import ArchiveJobs
from web.submit.bodies import BODY, Body
from web.submit.cached_answers import CachedAnswers
from web.submit.early_refusals import OBJECTION, ROOM
from web.submit.room import Room
from web.submit.submission import Submission

#: A client that has too much that it does not read waits so long.
_RETRY_AFTER_SECONDS = 5

#: Errors of a submission if only its client has no room.
NO_ROOM_FOR_CLIENT = (TooManyOutstanding, TooMuchKept, DailyLimitReached)


@dataclass(frozen=True, kw_only=True)
class Backend:
    settings: Settings
    redis: Redis
    jobs: JobReader
    canceller: JobCanceller
    purge: Purge
    dead_letters: DeadLetters
    model: CurrentModel
    admission: Admission
    submission: Submission
    answers: CachedAnswers
    thumbnails: Thumbnails
    archive_uploads: ArchiveUploads
    archive_jobs: ArchiveJobs
    commits: CommitListener
    streams: EventStreams
    view: JobView
    unsent: Shares  #: Bytes of long answers that are made, and not yet sent.

    def close(self) -> None:
        self.commits.close()
        self.redis.connection_pool.disconnect()


def backend() -> Backend:
    """The backend of the current application."""
    current: Backend = current_app.extensions["backend"]
    return current


def owner() -> str:
    """Name of the API key that the present request came with; empty if keys are off."""
    name: str = request.environ.get(auth.OWNER, "")
    return name


def all_owners() -> list[str]:
    """The owners of all listed jobs. Those of an earlier release are known by their keys alone."""
    keys: ApiKeys | None = current_app.extensions[auth.KEYS]
    names = keys.limits() if keys else ()
    return sorted({"", *names, *all_jobs.owners(backend().redis)})


def client() -> Client:
    """The client of the present request, as limits for one client count it."""
    return clients.of(request)


def check_may_list() -> None:
    """An id is all that is needed to read a job, so without API keys strangers get no list.

    Raises ListingNeedsKey.
    """
    if not (owner() or clients.is_local(request)):
        raise ListingNeedsKey


def own_job(job_id: str) -> Job:
    """A job of the client that asks.

    Raises JobNotFound also for a job of another client, which must not learn that it exists.
    """
    log.note(job_id=job_id)
    job = backend().jobs.get(job_id)
    if job.owner != owner():
        raise JobNotFound
    return job


def stored_job(job_id: str) -> Job:
    """A job that this request has stored.

    Raises Unavailable if it is gone: a failover has lost it before its client heard of it.
    """
    try:
        return own_job(job_id)
    except JobNotFound as lost:
        raise Unavailable from lost


def raise_objection() -> None:
    """Raise the error that a submission met before Flask, now that its client has access."""
    if objection := request.environ.get(OBJECTION):
        raise objection


def body() -> Body:
    """What the body of the present submission holds of this process's memory."""
    held: Body = request.environ[BODY]
    return held


def hold_answer(size: int) -> Callable[[], None]:
    """Count bytes until they are sent, and give a function to call then. Raises Overloaded.

    A client may read slowly, or not at all. What it does not read could otherwise take all memory
    of the process.
    """
    unsent, name = backend().unsent, client().name
    if not unsent.take(name, size):
        raise Overloaded(retry_after_seconds=_RETRY_AFTER_SECONDS)
    return lambda: unsent.give_back(name, size)


def room() -> Room:
    """The room that was reserved for the present submission before Flask."""
    reserved: Room = request.environ[ROOM]
    return reserved
