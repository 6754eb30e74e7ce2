"""How long a client wants to wait: `?wait=n`, or `Prefer: wait=n` (RFC 7240)."""

from __future__ import annotations

import re

from flask import request

_PREFER_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,6})\"?(?=$|[,;\s])", re.IGNORECASE)


def wait_seconds(asked: float | None, *, default: float, longest: float) -> float:
    """The query's wish, else the header's, else `default`; never more than `longest`."""
    if asked is None:
        match = _PREFER_WAIT.search(request.headers.get("Prefer", ""))
        asked = float(match[1]) if match else default
    return min(asked, longest)
