"""`POST /classify`: one picture, its labels in the answer."""

from __future__ import annotations

from flask import Response, request, url_for
from flask_openapi import APIBlueprint

from shared.records.claims import Claim
from shared.errors import InvalidRequest, JobCancelled, JobNotFound
from shared.jobs import ItemState, Lane, Outcome, new_job_id
from web.http import idempotency
from web.intake import uploads
from web.http.answers import answer, documented
from web.follow.commit_listener import Waiter
from web.http.errors import problem, status_of
from web.schemas import Classification, ClassifyForm, ClassifyQuery, JobSchema
from web.submit.service import Service, service
from web.intake.uploads import Upload, read_upload
from web.http.prefer import wait_seconds

blueprint = APIBlueprint("classify", __name__, url_prefix="/api/v1")

#: What a multipart body may carry beside the picture: boundaries, headers, `top_k`.
_FORM_OVERHEAD = 64 * 2**10

_BODY = {
    "description": "A form with the picture in `file`, or the picture itself as the body.",
    "content": {
        "multipart/form-data": {"schema": ClassifyForm.model_json_schema()},
        "image/*": {"schema": {"type": "string", "format": "binary"}},
        "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
    },
}


@blueprint.post(
    "/classify",
    request_body=_BODY,
    responses=documented({200: Classification, 202: JobSchema}, 408, 409, 413, 415, 422, 503),
)
def classify(query: ClassifyQuery) -> Response:
    """Classify one picture and wait for the labels.

    Answers 202 with the job's address where the wait ends first; nothing is lost then.
    """
    found = service()
    file, top_k = _read(found, query)
    uploads.check(file.data, max_bytes=found.settings.max_image_bytes)
    seconds = wait_seconds(
        query.wait,
        default=found.settings.wait_seconds,
        longest=found.settings.max_wait_seconds,
    )
    claim = idempotency.claim(top_k, file.name, file.digest)
    if claim:
        return _classify_once(found, claim, file, top_k, seconds)
    job_id = new_job_id()
    with found.commits.waiting(job_id) as waiter:
        [outcome] = found.submit(job_id, [file], lane=Lane.INTERACTIVE, top_k=top_k)
        if outcome is None:
            outcome = waiter.until(lambda: _look(found, job_id, waiter), seconds)
    return _answer(job_id, file.name, outcome)


def _classify_once(
    found: Service, claim: Claim, file: Upload, top_k: int, seconds: float
) -> Response:
    """The same where the client may have asked before: it hears of the job that there is."""

    def make() -> str:
        job_id = new_job_id()
        found.submit(job_id, [file], lane=Lane.INTERACTIVE, top_k=top_k, claim=claim)
        return job_id

    job_id = idempotency.once(claim, make)
    with found.commits.waiting(job_id) as waiter:
        outcome = _look(found, job_id, waiter)
        if outcome is None:
            outcome = waiter.until(lambda: _look(found, job_id, waiter), seconds)
    return _answer(job_id, file.name, outcome)


def _read(found: Service, query: ClassifyQuery) -> tuple[Upload, int]:
    """The picture and `top_k`, from a form or from the body itself."""
    request.max_content_length = found.settings.max_image_bytes + _FORM_OVERHEAD
    if request.mimetype != "multipart/form-data":
        return read_upload(None, request.get_data(cache=False)), query.top_k
    fields = request.form.to_dict() | request.files.to_dict()
    form = ClassifyForm.model_validate(fields)
    if len(request.files.getlist("file")) != 1:
        raise InvalidRequest("file: send exactly one picture here; POST /jobs takes many.")
    upload = read_upload(form.file.filename, form.file.read())
    return upload, form.top_k or query.top_k


def _look(found: Service, job_id: str, waiter: Waiter) -> Outcome | None:
    if waiter.told:
        return Outcome.from_json(waiter.told)
    item = next(iter(found.jobs.items(job_id, 0, 1)), None)
    if item is None:
        raise JobNotFound
    if item.state is ItemState.CANCELLED:
        raise JobCancelled
    return item.outcome


def _answer(job_id: str, name: str, outcome: Outcome | None) -> Response:
    if outcome is None:
        job = service().told(service().job(job_id))
        return answer(job, 202, location=url_for("jobs.read", job_id=job_id))
    if outcome.state is ItemState.SUCCEEDED:
        return answer(Classification.of(job_id, name, outcome))
    assert outcome.error, "a failed outcome carries its error"
    error = outcome.error
    return problem(status_of(error.code), error.code, error.message, job_id=job_id)
