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

#: Routes of probes, scrapes and the page's polling. They come every few seconds, so they get no log
#: line and no span.
_QUIET = {
    *("/livez", "/readyz", "/metrics", "/api/v1/health", "/api/v1/model/info"),
    "/page/<path:filename>",
}

#: Characters of a path that are logged. Those of the service are shorter, and a client could fill
#: the disk with long ones.
_LOGGED_PATH = 256

#: In the WSGI environment: the path as the client sent it, if it was rewritten.
SENT_PATH = "classifier.sent_path"


class _Request(NamedTuple):
    """What is logged and measured of a request after its answer."""

    method: str
    route: str
    path: str
    span: Span
    started: float  #: time.perf_counter()


def register(app: Flask) -> None:
    app.before_request(_begin)
    app.after_request(_end)


def id_of(given: str) -> str:
    """`given`, the request id of a client, or a new id if `given` may harm a log or a header."""
    return given if _ID.fullmatch(given) else os.urandom(16).hex()


def _begin() -> None:
    # A label is the route's rule. Paths have job ids, of which there is no end.
    route = request.url_rule.rule if request.url_rule else "unknown"
    method = request.method if request.method in _METHODS else "other"
    parent = TraceContext.from_header(request.headers.get("traceparent", ""))
    if route in _QUIET:
        span = Span(TraceContext.below(parent), time.time())
    else:
        span = tracing.begin(f"{method} {route}", parent=parent, kind="server")
    sent: str | None = request.environ.get(SENT_PATH)
    # WSGI gives the bytes of a path as Latin-1.
    path = sent.encode("latin-1").decode(errors="replace") if sent else request.path
    g.request = _Request(method, route, path[:_LOGGED_PATH], span, time.perf_counter())
    g.request_id = id_of(request.headers.get("X-Request-Id", ""))
    tracing.current.set(span)
    log.fields.set({"http.request.id": g.request_id, "trace.id": span.context.trace_id})


def _end(response: Response) -> Response:
    response.headers["X-Request-Id"] = g.request_id
    response.headers["traceparent"] = g.request.span.context.header
    ended: _Request = g.request
    # This runs after the answer has left, so no client waits for it.
    response.call_on_close(lambda: _report(ended, response.status_code))
    return response


def _report(ended: _Request, status: int) -> None:
    """Measure and log a request, and end its span."""
    seconds = time.perf_counter() - ended.started
    metrics.HTTP_REQUESTS.labels(ended.route, ended.method, status).inc()
    metrics.HTTP_DURATION.labels(ended.route).observe(seconds)
    if ended.route in _QUIET:
        return
    attributes: dict[str, str | int] = {
        "http.request.method": ended.method,
        "http.route": ended.route,
        "url.path": ended.path,
        "http.response.status_code": status,
    }
    ended.span.note(attributes)
    ended.span.end()
    duration = int(1e9 * seconds)  # ECS counts in nanoseconds
    logger.info(
        "request", extra={"event.dataset": log.REQUEST, "event.duration": duration, **attributes}
    )
