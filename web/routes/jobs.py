"""`/jobs`: many pictures, one id; read by polling or by a bounded wait."""

from __future__ import annotations

from flask import Response, url_for
from flask_openapi import APIBlueprint

from shared.errors import InvalidRequest, TooManyFiles
from shared.job_store import new_job_id
from shared.jobs import Job, JobState, Lane
from web.answers import answer, documented
from web.schemas import JobPath, JobSchema, SubmitForm, SubmitQuery, WaitQuery
from web.service import service
from web.uploads import read_upload
from web.waits import wait_seconds

blueprint = APIBlueprint("jobs", __name__, url_prefix="/api/v1")

#: Flask refuses forms with more fields than this; told as our own error before it does.
MAX_FILES = 500


@blueprint.post(
    "/jobs", responses=documented({202: JobSchema}, 408, 413, 422, 503), operation_id="submit"
)
def submit(query: SubmitQuery, form: SubmitForm) -> Response:
    """Submit pictures as one job.

    Answers as soon as they are stored; none is lost from then on. A bad picture is an item with
    an error and does not touch its neighbours.
    """
    if len(form.files) > MAX_FILES:
        raise TooManyFiles(f"{len(form.files)} files; one request may carry {MAX_FILES}.")
    if form.custom_id and len(form.custom_id) != len(form.files):
        raise InvalidRequest("custom_id: send none, or as many as files.")
    if query.lane and form.lane and query.lane is not form.lane:
        raise InvalidRequest("lane: the address and the form say different lanes.")
    lane = query.lane or form.lane or (Lane.INTERACTIVE if len(form.files) == 1 else Lane.BULK)
    job_id = new_job_id()
    service().submit(
        job_id,
        [read_upload(file.filename, file.read()) for file in form.files],
        lane=lane,
        top_k=form.top_k,
        custom_ids=form.custom_id,
    )
    job = service().job(job_id)
    return answer(JobSchema.of(job), 202, location=url_for("jobs.read", job_id=job_id))


@blueprint.get("/jobs/<job_id>", responses=documented({200: JobSchema}, 404, 422, 503))
def read(path: JobPath, query: WaitQuery) -> Response:
    """Read a job's state and counts; `?wait=n` holds the answer until the job ends."""
    found = service()
    seconds = wait_seconds(query.wait, default=0, longest=found.settings.max_wait_seconds)
    with found.commits.waiting(path.job_id) as waiter:
        job = found.job(path.job_id)
        if job.state is not JobState.COMPLETED and seconds:
            job = waiter.until(lambda: _completed(path.job_id), seconds) or found.job(path.job_id)
    return answer(JobSchema.of(job))


def _completed(job_id: str) -> Job | None:
    job = service().job(job_id)
    return job if job.state is JobState.COMPLETED else None
