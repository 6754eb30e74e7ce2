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

#: Probes, scrapes and pages that watch come every few seconds and say nothing about people.
_QUIET = {
    *("/livez", "/readyz", "/metrics", "/api/v1/health", "/api/v1/model/info"),
    "/page/<path:filename>",
}


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
    # The rule, not the path: a label for every job id would never end.
    route = request.url_rule.rule if request.url_rule else "unknown"
    method, path, started = request.method, request.path, g.started
    # Once the answer has left: nobody need wait for our bookkeeping.
    response.call_on_close(lambda: _note(route, method, path, response.status_code, started))
    return response


def _note(route: str, method: str, path: str, status: int, started: float) -> None:
    seconds = time.perf_counter() - started
    known = method if method in _METHODS else "other"
    metrics.HTTP_REQUESTS.labels(route, known, status).inc()
    metrics.HTTP_DURATION.labels(route).observe(seconds)
    if route not in _QUIET:
        logger.info(
            "request",
            extra={
                "http.request.method": method,
                "url.path": path,
                "http.response.status_code": status,
                "event.duration_ms": round(1000 * seconds, 2),
            },
        )
