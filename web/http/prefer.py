"""How long a client wants to wait for its answer: `?wait=n`, or `Prefer: wait=n` (RFC 7240)."""

from __future__ import annotations

import re

from werkzeug.datastructures import Headers

_PREFER_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,6})\"?(?=$|[,;\s])", re.IGNORECASE)


def wait_seconds(
    in_query: float | None, headers: Headers, *, default: float, longest: float
) -> float:
    """Seconds from the query, or else from the header, or else `default`; at most `longest`."""
    seconds = in_query
    if seconds is None:
        match = _PREFER_WAIT.search(headers.get("Prefer", ""))
        seconds = float(match[1]) if match else default
    return min(seconds, longest)
