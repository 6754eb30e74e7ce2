"""The clients that have lately sent a picture that is slow to decode."""

from __future__ import annotations

import time
from dataclasses import dataclass

#: After this time without a slow picture, a client is like any other.
_SECONDS = 60.0
_MOST = 1000
#: So many pictures of a client that sends slow ones are not tried, at most.
_MOST_UNTRIED, _MOST_WEIGHT = 63, 10.0
#: How much of a slow picture a quick one makes up for.
_OF_A_QUICK_ONE = 1 / 8


@dataclass
class _Client:
    until: float = 0.0
    seconds: float = 0.0  #: The processor time that its latest picture took.
    untried: int = 0  #: So many pictures will not be tried.
    weight: float = 0.0  #: Its slow pictures, less what its quick ones make up for.


class SlowClients:
    """A pool process keeps it over its batches. It remembers the latest `_MOST` clients."""

    def __init__(self) -> None:
        self._clients: dict[str, _Client] = {}

    def add(self, client: str, seconds: float) -> None:
        """`seconds` is the processor time that the slow picture took.

        After two slow pictures, the next picture is not tried, and after each further one twice as
        many and one.
        """
        known = self._clients.pop(client, _Client())  # so that the oldest comes first
        untried = min(int(2**known.weight) - 1, _MOST_UNTRIED)
        until = time.monotonic() + _SECONDS
        weight = min(known.weight + 1, _MOST_WEIGHT)
        self._clients[client] = _Client(until, seconds, untried, weight)
        if len(self._clients) > _MOST:
            del self._clients[next(iter(self._clients))]

    def was_quick(self, client: str, seconds: float = 0.0) -> None:
        """Several quick pictures make up for a slow one, or a client could send both in turn."""
        if known := self._clients.get(client):
            known.seconds = seconds
            known.weight = max(0.0, known.weight - _OF_A_QUICK_ONE)
            known.untried = 0 if known.weight < 1 else known.untried

    def seconds(self, client: str) -> float:
        """The processor time of a client's latest picture; 0 if the client is not slow."""
        return self._clients[client].seconds if client in self else 0.0

    def skip(self, client: str) -> bool:
        """Whether the next picture of a client is taken to be slow without a try."""
        if client not in self or not self._clients[client].untried:
            return False
        self._clients[client].untried -= 1
        return True

    def __contains__(self, client: str) -> bool:
        known = self._clients.get(client)
        return known is not None and time.monotonic() < known.until
