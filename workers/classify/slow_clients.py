"""The clients that have lately sent a picture that is slow to decode."""

from __future__ import annotations

import time

#: After this time without a slow picture, a client is like any other.
_SECONDS = 60.0
_MOST = 1000


class SlowClients:
    """A pool process keeps it over its batches. It remembers the latest `_MOST` clients."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}

    def add(self, client: str) -> None:
        self._until.pop(client, None)  # so that the oldest comes first
        self._until[client] = time.monotonic() + _SECONDS
        if len(self._until) > _MOST:
            del self._until[next(iter(self._until))]

    def __contains__(self, client: str) -> bool:
        until = self._until.get(client)
        return until is not None and time.monotonic() < until
