"""`/jobs`: many pictures, one id; sent at once or in parts, read by polling or a bounded wait."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flask import Response, request, url_for
from flask_openapi import APIBlueprint
from werkzeug.datastructures import FileStorage

from shared import webhook_address
from shared.errors import InvalidRequest, JobClosed, TooManyFiles, WebhooksDisabled
from shared.jobs import PART_SIZE, Job, JobState, Lane, OpenJob, new_job_id, part_size, parts_of
from web.submit import archive_jobs
from web.intake.archives import uploads, archive
from web.http import auth, idempotency
from web.http.answers import answer, documented, request_body
from web.server.pacing import BodyTurns
from web.intake.parts import read_part
from web.schemas import (
    DEFAULT_TOP_K,
    JobPath,
    JobSchema,
    MissingParts,
    OpenedJob,
    OpenRequest,
    PartForm,
    PartPath,
    PartSchema,
    SubmitForm,
    SubmitQuery,
    WaitQuery,
)
from web.submit.service import service
from web.intake.uploads import Upload, read_upload
from web.http.prefer import wait_seconds

_SUBMISSION = request_body(
    {"multipart/form-data": SubmitForm, "application/json": OpenRequest},
    "Pictures, or one archive of them, in a form; an archive as the body; or how many pictures "
    "there will be, and they follow in parts.",
)
_SUBMISSION["content"] |= {
    kind: {"schema": {"type": "string", "format": "binary"}}
    for kind in ("application/zip", "application/x-tar", "application/gzip")
}

blueprint = APIBlueprint("jobs", __name__, url_prefix="/api/v1")

#: Flask refuses forms with more fields than this; told as our own error before it does.
MAX_FILES = 500

#: A part whose pictures are all named by digests, and what a form carries beside pictures.
_DIGESTS_BYTES = 64 * 2**10

#: Missing parts that are told at once; with these an upload is busy for a while.
_MOST_MISSING = 10_000


@blueprint.post(
    "/jobs",
    request_body=_SUBMISSION,
    responses=documented({201: OpenedJob, 202: JobSchema}, 408, 413, 422, 503),
    operation_id="submit",
)
def submit(query: SubmitQuery) -> Response:
    """Submit pictures or an archive as one job, or open a job for pictures that follow in parts.

    Answers as soon as they are stored; none is lost from then on. A bad picture is an item with
    an error and does not touch its neighbours. An archive that is damaged is refused whole.
    """
    if uploads.is_raw():
        webhook = _webhook(query.webhook, None)
        file = uploads.spooled_body()
        return _accepted(
            archive_jobs.submit(
                file, lane=query.lane, top_k=query.top_k or DEFAULT_TOP_K, webhook=webhook
            )
        )
    if query.top_k is not None:
        raise InvalidRequest("top_k: with this body, say it there.")
    if request.mimetype == "application/json":
        return _open(query, OpenRequest.model_validate_json(request.get_data(cache=False)))
    return _submit(query, SubmitForm.model_validate(_form_fields()))


def _form_fields() -> dict[str, Any]:
    fields: dict[str, Any] = request.form.to_dict() | request.files.to_dict()
    if "files" in request.files:
        fields["files"] = request.files.getlist("files")
    if "custom_id" in request.form:
        fields["custom_id"] = request.form.getlist("custom_id")
    return fields


def _submit(query: SubmitQuery, form: SubmitForm) -> Response:
    if len(form.files) > MAX_FILES:
        raise TooManyFiles(f"{len(form.files)} files; one request may carry {MAX_FILES}.")
    if form.custom_id and len(form.custom_id) != len(form.files):
        raise InvalidRequest("custom_id: send none, or as many as files.")
    lane = _lane(query.lane, form.lane)
    webhook = _webhook(query.webhook, form.webhook)
    stream = form.files[0].stream
    if uploads.is_expected() or (len(form.files) == 1 and archive.kind_of(stream)):
        if form.custom_id:
            raise InvalidRequest("custom_id: none for an archive; its names are kept.")
        found = archive_jobs.submit(stream, lane=lane, top_k=form.top_k, webhook=webhook)
        return _accepted(found)
    lane = lane or (Lane.INTERACTIVE if len(form.files) == 1 else Lane.BULK)
    files = _read(form.files)
    told = [(file.name, file.digest) for file in files]
    claim = idempotency.claim(lane, form.top_k, form.custom_id, told, webhook)

    def make() -> str:
        job_id = new_job_id()
        service().submit(
            job_id,
            files,
            lane=lane,
            top_k=form.top_k,
            custom_ids=form.custom_id,
            claim=claim,
            webhook=webhook,
        )
        return job_id

    return _accepted(service().job(idempotency.once(claim, make)))


def _read(files: Sequence[FileStorage]) -> list[Upload]:
    turns = BodyTurns()
    uploads = []
    for file in files:
        turns.take()
        uploads.append(read_upload(file.filename, file.read()))
    return uploads


def _accepted(job: Job) -> Response:
    return answer(service().told(job), 202, location=url_for("jobs.read", job_id=job.id))


def _open(query: SubmitQuery, asked: OpenRequest) -> Response:
    most = service().settings.max_job_images
    if asked.total > most:
        raise InvalidRequest(f"total: a job may have {most} pictures.")
    digests = asked.digests or []
    if digests and len(digests) != asked.total:
        raise InvalidRequest("digests: send none, or as many as pictures.")
    job = OpenJob(
        id=new_job_id(),
        lane=_lane(query.lane, asked.lane) or Lane.BULK,
        top_k=asked.top_k,
        total=asked.total,
        owner=auth.owner(),
        webhook=_webhook(query.webhook, asked.webhook),
    )
    claim = idempotency.claim(job.lane, job.top_k, job.total, digests, job.webhook)

    def make() -> str:
        service().open(job, claim)
        return job.id

    job_id = idempotency.once(claim, make)
    known = service().known(digests)
    opened = OpenedJob(job=service().told(service().job(job_id)), known=known)
    return answer(opened, 201, location=url_for("jobs.read", job_id=job_id))


def _lane(in_query: Lane | None, in_body: Lane | None) -> Lane | None:
    if in_query and in_body and in_query is not in_body:
        raise InvalidRequest("lane: the address and the body say different lanes.")
    return in_query or in_body


def _webhook(in_query: str | None, in_body: str | None) -> str | None:
    if in_query and in_body and in_query != in_body:
        raise InvalidRequest("webhook: the address and the body say different ones.")
    url = in_query or in_body
    if url is None:
        return None
    settings = service().settings
    if not settings.webhooks:
        raise WebhooksDisabled
    webhook_address.check(url, allow_private=settings.webhook_allow_private)
    return url


@blueprint.put(
    "/jobs/<job_id>/parts/<number>",
    request_body=request_body({"multipart/form-data": PartForm}, "The pictures of the part."),
    responses=documented({200: PartSchema, 201: PartSchema}, 404, 408, 409, 413, 422, 503),
)
def put_part(path: PartPath) -> Response:
    """Send a part of an open job; sending it again is harmless, so an upload can be resumed.

    Workers begin on it at once. A bad picture is an item with an error.
    """
    found = service()
    job = found.job(path.job_id)
    if not job.opened or job.state is JobState.CANCELLED:
        raise JobClosed
    items = part_size(job.total, path.number)
    if items <= 0:
        raise InvalidRequest(f"number: this job has {parts_of(job.total)} parts.")
    size = request.content_length or 0
    if size > _DIGESTS_BYTES:  # refused before its body is read
        found.admission.check(job.lane, images=1, size=size)
    request.max_content_length = PART_SIZE * found.settings.max_image_bytes + _DIGESTS_BYTES
    put = found.put_part(job, path.number, read_part(items))
    told = PartSchema(
        job_id=job.id, number=path.number, items=items, missing_parts=put.missing_parts
    )
    return answer(told, 201 if put.is_new else 200)


@blueprint.get("/jobs/<job_id>/parts", responses=documented({200: MissingParts}, 404, 422, 503))
def missing_parts(path: JobPath) -> Response:
    """List the parts of an open job that have not arrived."""
    job = service().job(path.job_id)
    missing = service().jobs.missing_parts(job.id)
    return answer(MissingParts(total=parts_of(job.total), missing=missing[:_MOST_MISSING]))


@blueprint.delete("/jobs/<job_id>", responses=documented({200: JobSchema}, 404, 422, 503))
def cancel(path: JobPath) -> Response:
    """Cancel a job. What is done stays readable; a job that has ended is left as it is."""
    job = service().job(path.job_id)
    service().canceller.cancel(job.id)
    return answer(service().told(service().job(job.id)))


@blueprint.get("/jobs/<job_id>", responses=documented({200: JobSchema}, 404, 422, 503))
def read(path: JobPath, query: WaitQuery) -> Response:
    """Read a job's state and counts; `?wait=n` holds the answer until the job ends."""
    found = service()
    seconds = wait_seconds(query.wait, default=0, longest=found.settings.max_wait_seconds)
    with found.commits.waiting(path.job_id) as waiter:
        job = found.job(path.job_id)
        if not job.state.ended and seconds:
            job = waiter.until(lambda: _ended(path.job_id), seconds) or found.job(path.job_id)
    return answer(service().told(job))


def _ended(job_id: str) -> Job | None:
    job = service().job(job_id)
    return job if job.state.ended else None
