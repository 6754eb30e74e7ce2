"""`/jobs/<id>/events`: the progress of a job, as server-sent events."""

from __future__ import annotations

import time
from collections.abc import Iterator
from wsgiref.types import WSGIEnvironment

from flask import Response, request
from flask_openapi import APIBlueprint, Tag
from redis.exceptions import RedisError

from shared.errors import InvalidRequest, JobNotFound, Overloaded, UnknownField
from web.follow.event_streams import AWAY_SECONDS, EventStream
from web.follow.job_feed import JobFeed
from web.http.answers import documented, streamed
from web.routes.backend import backend, client, own_job
from web.schemas.job import JobPath
from web.schemas.results import EventsHeader, EventsQuery
from web.server.fairness.slots import in_slots

_TAG = Tag(name="Results", description="The labels of a job's pictures.")

blueprint = APIBlueprint("events", __name__, url_prefix="/api/v1", abp_tags=[_TAG])

#: Many proxies close a connection that is silent for 30 s.
_KEEP_ALIVE_SECONDS = 15.0

#: An EventSource waits this long before it comes back.
_RETRY_MS = 2000

_STREAM = {"description": "OK", "content": {"text/event-stream": {"schema": {"type": "string"}}}}


@blueprint.get(
    "/jobs/<job_id>/events",
    responses=documented({}, JobNotFound, InvalidRequest, UnknownField, Overloaded)
    | {200: _STREAM},
    operation_id="followJob",
)
def follow(path: JobPath, query: EventsQuery, header: EventsHeader) -> Response:
    """Follow a job by server-sent events until it has ended.

    `item` comes for each item, in the order in which they finish. Its data is an item as in the
    results; its id is the number of items sent so far. `progress` comes at once and after changes,
    at most four times a second; its data is the job. `end` comes last, with the job. A client that
    comes back with the last id continues after it.
    """
    job = own_job(path.job_id)
    last_id = query.last_event_id if header.last_event_id is None else header.last_event_id
    connection = request.environ.get("gunicorn.socket")
    stream = backend().streams.open(job.id, client().name, connection)
    events = _events(stream, _Events(stream.feed, last_id or 0, query.items), request.environ)
    seconds = backend().settings.slow_download_seconds
    response = streamed(events, "text/event-stream", connection, seconds=seconds)
    response.call_on_close(stream.close)
    # Otherwise nginx keeps events back until it has many.
    response.headers["X-Accel-Buffering"] = "no"
    return response


class _Events:
    """The events of one stream, and how many items it has sent."""

    def __init__(self, feed: JobFeed, sent: int, with_items: bool) -> None:
        self._feed = feed
        self._sent = sent
        self._with_items = with_items
        self._progress = b""
        self.ended = False
        self.pause = 0.0  #: Seconds until there may be new events, unless a notice comes.

    def new(self) -> Iterator[bytes]:
        try:
            yield from self._new()
            self.pause = self._feed.seconds_until_due()
        except RedisError:  # the job is stored and outlives an outage, and so may the stream
            self.pause = AWAY_SECONDS
        except JobNotFound:  # it has expired
            self.ended = True

    def _new(self) -> Iterator[bytes]:
        snapshot = self._feed.snapshot()
        if snapshot.data != self._progress:
            self._progress = snapshot.data
            yield b"event: progress\ndata: %s\n\n" % snapshot.data
        while self._with_items and (page := self._feed.page(self._sent, snapshot)).data:
            self._sent = page.stop
            yield page.data
        if snapshot.job.state.ended:
            self.ended = True
            yield b"event: end\ndata: %s\n\n" % snapshot.data


def _events(stream: EventStream, events: _Events, environ: WSGIEnvironment) -> Iterator[bytes]:
    """Pieces of a stream, until its job or the stream itself has ended."""
    yield b"retry: %d\n\n" % _RETRY_MS
    sent_at = time.monotonic()
    while not (stream.over or events.ended):
        for piece in in_slots(events.new(), environ):
            yield piece
            sent_at = time.monotonic()
            if stream.over:
                return
        silent = time.monotonic() - sent_at
        if silent >= _KEEP_ALIVE_SECONDS:
            yield b": keep-alive\n\n"
            sent_at, silent = time.monotonic(), 0
        if not events.ended:
            stream.wait(min(events.pause, _KEEP_ALIVE_SECONDS - silent))
