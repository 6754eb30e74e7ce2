"""Whether other clients than those of slow pictures have lately sent messages to this worker."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from workers.batching.batch import client, runs_alone

#: A client whose message must run alone is slow for so long.
_SLOW_SECONDS = 60.0
#: After this time without a message of another client, nobody else is there. A folder of photos
#: would take twice as long if one process were kept free for everyone who sends a job now and then.
_OTHERS_SECONDS = 1.0


class OtherClients:
    def __init__(self) -> None:
        self._slow: dict[str, float] = {}  #: Slow clients, and until when they are.
        self._others_until = 0.0

    def note(self, request: Any) -> None:
        """A message has come. One that names no client says nothing."""
        name, now = client(request), time.monotonic()
        if not name:
            return
        if runs_alone(request):
            self._slow = {each: until for each, until in self._slow.items() if until > now}
            self._slow[name] = now + _SLOW_SECONDS
        else:
            self.note_waiting([name])

    def note_waiting(self, clients: Iterable[str]) -> None:
        """These clients have messages that need not run alone."""
        now = time.monotonic()
        if any(self._slow.get(name, 0.0) < now for name in clients):
            self._others_until = now + _OTHERS_SECONDS

    @property
    def are_there(self) -> bool:
        """Whether another client than the slow ones has lately sent a message."""
        return time.monotonic() < self._others_until
