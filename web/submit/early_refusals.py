"""Admission in front of Flask: a submission for which there is no room is refused at once.

Its body has not been read then. Under overload most requests are refused, on the cores that the
accepted ones need, and a refusal by the application would cost nearly as much as an accepted
picture.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from http import HTTPStatus
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from redis.exceptions import RedisError
from werkzeug.sansio.utils import get_content_length
from werkzeug.wrappers import Request

from shared.errors import Overloaded
from shared.jobs import Lane
from shared.observe import metrics
from shared.observe.tracing import TraceContext
from web.http import requests, security_headers
from web.http.errors import problem_body
from web.intake.uploads import FORM_OVERHEAD
from web.submit.admission import Admission, Room

logger = logging.getLogger(__name__)

#: In the WSGI environment: the room that a submission has reserved, and the error that the
#: application has to raise for it.
ROOM = "classifier.room"
OBJECTION = "classifier.objection"

#: `Retry-After` if this process has enough submissions: the lane may have room, so it is short.
_RETRY_AFTER_SECONDS = 5

_STATUS = HTTPStatus.SERVICE_UNAVAILABLE
_BODY = problem_body(_STATUS, Overloaded.code, str(Overloaded())).encode()
_STATUS_LINE = f"{_STATUS.value} {_STATUS.phrase}"
_HEADERS = [
    ("Content-Type", "application/problem+json"),
    ("Content-Length", str(len(_BODY))),
    *security_headers.FOR_DATA.items(),
]

#: Reserves room for a request, or raises Overloaded or RedisError.
Reserve = Callable[[WSGIEnvironment, Room], None]


def reservations(*, largest_picture: int, largest_body: int) -> Mapping[str, Reserve]:
    """How each path that accepts pictures reserves room; the two sizes are in bytes."""

    def for_picture(environ: WSGIEnvironment, room: Room) -> None:
        room.reserve([Lane.INTERACTIVE], size=_length(environ))

    def for_job(environ: WSGIEnvironment, room: Room) -> None:
        request = Request(environ)
        if request.mimetype == "application/json":  # its pictures follow in parts
            return
        size = _length(environ)
        lanes = _lanes(request, may_be_one=size <= largest_picture + FORM_OVERHEAD)
        # A larger body is an archive, whose parts ask for room one after the other.
        room.reserve(lanes, size=min(size, largest_body))

    return {"/api/v1/classify": for_picture, "/api/v1/jobs": for_job}


def _length(environ: WSGIEnvironment) -> int:
    return get_content_length(environ.get("CONTENT_LENGTH")) or 0


def _lanes(request: Request, *, may_be_one: bool) -> Sequence[Lane]:
    """Lanes that a job may be for, as far as its head tells."""
    with suppress(ValueError):  # the schema will refuse it
        return [Lane(request.args.get("lane", ""))]
    return [Lane.BULK, Lane.INTERACTIVE] if may_be_one else [Lane.BULK]


class EarlyRefusals:
    """Middleware: reserves room for a submission, and answers it if there is none.

    At most `most_at_once` submissions are let through at a time. Each has its body in memory and
    may wait as long as a client may. Without this limit, all that the lanes of the whole service
    hold could fill one process's memory and connections, and then no refusal could be answered.

    A client that has no access gets its answer from the application, which does not say that the
    service is full.
    """

    def __init__(
        self,
        app: WSGIApplication,
        admission: Admission,
        reservations: Mapping[str, Reserve],
        *,
        has_access: Callable[[Request], bool],
        most_at_once: int,
    ) -> None:
        self._app = app
        self._admission = admission
        self._routes = {path: _Route(path, each) for path, each in reservations.items()}
        self._has_access = has_access
        self._places = threading.Semaphore(most_at_once)

    def __call__(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        route = self._routes.get(environ["PATH_INFO"])
        if route is None or environ["REQUEST_METHOD"] != "POST":
            return self._app(environ, start)
        has_place = self._places.acquire(blocking=False)
        try:
            # However the request ends, its room is given back here, if that is not done yet.
            with self._admission.room() as room:
                environ[ROOM] = room
                return self._submit(route, room, has_place, environ, start)
        finally:
            if has_place:
                self._places.release()

    def _submit(
        self,
        route: _Route,
        room: Room,
        has_place: bool,
        environ: WSGIEnvironment,
        start: StartResponse,
    ) -> Iterable[bytes]:
        began = time.perf_counter()
        try:
            if not has_place:
                raise Overloaded(retry_after_seconds=_RETRY_AFTER_SECONDS)
            route.reserve(environ, room)
        except Overloaded as refusal:
            if self._has_access(Request(environ)):
                start(_STATUS_LINE, [*_HEADERS, *_own_headers(environ, refusal)])
                route.note_refusal(time.perf_counter() - began)
                return [_BODY]
            environ[OBJECTION] = refusal
        except RedisError as outage:
            environ[OBJECTION] = outage
        return self._app(environ, start)


def _own_headers(environ: WSGIEnvironment, refusal: Overloaded) -> list[tuple[str, str]]:
    parent = TraceContext.from_header(environ.get("HTTP_TRACEPARENT", ""))
    return [
        ("Retry-After", str(refusal.retry_after_seconds)),
        ("X-Request-Id", requests.id_of(environ.get("HTTP_X_REQUEST_ID", ""))),
        ("traceparent", TraceContext.below(parent).header),
    ]


class _Route:
    """A path that accepts pictures, and its refusals, which are all counted.

    The refusals of a second share one log line: a line for each would cost more than the refusal.
    """

    def __init__(self, path: str, reserve: Reserve) -> None:
        self.path = path
        self.reserve = reserve
        self._answered = metrics.HTTP_REQUESTS.labels(path, "POST", int(_STATUS))
        self._duration = metrics.HTTP_DURATION.labels(path)
        self._refused = metrics.REFUSALS.labels(Overloaded.code, path)
        self._not_logged = 0

    def note_refusal(self, seconds: float) -> None:
        self._answered.inc()
        self._duration.observe(seconds)
        self._refused.inc()
        self._not_logged += 1
        if self._not_logged == 1:
            timer = threading.Timer(1.0, self._log)  # a greenlet, in the web process
            timer.daemon = True
            timer.start()

    def _log(self) -> None:
        fields: dict[str, str | int] = {
            "http.request.method": "POST",
            "http.route": self.path,
            "http.response.status_code": int(_STATUS),
        }
        count, self._not_logged = self._not_logged, 0
        logger.info("refused %d requests: %s", count, Overloaded.code, extra=fields)
