"""`/jobs/<id>/results`: items in input order, as pages or as a stream, also while the job runs."""

from __future__ import annotations

from collections.abc import Iterator

from flask import Response, request
from flask_openapi import APIBlueprint, Tag
from werkzeug.http import http_date

from shared.errors import InvalidRequest, JobNotFound, NotAcceptable, Overloaded, UnknownField
from shared.records.read import JobReader
from shared.jobs import PART_SIZE, Item, Job
from web.http.answers import documented, streamed
from web.follow.result_formats import LINE_FORMATS, accepted, item_json
from web.routes.backend import backend, hold_answer, own_job
from web.schemas.job import JobPath
from web.schemas.results import (
    MAX_PAGE_ITEMS,
    MEDIA_TYPES,
    PAGE_ITEMS,
    Page,
    ResultFormat,
    ResultsQuery,
)
from web.server.fairness.rests import RESTS
from web.server.fairness.slots import in_slots

_TAG = Tag(name="Results", description="The labels of a job's pictures.")

blueprint = APIBlueprint("results", __name__, url_prefix="/api/v1", abp_tags=[_TAG])

#: Items that are read in one round trip and sent in one piece: about 100 KB. Other clients of the
#: process wait for a piece, so it must not take longer than a few milliseconds.
_PIECE = 8 * PART_SIZE

#: Bytes of a piece, and of an item, whose names are the longest that are possible.
_STREAM_BYTES = 2**20
_ITEM_BYTES = 2**12


@blueprint.get(
    "/jobs/<job_id>/results",
    responses=documented(
        {200: Page}, JobNotFound, NotAcceptable, InvalidRequest, UnknownField, Overloaded
    ),
    operation_id="getResults",
)
def read(path: JobPath, query: ResultsQuery) -> Response:
    """Read items in input order, also while the job runs.

    Unfinished items are `queued`. The answer is a page of JSON, or all items as JSON Lines or CSV
    (`format`, or the header `Accept`). If the service cannot read a stream to its end, it cuts the
    connection, so that the client notices. The header `Sunset` says until when results can be read.
    """
    job = own_job(path.job_id)
    media_type = _media_type(query)
    kind = MEDIA_TYPES[media_type]
    if kind is ResultFormat.JSON:
        response = _page(job, query)
        size = response.content_length or 0
    else:
        size = _STREAM_BYTES + _PIECE * 3 * job.embeddings  # base64 of two bytes for each number
        lines = in_slots(_lines(backend().jobs, job, query, kind), request.environ)
        seconds = backend().settings.slow_download_seconds
        connection = request.environ.get("gunicorn.socket")
        response = streamed(lines, media_type, connection, seconds=seconds)
        response.headers["Content-Disposition"] = f'attachment; filename="{job.id}.{kind}"'
        response.headers["Sunset"] = http_date(job.expires_at)
    response.headers["Vary"] = "Accept"
    response.call_on_close(hold_answer(size))
    return response


def _media_type(query: ResultsQuery) -> str:
    if query.format is None:
        return accepted(request.accept_mimetypes)
    return next(name for name, kind in MEDIA_TYPES.items() if kind is query.format)


def _page(job: Job, query: ResultsQuery) -> Response:
    if query.state is not None:
        raise InvalidRequest("state: a page cannot be filtered. Add format=jsonl or format=csv.")
    limit = query.limit or PAGE_ITEMS
    if limit > MAX_PAGE_ITEMS:
        raise InvalidRequest(f"limit: a page has at most {MAX_PAGE_ITEMS} items.")
    stop = min(query.offset + limit, job.total)
    # A page that is refused is not read. That would take as long as an answer.
    end_reading = hold_answer(max(0, stop - query.offset) * _ITEM_BYTES)
    try:
        return Response(_read_page(job, query.offset, stop), mimetype="application/json")
    finally:
        end_reading()


def _read_page(job: Job, offset: int, stop: int) -> bytes:
    """A page as `Page` serialises it, in a quarter of the time."""
    items: list[bytes] = []
    for start in range(offset, stop, _PIECE):
        items += map(item_json, backend().jobs.items(job.id, start, min(start + _PIECE, stop)))
        RESTS.rest()
    next_offset = stop if stop < job.total else None
    empty = Page(job=backend().view.schema(job), items=[], next_offset=next_offset)
    head, _, tail = empty.model_dump_json().encode().rpartition(b"[]")
    return head + b"[" + b",".join(items) + b"]" + tail


def _lines(jobs: JobReader, job: Job, query: ResultsQuery, kind: ResultFormat) -> Iterator[bytes]:
    """The lines of a stream, in pieces. Only one piece is in memory, however slow the client is.

    A piece is empty if none of its items is in the state that was asked for.
    """
    line_format = LINE_FORMATS[kind]
    stop = job.total if query.limit is None else min(query.offset + query.limit, job.total)
    if head := line_format.head(job.top_k):
        yield head
    for start in range(query.offset, stop, _PIECE):
        items = _items(jobs, job, start, min(start + _PIECE, stop))
        if query.state is not None:
            items = [item for item in items if item.state is query.state]
        yield line_format.lines(items, job.top_k) if items else b""


def _items(jobs: JobReader, job: Job, start: int, stop: int) -> list[Item]:
    items = jobs.items(job.id, start, stop)
    if len(items) < stop - start:
        # They expired while they were read. A table without them must not look complete.
        raise JobNotFound
    return items
