"""`/jobs/<id>/events`: a job as it goes on, as server-sent events."""

from __future__ import annotations

import time
from collections.abc import Iterator

from flask import Response, request
from flask_openapi import APIBlueprint
from redis.exceptions import RedisError

from shared.errors import JobNotFound
from web.http.answers import documented, streamed
from web.follow.event_streams import EventStream
from web.follow.job_feed import AWAY_SECONDS, JobFeed
from web.schemas import EventsHeader, EventsQuery, JobPath
from web.submit.service import service

blueprint = APIBlueprint("events", __name__, url_prefix="/api/v1")

#: A proxy, or a client behind one, takes a silent connection for dead; many do after 30 s.
_KEEP_ALIVE_SECONDS = 15.0

#: How long an EventSource waits before it comes back.
_RETRY_MS = 2000

_STREAM = {"description": "OK", "content": {"text/event-stream": {"schema": {"type": "string"}}}}


@blueprint.get(
    "/jobs/<job_id>/events",
    responses=documented({}, 404, 422, 503) | {200: _STREAM},
    operation_id="events",
)
def follow(path: JobPath, query: EventsQuery, header: EventsHeader) -> Response:
    """Follow a job: events as server-sent events, until it has ended.

    `item` for each item in the order in which they finish (data: an item as in the results, id:
    how many were told), `progress` (data: the job) at once and when something has changed, at most
    four a second, and `end` (data: the job). A client that comes back with the last id goes on
    after it.
    """
    job = service().job(path.job_id)
    told = query.last_event_id if header.last_event_id is None else header.last_event_id
    stream = service().streams.open(job.id, request.environ.get("gunicorn.socket"))
    events = _events(stream, _Teller(stream.feed, told or 0, query.items))
    seconds = service().settings.slow_download_seconds
    response = streamed(events, "text/event-stream", seconds=seconds)
    response.call_on_close(stream.close)
    response.headers["X-Accel-Buffering"] = "no"  # or nginx would keep events until it has many
    return response


class _Teller:
    """What one stream has told and has still to tell."""

    def __init__(self, feed: JobFeed, told: int, with_items: bool) -> None:
        self._feed = feed
        self._told = told
        self._with_items = with_items
        self._progress = b""
        self.ended = False
        self.pause = 0.0  #: Seconds until there may be news, unless some are heard.

    def news(self) -> Iterator[bytes]:
        try:
            yield from self._news()
            self.pause = self._feed.seconds_until_look()
        except RedisError:  # what is told is stored: it outlives an outage, and so may the stream
            self.pause = AWAY_SECONDS
        except JobNotFound:  # expired meanwhile
            self.ended = True

    def _news(self) -> Iterator[bytes]:
        look = self._feed.look()
        if look.data != self._progress:
            self._progress = look.data
            yield b"event: progress\ndata: %s\n\n" % look.data
        while self._with_items and (page := self._feed.page(self._told, look)).data:
            self._told = page.stop
            yield page.data
        if look.job.state.ended:
            self.ended = True
            yield b"event: end\ndata: %s\n\n" % look.data


def _events(stream: EventStream, teller: _Teller) -> Iterator[bytes]:
    """Pieces of a stream, until its job or the stream itself has ended."""
    yield b"retry: %d\n\n" % _RETRY_MS
    spoke_at = time.monotonic()
    while not (stream.over or teller.ended):
        for piece in teller.news():
            yield piece
            spoke_at = time.monotonic()
            if stream.over:
                return
        silent = time.monotonic() - spoke_at
        if silent >= _KEEP_ALIVE_SECONDS:
            yield b": keep-alive\n\n"
            spoke_at, silent = time.monotonic(), 0
        if not teller.ended:
            stream.wait(min(teller.pause, _KEEP_ALIVE_SECONDS - silent))
