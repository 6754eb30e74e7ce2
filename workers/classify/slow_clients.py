"""Clients that have lately sent a slow picture, and how heavy the latest picture of each was."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

#: After this time without a slow picture, a client is like any other.
_SECONDS = 60.0
_MOST = 1000
#: While others are there, the tries of a slow client may take one part in so many of the time.
_SHARE = 32
#: A client is there for so long after its latest picture.
_THERE_SECONDS = 10.0
#: The unit of heaviness. Most pictures take less processor time than this.
_HEAVINESS_SECONDS = 0.1

LIGHT = (False, 0)  #: The heaviness of a usual client.


@dataclass(frozen=True)
class _Slow:
    until: float
    tried_from: float  #: Before this time its pictures are not tried while others are there.


class SlowClients:
    """A pool process keeps it over its batches. It remembers the latest `_MOST` clients."""

    def __init__(self) -> None:
        self._slow: dict[str, _Slow] = {}
        self._seconds: dict[str, float] = {}  #: What the latest picture of each client took.
        self._seen: dict[str, float] = {}  #: The two clients that were seen last, and when.

    def seen(self, clients: Iterable[str]) -> None:
        """These clients have sent pictures."""
        for client in clients:
            self._seen.pop(client, None)
            self._seen[client] = time.monotonic()
        self._seen = dict(list(self._seen.items())[-2:])

    def add(self, client: str, seconds: float) -> None:
        """`seconds` is the processor time that the slow picture took.

        After the second one in a minute, the next pictures are not tried for a time, because the
        result is clear and others would wait. Quick pictures in between change nothing, or a client
        could send both in turn.
        """
        known = self._known(client)
        self._slow.pop(client, None)  # so that the oldest comes first
        now = time.monotonic()
        rest = min((_SHARE - 1) * seconds, _SECONDS) if known else 0.0
        tried_from = max(now + rest, known.tried_from if known else 0.0)
        self._slow[client] = _Slow(now + _SECONDS, tried_from)
        if len(self._slow) > _MOST:
            del self._slow[next(iter(self._slow))]
        self.took(client, seconds)

    def took(self, client: str, seconds: float) -> None:
        """The latest picture of a client took so much processor time."""
        self._seconds.pop(client, None)
        self._seconds[client] = seconds
        if len(self._seconds) > _MOST:
            del self._seconds[next(iter(self._seconds))]

    def seconds(self, client: str) -> float:
        """The processor time of a client's latest picture; 0 if the client is not slow."""
        return self._seconds.get(client, 0.0) if client in self else 0.0

    def heaviness(self, client: str) -> tuple[bool, int]:
        """Clients with a lower one go first. That of most clients is the lowest one."""
        return client in self, int(self._seconds.get(client, 0.0) / _HEAVINESS_SECONDS)

    def skips(self, client: str) -> bool:
        """Whether the next picture of a client is taken to be slow without a try."""
        known = self._known(client)
        return bool(known and time.monotonic() < known.tried_from and self._others(client))

    def _others(self, client: str) -> bool:
        since = time.monotonic() - _THERE_SECONDS
        return any(at > since for each, at in self._seen.items() if each != client)

    def __contains__(self, client: str) -> bool:
        return self._known(client) is not None

    def _known(self, client: str) -> _Slow | None:
        known = self._slow.get(client)
        return known if known and time.monotonic() < known.until else None
