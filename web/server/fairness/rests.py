"""Long answers rest between their steps, so that they take half of the process at most.

One thread serves all clients. A form of many pictures is read in hundreds of rounds of the event
loop, and each round would last as long as a step of another client's answer. So after a step its
client rests as long as that took, and the rounds of others are short meanwhile. While no other
client is there, nobody rests.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import gevent

from web.server.fairness.pacing import current_client, let_others_run

#: A client is there for so long after the beginning of its latest request.
_PRESENT_SECONDS = 1.0

#: Clients whose rests are remembered. It is made smaller when there are more.
_MOST = 1000


class Rests:
    """Those of one process."""

    def __init__(
        self,
        clock: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], object] = gevent.sleep,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._until: dict[str, float] = {}  #: By client: until when it rests.
        self._latest = ("", float("-inf"))  #: The client of the latest request, and its time.
        self._other = ("", float("-inf"))  #: The latest one of another client than that.

    def note(self, client: str) -> None:
        """A request of this client begins."""
        if client != self._latest[0]:
            self._other = self._latest
        self._latest = client, self._clock()

    def rest(self, seconds: float) -> None:
        """Return when the client of this greenlet has rested for a step that took so long.

        The steps of a client that end meanwhile rest one after the other.
        """
        client, now = current_client(), self._clock()
        if not self._others_are_there(client, now):
            let_others_run()
            return
        until = max(now, self._until.get(client, now)) + seconds
        self._until[client] = until
        if len(self._until) > _MOST:
            self._until = {each: end for each, end in self._until.items() if end > now}
        self._sleep(until - now)

    def _others_are_there(self, client: str, now: float) -> bool:
        return any(
            name not in ("", client) and now - at < _PRESENT_SECONDS
            for name, at in (self._latest, self._other)
        )


RESTS = Rests()
