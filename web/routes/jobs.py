"""`/jobs/<id>`: a job is read, by polling or with a bounded wait, or cancelled."""

from __future__ import annotations

from flask import Response, request
from flask_openapi import APIBlueprint

from shared.jobs import Job
from web.http.answers import answer, documented
from web.http.prefer import wait_seconds
from web.routes.backend import backend, own_job
from web.schemas.job import JobPath, JobSchema, WaitQuery

#: `submissions.py` and `parts.py` add their calls to it.
blueprint = APIBlueprint("jobs", __name__, url_prefix="/api/v1")


@blueprint.get("/jobs/<job_id>", responses=documented({200: JobSchema}, 404, 422, 503))
def read(path: JobPath, query: WaitQuery) -> Response:
    """Read a job's state and counts. `?wait=n` delays the answer until the job ends."""
    longest = backend().settings.max_wait_seconds
    seconds = wait_seconds(query.wait, request.headers, default=0, longest=longest)
    with backend().commits.waiting(path.job_id) as waiter:
        job = own_job(path.job_id)
        if not job.state.ended and seconds:
            job = waiter.until(lambda: _ended(path.job_id), seconds) or own_job(path.job_id)
    return answer(backend().view.schema(job))


def _ended(job_id: str) -> Job | None:
    job = own_job(job_id)
    return job if job.state.ended else None


@blueprint.delete("/jobs/<job_id>", responses=documented({200: JobSchema}, 404, 422, 503))
def cancel(path: JobPath) -> Response:
    """Cancel a job. Finished items stay readable. A job that has ended does not change."""
    job = own_job(path.job_id)
    backend().canceller.cancel(job.id)
    return answer(backend().view.schema(own_job(job.id)))
