"""`/jobs`: jobs are listed, read (by polling or with a bounded wait), and cancelled."""

from __future__ import annotations

from flask import Response, request
from flask_openapi import APIBlueprint, Tag

from shared.errors import InvalidRequest, JobNotFound, ListingNeedsKey, UnknownField
from shared.jobs import Job
from web.http.answers import answer, documented
from web.http.prefer import wait_seconds
from web.routes.backend import backend, check_may_list, own_job, owner
from web.schemas.job import JobList, JobPath, JobSchema, JobsQuery, WaitQuery
from web.server.fairness import slots

#: `submissions.py` and `parts.py` add their calls to it.
_TAG = Tag(name="Jobs", description="Many pictures at a time.")

blueprint = APIBlueprint("jobs", __name__, url_prefix="/api/v1", abp_tags=[_TAG])


@blueprint.get(
    "/jobs",
    responses=documented({200: JobList}, ListingNeedsKey, InvalidRequest, UnknownField),
    operation_id="listJobs",
)
def list_all(query: JobsQuery) -> Response:
    """List your jobs, the newest first.

    Your jobs are those of your API key. Without API keys, clients of this machine may list all
    jobs, and others none: an id is all that is needed to read a job. Single pictures of `/classify`
    are not listed, and of all others the newest 10,000.
    """
    check_may_list()
    page = backend().jobs.newest(owner(), before=query.before or "", limit=query.limit)
    listed = [backend().view.schema(job) for job in page.jobs]
    return answer(JobList(jobs=listed, next_before=page.next_before))


@blueprint.get(
    "/jobs/<job_id>",
    responses=documented({200: JobSchema}, JobNotFound, InvalidRequest, UnknownField),
    operation_id="getJob",
)
def read(path: JobPath, query: WaitQuery) -> Response:
    """Read a job's state and counts.

    `?wait=n` delays the answer until the job ends, or for `n` seconds.
    """
    longest = backend().settings.max_wait_seconds
    seconds = wait_seconds(query.wait, request.headers, default=0, longest=longest)
    with backend().commits.waiting(path.job_id) as waiter:
        job = own_job(path.job_id)
        if not job.state.ended and seconds:
            slots.give_back(request.environ)
            client = request.environ.get("gunicorn.socket")
            ended = waiter.until(lambda: _ended(path.job_id), seconds, client)
            job = ended or own_job(path.job_id)
    return answer(backend().view.schema(job))


def _ended(job_id: str) -> Job | None:
    """The job if it has ended. Hundreds of requests may wait for it, and all are woken at once."""
    slots.take_again(request.environ)
    job = own_job(job_id)
    if job.state.ended:
        return job
    slots.give_back(request.environ)
    return None


@blueprint.delete(
    "/jobs/<job_id>", responses=documented({200: JobSchema}, JobNotFound), operation_id="cancelJob"
)
def cancel(path: JobPath) -> Response:
    """Cancel a job.

    Finished items stay readable. A job that has ended does not change.
    """
    job = own_job(path.job_id)
    backend().canceller.cancel(job.id)
    return answer(backend().view.schema(own_job(job.id)))
