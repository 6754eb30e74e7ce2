"""Turns an error answer into an exception."""

from __future__ import annotations

from typing import Any

import httpx

from ...errors import (
    Conflict,
    InvalidRequest,
    NotAuthenticated,
    NotFound,
    Refused,
    RequestTooLarge,
    TryLater,
    not_of_a_service,
)
from ...text import address_of

#: The class for a code that this version does not know.
_BY_STATUS: dict[int, type[Refused]] = {
    401: NotAuthenticated,
    404: NotFound,
    409: Conflict,
    413: RequestTooLarge,
    422: InvalidRequest,
    429: TryLater,
    502: TryLater,
    503: TryLater,
    504: TryLater,
}

#: The server of the service, or a proxy before it, may answer so without a code.
_OF_SERVERS = frozenset((400, 408, 413, 414, 429, 431, 500, 502, 503, 504))


def refusal(response: httpx.Response) -> Refused:
    """The exception for an error answer, whose body has been read."""
    try:
        problem: dict[str, Any] = dict(response.json())
    except (ValueError, TypeError):
        # A proxy or another program answered.
        problem = {}
    status = response.status_code
    code = str(problem.get("code") or f"http_{status}")
    error = Refused.by_code.get(code) or _BY_STATUS.get(status, Refused)
    message = str(problem.get("detail") or response.reason_phrase)
    if "code" not in problem and status not in _OF_SERVERS:
        message = not_of_a_service(address_of(response.request.url), message)
    return error(
        message,
        status=status,
        code=code,
        retry_after=_seconds(response.headers.get("Retry-After")),
        request_id=response.headers.get("X-Request-Id"),
        job_id=problem.get("job_id"),
        indexes=problem.get("indexes") or (),
    )


def _seconds(retry_after: str | None) -> float | None:
    """Seconds of a Retry-After header. A date is ignored: the two clocks may differ."""
    try:
        seconds = float(retry_after or "")
    except ValueError:
        return None
    return seconds if 0 <= seconds < float("inf") else None
