"""One log line and one measurement for each request."""

from __future__ import annotations

import logging
import re
import time
import uuid

from flask import Flask, Response, g, request

from shared import log, metrics

logger = logging.getLogger(__name__)

_METHODS = {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"}
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

#: Probes and scrapes come every few seconds and say nothing about people.
_QUIET = {"/livez", "/readyz", "/metrics"}


def register(app: Flask) -> None:
    app.before_request(_begin)
    app.after_request(_end)


def _begin() -> None:
    g.started = time.perf_counter()
    asked = request.headers.get("X-Request-Id", "")
    # Taken over only where it is harmless in a log line and in a header.
    g.request_id = asked if _ID.fullmatch(asked) else uuid.uuid4().hex
    log.fields.set({"http.request.id": g.request_id})


def _end(response: Response) -> Response:
    response.headers["X-Request-Id"] = g.request_id
    response.headers["X-Content-Type-Options"] = "nosniff"
    seconds = time.perf_counter() - g.started
    # The rule, not the path: a label for every job id would never end.
    route = request.url_rule.rule if request.url_rule else "unknown"
    method = request.method if request.method in _METHODS else "other"
    metrics.HTTP_REQUESTS.labels(route, method, response.status_code).inc()
    metrics.HTTP_SECONDS.labels(route).observe(seconds)
    if route not in _QUIET:
        line = {
            "http.request.method": request.method,
            "url.path": request.path,
            "http.response.status_code": response.status_code,
            "event.duration_ms": round(1000 * seconds, 2),
        }
        # Written once the answer has left: nobody need wait for it.
        response.call_on_close(lambda: logger.info("request", extra=line))
    return response
