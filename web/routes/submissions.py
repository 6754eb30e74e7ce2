"""`POST /jobs`: pictures or an archive as one job, or a job whose pictures follow in parts."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any, TypeVar, cast

from flask import Response, request, url_for

from shared import errors
from shared.addresses import webhook_address
from shared.errors import InvalidRequest, TooManyFiles, WebhooksDisabled
from shared.jobs import PART_SIZE, Lane, OpenJob, new_job_id
from web.http import idempotency
from web.http.answers import answer, documented, request_body
from web.http.idempotency import Key
from web.intake.archives import archive
from web.intake.archives.uploads import TYPES, Form
from web.intake.uploads import FORM, Upload, contents, no_picture, read_upload
from web.routes.backend import (
    NO_ROOM_FOR_CLIENT,
    backend,
    client,
    hold_answer,
    owner,
    room,
    stored_job,
)
from web.routes.form_files import FormRequest
from web.routes.jobs import blueprint
from web.routes.open_request import open_request
from web.schemas.job import JobSchema, OpenedJob
from web.schemas.schema import DEFAULT_TOP_K
from web.schemas.submission import OpenRequest, SubmitForm, SubmitQuery
from web.server.fairness.rests import Breaks
from web.submit.bodies import MAX_FILES, PARTS_OF_JOB

_Submitted = TypeVar("_Submitted", SubmitForm, OpenRequest)

#: Name of this call in stored idempotency claims.
_CALL = "jobs.submit"

_TOO_MANY = f"The form has more than {MAX_FILES} files. Send them in several requests."

_BODY = request_body(
    {
        "multipart/form-data": SubmitForm,
        "application/json": OpenRequest,
        "application/octet-stream": None,
    },
    "A form with pictures or with one archive of them; or JSON that opens a job, whose pictures "
    "follow in parts; or the archive as the body, with this type or with `application/zip`, "
    "`application/x-tar` or `application/gzip`.",
)


@blueprint.post(
    "/jobs",
    request_body=_BODY,
    responses=documented(
        {201: OpenedJob, 202: JobSchema},
        *(errors.NoFiles, errors.InvalidRequest, errors.UnknownField, errors.RequestTooLarge),
        *(errors.TooManyFiles, errors.BadArchive, errors.ArchiveTooLarge),
        *(errors.InvalidWebhook, errors.WebhooksDisabled, errors.IdempotencyKeyReused),
        *(errors.NoEmbedding, errors.ModelNotReady),
        *(errors.Overloaded, errors.TooManyOpenJobs, *NO_ROOM_FOR_CLIENT),
        has_body=True,
    ),
    operation_id="createJob",
)
def submit(query: SubmitQuery) -> Response:
    """Create a job from pictures or an archive, or open a job whose pictures follow in parts.

    The answer comes as soon as all is stored; nothing is lost from then on. A file that is no
    picture becomes an item with an error, and the other items are not affected. A damaged archive
    is refused as a whole.
    """
    if backend().archive_uploads.is_expected(request):
        return _receive_archive(query)
    if request.mimetype not in (FORM, "application/json"):
        form = no_picture("files", (), request.mimetype)
        raise errors.NoFiles(
            f"{form} Or send an archive as the body, of a type such as `application/zip`."
        )
    _refuse_options(query)
    if request.mimetype != FORM:
        return _open(query, _with_options(open_request(), query))
    request.max_form_parts = PARTS_OF_JOB
    cast(FormRequest, request).limit_files(MAX_FILES, TooManyFiles(_TOO_MANY))
    return _submit(query, _valid_form(Form(request.form, request.files), query))


def _receive_archive(query: SubmitQuery) -> Response:
    """A body that is an archive, or a form that is so large that it must carry one."""
    uploads = backend().archive_uploads
    with uploads.receive(request) as body:
        if request.mimetype not in TYPES:
            _refuse_options(query)
            return _submit_archive(query, _valid_form(body.read_form(), query))
        webhook = _webhook(query.webhook, None)
        file = body.read_raw()
        with uploads.unpacking(client().name):
            job_id = backend().archive_jobs.submit(
                owner(),
                file,
                room(),
                connection=request.environ.get("gunicorn.socket"),
                lane=query.lane,
                top_k=query.top_k or DEFAULT_TOP_K,
                min_score=query.min_score or 0,
                webhook=webhook,
                thumbnails=query.thumbnails,
                embeddings=query.embeddings,
                key=_key(),
            )
        return _accepted(job_id)


def _refuse_options(query: SubmitQuery) -> None:
    for name in ("top_k", "min_score"):
        if getattr(query, name) is not None:
            raise InvalidRequest(f"{name}: send it in the body, not in the address.")


def _valid_form(form: Form, query: SubmitQuery) -> SubmitForm:
    fields: dict[str, Any] = form.fields.to_dict() | form.files.to_dict()
    if "files" not in form.files or "files" in form.fields:
        raise no_picture("files", fields)
    fields["files"] = form.files.getlist("files")
    if "custom_id" in form.fields:
        fields["custom_id"] = form.fields.getlist("custom_id")
    return _with_options(SubmitForm.model_validate(fields), query)


def _with_options(body: _Submitted, query: SubmitQuery) -> _Submitted:
    """The body with the options that may stand in the address instead."""
    body.thumbnails |= query.thumbnails
    body.embeddings |= query.embeddings
    return body


def _submit(query: SubmitQuery, form: SubmitForm) -> Response:
    count = len(form.files)
    if form.custom_id and len(form.custom_id) != count:
        raise InvalidRequest("custom_id: send none, or as many as files.")
    if count == 1 and archive.kind_of(form.files[0].stream):
        return _submit_archive(query, form)
    lane = _lane(query.lane, form.lane) or (Lane.INTERACTIVE if count == 1 else Lane.BULK)
    webhook = _webhook(query.webhook, form.webhook)
    uploads = _read(form)
    key = _key()
    claim = key and key.claim(
        lane,
        form.top_k,
        form.custom_id,
        [(each.name, each.digest) for each in uploads],
        webhook,
        min_score=form.min_score,
        thumbnails=form.thumbnails,
        embeddings=form.embeddings,
    )

    def make() -> str:
        job_id = new_job_id()
        backend().submission.submit(
            owner(),
            job_id,
            uploads,
            room(),
            lane=lane,
            top_k=form.top_k,
            min_score=form.min_score,
            claim=claim,
            webhook=webhook,
            thumbnails=form.thumbnails,
            embeddings=form.embeddings,
        )
        return job_id

    return _accepted(idempotency.once(backend().jobs, claim, make))


def _read(form: SubmitForm) -> list[Upload]:
    max_bytes = backend().settings.max_image_bytes
    uploads, breaks = [], Breaks()
    for k, file in enumerate(form.files):
        breaks.take()
        custom_id = form.custom_id[k] if form.custom_id else None
        data = contents(file.stream)
        file.close()  # it may have the bytes in memory once more
        uploads.append(read_upload(file.filename, data, max_bytes=max_bytes, custom_id=custom_id))
    return uploads


def _submit_archive(query: SubmitQuery, form: SubmitForm) -> Response:
    """A form whose only file is an archive."""
    lane = _lane(query.lane, form.lane)
    webhook = _webhook(query.webhook, form.webhook)
    if form.custom_id:
        raise InvalidRequest("custom_id: an archive takes none; its pictures keep their names.")
    with backend().archive_uploads.unpacking(client().name):
        job_id = backend().archive_jobs.submit(
            owner(),
            form.files[0].stream,
            room(),
            connection=request.environ.get("gunicorn.socket"),
            lane=lane,
            top_k=form.top_k,
            min_score=form.min_score,
            webhook=webhook,
            thumbnails=form.thumbnails,
            embeddings=form.embeddings,
            key=_key(),
        )
    return _accepted(job_id)


def _accepted(job_id: str) -> Response:
    job = backend().view.schema(stored_job(job_id))
    return answer(job, 202, location=url_for("jobs.read", job_id=job_id))


def _open(query: SubmitQuery, opened: OpenRequest) -> Response:
    most = backend().settings.max_job_images
    if opened.total > most:
        raise InvalidRequest(f"total: a job may have {most} pictures.")
    digests = opened.digests or []
    if digests and len(digests) != opened.total:
        raise InvalidRequest("digests: send none, or as many as pictures.")
    job = OpenJob(
        id=new_job_id(),
        lane=_lane(query.lane, opened.lane) or Lane.BULK,
        top_k=opened.top_k,
        min_score=opened.min_score,
        total=opened.total,
        owner=owner(),
        client=client().name,
        weight=client().limits.weight,
        webhook=_webhook(query.webhook, opened.webhook),
        thumbnails=opened.thumbnails,
    )
    key = _key()
    claim = key and key.claim(
        *(job.lane, job.top_k, job.total, digests, job.webhook),
        min_score=job.min_score,
        thumbnails=job.thumbnails,
        embeddings=opened.embeddings,
    )

    def make() -> str:
        backend().submission.open(job, client(), claim, embeddings=opened.embeddings)
        return job.id

    with ExitStack() as held:
        held.callback(hold_answer(len(digests) * len("999999,")))  # their positions
        job_id = idempotency.once(backend().jobs, claim, make)
        stored = stored_job(job_id)
        known = backend().answers.positions(
            digests, stored.model_version, embeddings=bool(stored.embeddings)
        )
        body = OpenedJob(job=backend().view.schema(stored), part_size=PART_SIZE, known=known)
        response = answer(body, 201, location=url_for("jobs.read", job_id=job_id))
        response.call_on_close(held.pop_all().close)
    return response


def _key() -> Key | None:
    return idempotency.key_of(request.headers, owner(), _CALL)


def _lane(in_query: Lane | None, in_body: Lane | None) -> Lane | None:
    if in_query and in_body and in_query is not in_body:
        raise InvalidRequest("lane: the address and the body name different lanes.")
    return in_query or in_body


def _webhook(in_query: str | None, in_body: str | None) -> str | None:
    if in_query and in_body and in_query != in_body:
        raise InvalidRequest("webhook: the address and the body name different webhooks.")
    url = in_query or in_body
    if url is None:
        return None
    settings = backend().settings
    if not settings.webhooks:
        raise WebhooksDisabled
    webhook_address.check(url, allow_private=settings.webhook_allow_private)
    return url
