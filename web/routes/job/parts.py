"""`/jobs/<id>/parts`: an open job is filled part by part."""

from __future__ import annotations

from contextlib import ExitStack
from typing import cast

from flask import Response, request

from shared import errors
from shared.errors import InvalidRequest, JobClosed
from shared.jobs import PART_SIZE, JobState, part_size, parts_of
from shared.sizes import count_text
from web.http.answers import answer, documented, request_body
from web.intake.parts import read_part
from web.intake.raw_part import RawPart, Stream
from web.intake.uploads import FORM, FORM_OVERHEAD, Upload, no_picture
from web.routes.backend import NO_ROOM_FOR_CLIENT, backend, client, own_job
from web.routes.jobs import blueprint
from web.schemas.job import RAW_PART, JobPath, MissingParts, PartSchema
from web.schemas.submission import PartForm, PartPath
from web.server.fairness.pacing import mark_single_picture
from web.submit.bodies import BODY, PARTS_OF_PART, SPOOLED_BYTES

_WITHOUT_FILES = "application/x-www-form-urlencoded"

#: Numbers of missing parts in one answer. A client is busy with these for a while.
_MOST_MISSING = 10_000

# The second type is only in the text: generated clients would fail with two bodies and no query.
_BODY = request_body(
    {FORM: PartForm},
    "A form with the pictures of the part. Or, with less work for the service, a body of the type "
    f"`{RAW_PART}`: a line of JSON, a line feed, and the bytes of all pictures one after the "
    "other. The JSON is a list with an entry for each item: `name`, `custom_id`, and either "
    "`size`, the number of bytes of the picture, or `digest` if the result cache is to answer it. "
    "That picture has no bytes here.",
)


@blueprint.put(
    "/jobs/<job_id>/parts/<number>",
    request_body=_BODY,
    responses=documented(
        {200: PartSchema, 201: PartSchema},
        *(errors.NoFiles, errors.InvalidRequest, errors.UnknownField, errors.RequestTooLarge),
        *(errors.TooManyFiles, errors.WrongPartSize, errors.JobNotFound, errors.JobClosed),
        *(errors.PartConflict, errors.ImagesNeeded, errors.Overloaded, *NO_ROOM_FOR_CLIENT),
        has_body=True,
    ),
    operation_id="putPart",
)
def put_part(path: PartPath) -> Response:
    """Send a part of an open job.

    Sending it again is harmless, so an upload can be resumed. Workers start on it at once. A file
    that is no picture becomes an item with an error.
    """
    job = own_job(path.job_id)
    if not job.opened or job.state is JobState.CANCELLED:
        raise JobClosed
    items = part_size(job.total, path.number)
    if items <= 0:
        parts = count_text(parts_of(job.total), "part")
        raise InvalidRequest(f"number: this job has {parts}, counted from 0.")
    size = request.content_length or 0
    with backend().admission.room(client()) as room, ExitStack() as files:
        # A smaller body carries no pictures but their digests, and needs no room.
        if size > FORM_OVERHEAD:
            room.reserve([job.lane], size=size)
        if items == 1:  # the page opens a job for a single picture, too
            mark_single_picture(request.environ)
        uploads = _uploads(items, files)
        put = backend().submission.put_part(job, path.number, uploads, room)
    part = PartSchema(
        job_id=job.id, number=path.number, items=items, missing_parts=put.missing_parts
    )
    return answer(part, 201 if put.is_new else 200)


def _uploads(items: int, files: ExitStack) -> list[Upload]:
    """The pictures of the part. `files` closes those that are on disk."""
    max_bytes = backend().settings.max_image_bytes
    request.max_content_length = PART_SIZE * max_bytes + FORM_OVERHEAD
    request.max_form_parts = PARTS_OF_PART
    if request.mimetype == RAW_PART:
        body = request.environ.get(BODY)
        stream, length = cast(Stream, request.stream), request.content_length
        part = RawPart(stream, length=length, items=items, files=files)
        most_in_memory = max_bytes if body and body.in_memory else SPOOLED_BYTES
        return part.read(max_bytes=max_bytes, most_in_memory=most_in_memory)
    if request.mimetype != FORM:
        _check_form_without_files()
    return read_part(request.form, request.files, items=items, max_bytes=max_bytes)


def _check_form_without_files() -> None:
    """Some clients send a form of another kind if it has no files. Parsing half a million fields
    would take a second.
    """
    if request.mimetype != _WITHOUT_FILES:
        form = no_picture("files", (), request.mimetype)
        raise errors.NoFiles(f"{form} Or send a body of the type `{RAW_PART}`.")
    request.max_content_length = request.max_form_memory_size
    if request.get_data().count(b"&") >= len(PartForm.model_fields):
        raise InvalidRequest("The form has too many fields.")


@blueprint.get(
    "/jobs/<job_id>/parts",
    responses=documented({200: MissingParts}, errors.JobNotFound),
    operation_id="listMissingParts",
)
def missing_parts(path: JobPath) -> Response:
    """List the parts of an open job that have not arrived."""
    job = own_job(path.job_id)
    missing = backend().jobs.missing_parts(job.id)
    return answer(MissingParts(total=parts_of(job.total), missing=missing[:_MOST_MISSING]))
