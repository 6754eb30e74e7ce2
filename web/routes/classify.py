"""`POST /classify`: one picture, and its labels in the answer."""

from __future__ import annotations

from typing import NamedTuple, cast

from flask import Response, request, url_for
from flask_openapi import APIBlueprint, Tag

from shared import errors
from shared.errors import InvalidRequest, JobCancelled, JobNotFound, Unavailable
from shared.jobs import ItemState, Lane, Outcome, new_job_id
from shared.records.claims import Claim
from shared.sizes import too_large
from web.follow.commit_listener import Waiter
from web.http import idempotency
from web.http.answers import answer, documented, request_body
from web.http.errors import problem, status_of
from web.http.prefer import wait_seconds
from web.intake.uploads import FORM, FORM_OVERHEAD, Upload, contents, no_picture, read_upload
from web.routes.backend import NO_ROOM_FOR_CLIENT, backend, body, owner, room, stored_job
from web.routes.form_files import FormRequest
from web.schemas.job import JobSchema
from web.schemas.results import Classification
from web.schemas.submission import ClassifyForm, ClassifyQuery
from web.server.fairness.pacing import mark_single_picture
from web.submit.bodies import PARTS_OF_PICTURE

_TAG = Tag(name="Classify", description="One picture, and its labels in the answer.")

blueprint = APIBlueprint("classify", __name__, url_prefix="/api/v1", abp_tags=[_TAG])

#: Name of this call in stored idempotency claims.
_CALL = "classify.classify"

#: Content types that no picture has.
_NOT_PICTURES = {
    "application/json": "JSON",
    "application/x-www-form-urlencoded": "a form without files",
}

_BODY = request_body(
    {"multipart/form-data": ClassifyForm, "application/octet-stream": None},
    "A form with the picture in the field `file`; or the picture as the body, with this type or "
    "with that of the picture, for example `image/jpeg`.",
)

_ONE = "file: send exactly one picture to this address. Send many to POST /jobs."

#: Errors of the picture itself.
_OF_PICTURE = (
    *(errors.EmptyFile, errors.UnsupportedFormat, errors.ImageTooLarge, errors.TooManyPixels),
    *(errors.TruncatedImage, errors.DecodeFailed, errors.DecodeTimeout, errors.TooMuchMemory),
    *(errors.ImageExpired, errors.WorkerLost),
)


class Asked(NamedTuple):
    """What a request asks for."""

    upload: Upload
    top_k: int
    min_score: float
    embeddings: bool
    wait: float | None


@blueprint.post(
    "/classify",
    request_body=_BODY,
    responses=documented(
        {200: Classification, 202: JobSchema},
        *_OF_PICTURE,
        *(errors.NoFiles, errors.InvalidRequest, errors.UnknownField, errors.RequestTooLarge),
        *(errors.IdempotencyKeyReused, errors.JobCancelled, errors.JobNotFound),
        *(errors.NoEmbedding, errors.ModelNotReady),
        *(errors.Overloaded, *NO_ROOM_FOR_CLIENT),
        has_body=True,
    ),
    operation_id="classify",
)
def classify(query: ClassifyQuery) -> Response:
    """Classify one picture and wait for its labels.

    If the wait ends first, the answer is 202 with the job's address, and the picture is classified
    all the same.
    """
    if idempotency.HEADER in request.headers:
        return _classify_once(query)
    asked = _read(query)
    job_id, name, min_score = new_job_id(), asked.upload.name, asked.min_score
    embeddings, wait = asked.embeddings, asked.wait
    with backend().commits.waiting(job_id) as waiter:
        outcome = _submit(job_id, asked)
        # The picture is stored. It would stay in memory for as long as the client waits.
        del asked
        body().free_memory()
        if outcome is None:
            outcome = _await(job_id, waiter, embeddings, _seconds(wait))
    return _answer(job_id, name, outcome, min_score)


def _classify_once(query: ClassifyQuery) -> Response:
    """The same for a request that may have come before: its job may exist already."""
    job_id, asked = _submit_once(query)
    name, min_score = asked.upload.name, asked.min_score
    embeddings, wait = asked.embeddings, asked.wait
    del asked
    room().give_back()  # an earlier job needs no room
    body().free_memory()
    with backend().commits.waiting(job_id) as waiter:
        outcome = _outcome(job_id, waiter, embeddings)
        if outcome is None:
            outcome = _await(job_id, waiter, embeddings, _seconds(wait))
    return _answer(job_id, name, outcome, min_score)


def _submit_once(query: ClassifyQuery) -> tuple[str, Asked]:
    """Accept the picture, unless it came before. Gives the id of its job."""
    asked = _read(query)
    upload, top_k, min_score, embeddings, _ = asked
    key = idempotency.key_of(request.headers, owner(), _CALL)
    claim = key and key.claim(
        *(top_k, upload.name, upload.digest), min_score=min_score, embeddings=embeddings
    )

    def make() -> str:
        job_id = new_job_id()
        _submit(job_id, asked, claim)
        return job_id

    return idempotency.once(backend().jobs, claim, make), asked


