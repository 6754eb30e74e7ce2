"""Refusals in front of Flask: the answer, its measurement, and few log lines.

Under overload most requests are refused, on the cores that the accepted ones need. A refusal by the
application would cost nearly as much as an accepted picture.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from functools import lru_cache
from http import HTTPStatus
from wsgiref.types import StartResponse, WSGIEnvironment

from shared.errors import Overloaded, TryLater
from shared.observe import metrics
from shared.observe.tracing import TraceContext
from web.http import requests, security_headers
from web.http.errors import problem_body, status_for
from web.server.fairness.departures import ClientGone

logger = logging.getLogger(__name__)

#: How a request counts whose client has gone, as with nginx. Nobody has got a bad answer. A client
#: that has closed its sending half alone reads the answer all the same.
_GONE = 499

_HEADERS = [("Content-Type", "application/problem+json"), *security_headers.FOR_DATA.items()]


class Refusals:
    """The refusals of one route, which are all counted.

    Those of a second share one log line: a line for each would cost more than the refusal.
    """

    def __init__(self, route: str, method: str) -> None:
        self._route = route
        self._method = method
        self._duration = metrics.HTTP_DURATION.labels(route)
        # Also before the first refusal, so that Prometheus sees it.
        metrics.REFUSALS.labels(Overloaded.code, route)
        self._not_logged: Counter[tuple[HTTPStatus, str]] = Counter()

    def answer(
        self, refusal: TryLater, environ: WSGIEnvironment, start: StartResponse, began: float
    ) -> list[bytes]:
        """The answer to a request that came at `began` by time.perf_counter()."""
        status = HTTPStatus(status_for(type(refusal)))
        body = _body(status, refusal.code, str(refusal))
        headers = [*_HEADERS, *_own_headers(environ, refusal, len(body))]
        start(f"{status.value} {status.phrase}", headers)
        if isinstance(refusal, ClientGone):
            metrics.HTTP_REQUESTS.labels(self._route, self._method, _GONE).inc()
        else:
            self._note(status, refusal.code, time.perf_counter() - began)
        return [body]

    def _note(self, status: HTTPStatus, code: str, seconds: float) -> None:
        metrics.HTTP_REQUESTS.labels(self._route, self._method, int(status)).inc()
        self._duration.observe(seconds)
        metrics.REFUSALS.labels(code, self._route).inc()
        self._not_logged[status, code] += 1
        if self._not_logged.total() == 1:
            timer = threading.Timer(1.0, self._log)  # a greenlet, in the web process
            timer.daemon = True
            timer.start()

    def _log(self) -> None:
        counts, self._not_logged = self._not_logged, Counter()
        for (status, code), count in counts.items():
            fields: dict[str, str | int] = {
                "http.request.method": self._method,
                "http.route": self._route,
                "http.response.status_code": int(status),
            }
            logger.info("refused %d requests: %s", count, code, extra=fields)


@lru_cache(maxsize=100)  # to make it would cost more than the rest of a refusal
def _body(status: HTTPStatus, code: str, text: str) -> bytes:
    return problem_body(status, code, text).encode()


def _own_headers(environ: WSGIEnvironment, refusal: TryLater, length: int) -> list[tuple[str, str]]:
    parent = TraceContext.from_header(environ.get("HTTP_TRACEPARENT", ""))
    return [
        ("Content-Length", str(length)),
        ("Retry-After", str(refusal.retry_after_seconds)),
        ("X-Request-Id", requests.id_of(environ.get("HTTP_X_REQUEST_ID", ""))),
        ("traceparent", TraceContext.below(parent).header),
    ]
