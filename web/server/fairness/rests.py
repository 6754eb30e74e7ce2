"""While others are there, a client gets about half of the event loop at most.

One thread serves all clients. A form of many pictures is read in hundreds of rounds of the event
loop, and each round lasts as long as the steps of another client in it. So the time of each step is
counted for its client, whatever the step does. Afterwards the client rests for as long: its next
requests begin later, and long bodies and answers pause. The rounds of others are short meanwhile.
While no other client is there, nobody rests.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import gevent
import greenlet  # type: ignore[import-untyped]

from web.server.fairness.pacing import client_of, current_client, let_others_run
from web.server.fairness.places import PLACES, Places

#: A client is there while it has a request, and for so long after the latest has begun.
_PRESENT_SECONDS = 1.0

#: A rest that is shorter is left out, so that one request after the other never waits.
_SHORT_SECONDS = 0.005
_LONGEST_SECONDS = 2.0

#: A request of many small steps lets others run after so long.
_BREAK_SECONDS = 0.001

#: Clients whose rests are remembered. It is made smaller when there are more.
_MOST = 1000


class Rests:
    """Those of one process."""

    def __init__(
        self, clock: Callable[[], float] = time.perf_counter, places: Places = PLACES
    ) -> None:
        self._clock = clock
        self._places = places
        self._until: dict[str, float] = {}  #: By client: until when it rests.
        self._latest = ("", float("-inf"))  #: The client of the latest request, and its time.
        self._other = ("", float("-inf"))  #: The latest one of another client than that.
        self._switched_at = clock()

    def note(self, client: str) -> None:
        """A request of this client begins."""
        if client != self._latest[0]:
            self._other = self._latest
        self._latest = client, self._clock()

    def watch(self) -> None:
        """Count the time of all greenlets of this thread from now on."""
        greenlet.settrace(self._on_switch)

    def _on_switch(self, _: str, greenlets: tuple[Any, Any]) -> None:
        """A greenlet, the first one, has run since the last switch."""
        now = self._clock()
        if client := client_of(greenlets[0]):
            self.ran(client, now, now - self._switched_at)
        self._switched_at = now

    def ran(self, client: str, now: float, seconds: float) -> None:
        """A step of this client took so long, and ends now."""
        until = max(now, self._until.get(client, now)) + seconds
        self._until[client] = min(until, now + _LONGEST_SECONDS)
        if len(self._until) > _MOST:
            self._until = {each: end for each, end in self._until.items() if end > now}

    def owed(self, client: str) -> float:
        """For how many seconds a client has to rest; 0 if nobody else is there."""
        now = self._clock()
        seconds = self._until.get(client, now) - now
        return seconds if seconds > _SHORT_SECONDS and self.others_are_there(client) else 0.0

    def rest(self) -> None:
        """A pause of a long request, until the client of this greenlet has rested."""
        if not self.rest_if_owed():
            let_others_run()

    def rest_if_owed(self) -> bool:
        """The same, without a pause if the client has no rest to take. Returns whether it had."""
        seconds = self.owed(current_client())
        if seconds:
            gevent.sleep(seconds)
        return bool(seconds)

    def others_are_there(self, client: str) -> bool:
        """Whether another client has a request, or had one a moment ago. Threads may ask."""
        since = self._clock() - _PRESENT_SECONDS
        return self._places.others_have_some(client) or any(
            name not in ("", client) and at > since for name, at in (self._latest, self._other)
        )


RESTS = Rests()


class Breaks:
    """Many small steps of one request. Others run after each millisecond, and not after each step.

    Each round of the event loop may take some milliseconds while another client asks much. If the
    client has to rest, it does so in a break.
    """

    def __init__(
        self, clock: Callable[[], float] = time.perf_counter, rests: Rests = RESTS
    ) -> None:
        self._clock = clock
        self._rests = rests
        self._since = clock()

    def take(self) -> None:
        """Call it between two steps."""
        if self._clock() - self._since > _BREAK_SECONDS:
            self._rests.rest()
            self._since = self._clock()