def _seconds(wait: float | None) -> float:
    """How long to wait for the outcome."""
    settings = backend().settings
    return wait_seconds(
        wait,
        request.headers,
        default=settings.wait_seconds,
        longest=settings.max_wait_seconds,
    )


def _read(query: ClassifyQuery) -> Asked:
    """The picture and its options, from a form or the body itself. Raises what is wrong with it."""
    mark_single_picture(request.environ)
    max_bytes = backend().settings.max_image_bytes
    request.max_content_length = max_bytes + FORM_OVERHEAD
    request.max_form_parts = PARTS_OF_PICTURE
    if (request.content_length or 0) > request.max_content_length:
        size = too_large(request.content_length or 0, max_bytes, "MAX_IMAGE_BYTES")
        raise errors.RequestTooLarge(f"The request has {size}. Send one picture, or a smaller one.")
    form = None
    if request.mimetype != FORM:
        name, data = None, request.get_data(cache=False)
        if not data:
            raise errors.EmptyFile(
                "The request has no picture. Send it as the body, or in the field `file` of a form "
                f"({FORM})."
            )
    else:
        form = _valid_form()
        name, data = form.file.filename, contents(form.file.stream)
        form.file.close()  # it may have the bytes in memory once more
    upload = read_upload(name, data, max_bytes=max_bytes)
    if (kind := _NOT_PICTURES.get(request.mimetype)) and upload.error:
        raise errors.UnsupportedFormat(
            f"The body is {kind}. Send the picture in the field `file` of a form ({FORM}), or as "
            "the body itself."
        )
    if upload.error:
        raise upload.error
    if form is None:
        _check_line_ends(data)
    given = form.model_dump(exclude={"file"}, exclude_none=True) if form else {}
    options = query.model_dump() | given
    return Asked(upload, **options)


def _check_line_ends(data: bytes) -> None:
    """Raise InvalidRequest for a picture that `curl -d` has sent: it removes all line ends.

    Then a picture only looks damaged. One of 4 KB without such a byte does not occur otherwise.
    """
    sent_as_text = request.mimetype == "application/x-www-form-urlencoded" and len(data) > 2**12
    if sent_as_text and b"\n" not in data and b"\r" not in data:
        raise InvalidRequest(
            "The body has no line ends, because `curl -d` removes them. Send the picture with "
            "`--data-binary @picture.jpg`, or with `-F file=@picture.jpg`."
        )


def _valid_form() -> ClassifyForm:
    """A form with one picture."""
    cast(FormRequest, request).limit_files(1, InvalidRequest(_ONE))
    fields = request.form.to_dict() | request.files.to_dict()
    if "file" not in request.files or "file" in request.form:
        raise no_picture("file", fields)
    return ClassifyForm.model_validate(fields)


def _submit(job_id: str, asked: Asked, claim: Claim | None = None) -> Outcome | None:
    """Accept the picture; gives its outcome if the result cache has it."""
    [outcome] = backend().submission.submit(
        owner(),
        job_id,
        [asked.upload],
        room(),
        lane=Lane.INTERACTIVE,
        top_k=asked.top_k,
        min_score=asked.min_score,
        embeddings=asked.embeddings,
        claim=claim,
        listed=False,
    )
    return outcome


def _await(job_id: str, waiter: Waiter, embeddings: bool, seconds: float) -> Outcome | None:
    """The outcome of a stored picture; None after `seconds`, or when the client has gone.

    Raises Unavailable if its job is gone: a failover has lost it before its client heard of it.
    """
    client = request.environ.get("gunicorn.socket")
    try:
        return waiter.until(lambda: _outcome(job_id, waiter, embeddings), seconds, client)
    except JobNotFound as lost:
        raise Unavailable from lost


def _outcome(job_id: str, waiter: Waiter, embeddings: bool) -> Outcome | None:
    """The picture's outcome, as the notice brought it or as its record has it.

    Only the record has the embedding.
    """
    if waiter.outcome and not embeddings:
        return Outcome.from_json(waiter.outcome)
    item = next(iter(backend().jobs.items(job_id, 0, 1)), None)
    if item is None:
        raise JobNotFound
    if item.state is ItemState.CANCELLED:
        raise JobCancelled
    return item.outcome


def _answer(job_id: str, name: str, outcome: Outcome | None, min_score: float) -> Response:
    if outcome is None:
        job = backend().view.schema(stored_job(job_id))
        return answer(job, 202, location=url_for("jobs.read", job_id=job_id))
    if outcome.state is ItemState.SUCCEEDED:
        return answer(Classification.of(job_id, name, outcome, min_score))
    assert outcome.error, "a failed outcome carries its error"
    error = outcome.error
    return problem(status_of(error.code), error.code, error.message, job_id=job_id)
