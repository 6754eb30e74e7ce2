"""One log line, one measurement and one span for each request."""

from __future__ import annotations

import logging
import os
import re
import time
from typing import NamedTuple

from flask import Flask, Response, g, request

from shared.observe import log, metrics, tracing
from shared.observe.tracing import Span, TraceContext

logger = logging.getLogger(__name__)

_METHODS = {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"}
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

#: Probes, scrapes and pages that watch come every few seconds and say nothing about people.
_QUIET = {
    *("/livez", "/readyz", "/metrics", "/api/v1/health", "/api/v1/model/info"),
    "/page/<path:filename>",
}


#: In the WSGI environment: the path as the client sent it, if it was rewritten.
SENT_PATH = "classifier.sent_path"


class _Request(NamedTuple):
    """What is told of a request once its answer has left."""

    method: str
    route: str
    path: str
    span: Span
    started: float  #: By the monotonic clock.


def register(app: Flask) -> None:
    app.before_request(_begin)
    app.after_request(_end)


def id_of(given: str) -> str:
    """The id that a request came with, where that is harmless in a log line and in a header."""
    return given if _ID.fullmatch(given) else os.urandom(16).hex()


def _begin() -> None:
    # The rule, not the path: a label for every job id would never end.
    route = request.url_rule.rule if request.url_rule else "unknown"
    method = request.method if request.method in _METHODS else "other"
    parent = TraceContext.from_header(request.headers.get("traceparent", ""))
    if route in _QUIET:
        span = Span(TraceContext.below(parent), time.time())
    else:
        span = tracing.begin(f"{method} {route}", parent=parent, kind="server")
    path = request.environ.get(SENT_PATH, request.path)
    g.request = _Request(method, route, path, span, time.perf_counter())
    g.request_id = id_of(request.headers.get("X-Request-Id", ""))
    tracing.current.set(span)
    log.fields.set({"http.request.id": g.request_id, "trace.id": span.context.trace_id})


def _end(response: Response) -> Response:
    response.headers["X-Request-Id"] = g.request_id
    response.headers["traceparent"] = g.request.span.context.header
    told: _Request = g.request
    # Once the answer has left: nobody need wait for our bookkeeping.
    response.call_on_close(lambda: _tell(told, response.status_code))
    return response


def _tell(told: _Request, status: int) -> None:
    seconds = time.perf_counter() - told.started
    metrics.HTTP_REQUESTS.labels(told.route, told.method, status).inc()
    metrics.HTTP_DURATION.labels(told.route).observe(seconds)
    if told.route in _QUIET:
        return
    known: dict[str, str | int] = {
        "http.request.method": told.method,
        "http.route": told.route,
        "url.path": told.path,
        "http.response.status_code": status,
    }
    told.span.note(known)
    told.span.end()
    duration = int(1e9 * seconds)  # in nanoseconds, as ECS has it
    logger.info(
        "request", extra={"event.dataset": log.REQUEST, "event.duration": duration, **known}
    )
