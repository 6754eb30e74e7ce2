"""`POST /classify`: one picture, and its labels in the answer."""

from __future__ import annotations

from flask import Response, request, url_for
from flask_openapi import APIBlueprint

from shared.errors import InvalidRequest, JobCancelled, JobNotFound
from shared.jobs import ItemState, Lane, Outcome, new_job_id
from shared.records.claims import Claim
from web.follow.commit_listener import Waiter
from web.http import idempotency
from web.http.answers import answer, documented
from web.http.errors import problem, status_of
from web.http.prefer import wait_seconds
from web.intake.uploads import FORM_OVERHEAD, Upload, no_picture, read_upload
from web.routes.backend import backend, own_job, owner, room
from web.schemas.job import JobSchema
from web.schemas.results import Classification
from web.schemas.submission import ClassifyForm, ClassifyQuery
from web.server.pacing import mark_single_picture

blueprint = APIBlueprint("classify", __name__, url_prefix="/api/v1")

#: Name of this call in stored idempotency claims.
_CALL = "classify.classify"

_BODY = {
    "description": "A form with the picture in the field `file`, or the picture as the body.",
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
    """Classify one picture and wait for its labels.

    If the wait ends first, the answer is 202 with the job's address, and the picture is classified
    all the same.
    """
    upload, top_k = _read(query)
    if upload.error:
        raise upload.error
    if idempotency.HEADER in request.headers:
        return _classify_once(upload, top_k, query)
    job_id = new_job_id()
    with backend().commits.waiting(job_id) as waiter:
        outcome = _submit(job_id, upload, top_k)
        if outcome is None:
            outcome = waiter.until(lambda: _outcome(job_id, waiter), _seconds(query))
    return _answer(job_id, upload.name, outcome)


def _classify_once(upload: Upload, top_k: int, query: ClassifyQuery) -> Response:
    """The same for a request that may have come before: its job may exist already."""
    key = idempotency.key_of(request.headers, owner(), _CALL)
    claim = key and key.claim(top_k, upload.name, upload.digest)

    def make() -> str:
        job_id = new_job_id()
        _submit(job_id, upload, top_k, claim)
        return job_id

    job_id = idempotency.once(backend().jobs, claim, make)
    room().give_back()  # an earlier job needs no room
    with backend().commits.waiting(job_id) as waiter:
        outcome = _outcome(job_id, waiter)
        if outcome is None:
            outcome = waiter.until(lambda: _outcome(job_id, waiter), _seconds(query))
    return _answer(job_id, upload.name, outcome)


def _seconds(query: ClassifyQuery) -> float:
    """How long to wait for the outcome."""
    settings = backend().settings
    return wait_seconds(
        query.wait,
        request.headers,
        default=settings.wait_seconds,
        longest=settings.max_wait_seconds,
    )


def _read(query: ClassifyQuery) -> tuple[Upload, int]:
    """The picture and `top_k`, from a form or from the body itself."""
    mark_single_picture(request.environ)
    max_bytes = backend().settings.max_image_bytes
    request.max_content_length = max_bytes + FORM_OVERHEAD
    if request.mimetype != "multipart/form-data":
        return read_upload(None, request.get_data(cache=False), max_bytes=max_bytes), query.top_k
    fields = request.form.to_dict() | request.files.to_dict()
    if "file" not in fields:
        raise no_picture("file", fields)
    form = ClassifyForm.model_validate(fields)
    if len(request.files.getlist("file")) != 1:
        raise InvalidRequest(
            "file: send exactly one picture to this address. Send many to POST /jobs."
        )
    upload = read_upload(form.file.filename, form.file.read(), max_bytes=max_bytes)
    return upload, form.top_k or query.top_k


def _submit(job_id: str, upload: Upload, top_k: int, claim: Claim | None = None) -> Outcome | None:
    """Accept the picture; gives its outcome if the result cache has it."""
    [outcome] = backend().submission.submit(
        owner(),
        job_id,
        [upload],
        room(),
        lane=Lane.INTERACTIVE,
        top_k=top_k,
        claim=claim,
    )
    return outcome


def _outcome(job_id: str, waiter: Waiter) -> Outcome | None:
    """The picture's outcome, as the notice brought it or as its record has it."""
    if waiter.outcome:
        return Outcome.from_json(waiter.outcome)
    item = next(iter(backend().jobs.items(job_id, 0, 1)), None)
    if item is None:
        raise JobNotFound
    if item.state is ItemState.CANCELLED:
        raise JobCancelled
    return item.outcome


def _answer(job_id: str, name: str, outcome: Outcome | None) -> Response:
    if outcome is None:
        job = backend().view.schema(own_job(job_id))
        return answer(job, 202, location=url_for("jobs.read", job_id=job_id))
    if outcome.state is ItemState.SUCCEEDED:
        return answer(Classification.of(job_id, name, outcome))
    assert outcome.error, "a failed outcome carries its error"
    error = outcome.error
    return problem(status_of(error.code), error.code, error.message, job_id=job_id)
