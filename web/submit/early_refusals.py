"""What there is no room for is refused before Flask hears of it, and before its body is read.

Under overload most requests are refused, and on the cores that the accepted ones need: a refusal
that went through the application would cost nearly as much as taking a picture in.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from http import HTTPStatus
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from flask import Flask, request
from redis.exceptions import RedisError
from werkzeug.sansio.utils import get_content_length
from werkzeug.wrappers import Request

from shared.observe import metrics
from shared.errors import Overloaded
from shared.jobs import Lane
from shared.observe.tracing import TraceContext
from web.http import requests, security_headers
from web.submit.admission import Admission
from web.http.errors import problem_body

logger = logging.getLogger(__name__)

#: What a request with one picture carries beside it: boundaries, headers, fields.
_FORM_OVERHEAD = 64 * 2**10

#: What a client is told where all places are taken: the lane may have room, so it is soon.
_RETRY_AFTER_SECONDS = 5

#: Where the application finds what spoke against a request that is its to answer all the same.
_OBJECTION = "classifier.objection"

_STATUS = HTTPStatus.SERVICE_UNAVAILABLE
_BODY = problem_body(_STATUS, Overloaded.code, str(Overloaded())).encode()
_STATUS_LINE = f"{_STATUS.value} {_STATUS.phrase}"
_HEADERS = [
    ("Content-Type", "application/problem+json"),
    ("Content-Length", str(len(_BODY))),
    *security_headers.FOR_DATA.items(),
]

Check = Callable[[WSGIEnvironment], None]


def register(
    app: Flask,
    admission: Admission,
    *,
    may_ask: Callable[[Request], bool],
    most_at_once: int,
    largest_picture: int,
    largest_body: int,
) -> None:
    """Put it in front of `app`, whose routes are known by now.

    Who may not ask is told so by the application, and not that it is full.
    """

    def check_picture(environ: WSGIEnvironment) -> None:
        admission.check(Lane.INTERACTIVE, images=1, size=_length(environ))

    def check_job(environ: WSGIEnvironment) -> None:
        asked = Request(environ)
        if asked.mimetype == "application/json":
            return
        size = _length(environ)
        may_be_one = size <= largest_picture + _FORM_OVERHEAD
        # What is larger is an archive, which is let in part by part.
        admission.check_any(_lanes(asked, may_be_one), images=1, size=min(size, largest_body))

    checks = {"classify.classify": check_picture, "jobs.submit": check_job}
    routes = [
        _Route(rule.rule, checks[endpoint])
        for rule in app.url_map.iter_rules()
        if (endpoint := rule.endpoint.removeprefix("root.")) in checks
    ]
    app.wsgi_app = EarlyRefusals(  # type: ignore
        app.wsgi_app, routes, may_ask, most_at_once=most_at_once
    )
    app.before_request(_raise_objection)


def _length(environ: WSGIEnvironment) -> int:
    return get_content_length(environ.get("CONTENT_LENGTH")) or 0


def _lanes(asked: Request, may_be_one: bool) -> Sequence[Lane]:
    """Lanes that a job may be for, from what is known before its form is read."""
    with suppress(ValueError):  # the schema will tell
        return [Lane(asked.args.get("lane", ""))]
    return [Lane.BULK, Lane.INTERACTIVE] if may_be_one else [Lane.BULK]


def _raise_objection() -> None:
    if objection := request.environ.get(_OBJECTION):
        raise objection


class EarlyRefusals:
    """Middleware: asks a POST's route, and answers where that raises Overloaded.

    `most_at_once` are let through at a time. Each has a body in memory and may wait as long as a
    client may: without a limit of this process, whatever the lanes of the whole service take could
    fill its memory and every connection, and who is refused would not even be told.
    """

    def __init__(
        self,
        app: WSGIApplication,
        routes: Sequence[_Route],
        may_ask: Callable[[Request], bool],
        *,
        most_at_once: int,
    ) -> None:
        self._app = app
        self._routes = {route.path: route for route in routes}
        self._may_ask = may_ask
        self._places = threading.Semaphore(most_at_once)

    def __call__(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        route = self._routes.get(environ["PATH_INFO"])
        if route is None or environ["REQUEST_METHOD"] != "POST":
            return self._app(environ, start)
        placed = self._places.acquire(blocking=False)
        try:
            return self._ask(route, placed, environ, start)
        finally:
            if placed:
                self._places.release()

    def _ask(
        self, route: _Route, placed: bool, environ: WSGIEnvironment, start: StartResponse
    ) -> Iterable[bytes]:
        began = time.perf_counter()
        try:
            if not placed:
                raise Overloaded(retry_after_seconds=_RETRY_AFTER_SECONDS)
            route.check(environ)
        except Overloaded as refusal:
            if self._may_ask(Request(environ)):
                start(_STATUS_LINE, [*_HEADERS, *_own_headers(environ, refusal)])
                route.note(time.perf_counter() - began)
                return [_BODY]
            environ[_OBJECTION] = refusal
        except RedisError as outage:
            environ[_OBJECTION] = outage
        return self._app(environ, start)


def _own_headers(environ: WSGIEnvironment, refusal: Overloaded) -> list[tuple[str, str]]:
    parent = TraceContext.from_header(environ.get("HTTP_TRACEPARENT", ""))
    return [
        ("Retry-After", str(refusal.retry_after_seconds)),
        ("X-Request-Id", requests.id_of(environ.get("HTTP_X_REQUEST_ID", ""))),
        ("traceparent", TraceContext.below(parent).header),
    ]


class _Route:
    """What is asked before a submission is let through, and its refusals: all are counted.

    One log line tells of those of a second: each its own would cost more than the refusal.
    """

    def __init__(self, path: str, check: Check) -> None:
        self.path = path
        self.check = check
        self._answered = metrics.HTTP_REQUESTS.labels(path, "POST", int(_STATUS))
        self._duration = metrics.HTTP_DURATION.labels(path)
        self._refused = metrics.REFUSALS.labels(Overloaded.code, path)
        self._untold = 0

    def note(self, seconds: float) -> None:
        self._answered.inc()
        self._duration.observe(seconds)
        self._refused.inc()
        self._untold += 1
        if self._untold == 1:
            timer = threading.Timer(1.0, self._tell)  # a greenlet, in the web process
            timer.daemon = True
            timer.start()

    def _tell(self) -> None:
        told: dict[str, str | int] = {
            "http.request.method": "POST",
            "http.route": self.path,
            "http.response.status_code": int(_STATUS),
        }
        count, self._untold = self._untold, 0
        logger.info("refused %d requests: %s", count, Overloaded.code, extra=told)
