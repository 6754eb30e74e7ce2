"""`/operator/jobs`: the jobs of all clients are listed, read and cancelled."""

from __future__ import annotations

from collections.abc import Iterator

from flask import Response

from shared import clock
from shared.errors import InvalidRequest, JobNotFound, UnknownField
from shared.jobs import Job
from shared.observe import log
from shared.records.listing.position import Position
from web.http.answers import answer, documented
from web.routes.backend import all_owners, backend
from web.routes.operator.blueprint import blueprint
from web.schemas.job import JobPath
from web.schemas.operator import AllJobsQuery, OwnedJob, OwnedJobList

#: Records that one round trip reads, and that one call reads at most.
_AT_ONCE, _MOST_READ = 200, 2000


@blueprint.get(
    "/jobs",
    responses=documented({200: OwnedJobList}, InvalidRequest, UnknownField),
    operation_id="listAllJobs",
)
def list_jobs(query: AllJobsQuery) -> Response:
    """List the jobs of all clients, the newest first.

    Single pictures of `/classify` are not listed, and of each client's jobs the newest 10,000. One
    call reads 2,000 jobs, so with a filter a page may be short, or empty, and still have a
    `next_before`.
    """
    redis = backend().redis
    before = query.position() or Position(clock.now(redis) + 1, "")
    owners = all_owners() if query.owner is None else [query.owner]
    pages = backend().jobs.newest_of_all(owners, before=before, at_once=_AT_ONCE)
    jobs: list[Job] = []
    next_before = None
    for number, job in enumerate(_each(pages), 1):
        if query.matches(job):
            jobs.append(job)
        if len(jobs) == query.limit or number == _MOST_READ:
            next_before = str(Position(job.created_at, job.id))
            break
    return answer(OwnedJobList(jobs=[_schema(job) for job in jobs], next_before=next_before))


@blueprint.get(
    "/jobs/<job_id>", responses=documented({200: OwnedJob}, JobNotFound), operation_id="getAnyJob"
)
def read_job(path: JobPath) -> Response:
    """Read the record of any job."""
    return answer(_schema(_job(path)))


@blueprint.delete(
    "/jobs/<job_id>",
    responses=documented({200: OwnedJob}, JobNotFound),
    operation_id="cancelAnyJob",
)
def cancel_job(path: JobPath) -> Response:
    """Cancel any job, as its owner could. A job that has ended does not change."""
    backend().canceller.cancel(_job(path).id)
    return answer(_schema(_job(path)))


def _job(path: JobPath) -> Job:
    log.note(job_id=path.job_id)
    return backend().jobs.get(path.job_id)


def _schema(job: Job) -> OwnedJob:
    return OwnedJob(owner=job.owner, **vars(backend().view.schema(job)))


def _each(pages: Iterator[list[Job]]) -> Iterator[Job]:
    for page in pages:
        yield from page
