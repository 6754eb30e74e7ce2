"""A request waits for its share of a limit for a while, instead of being refused at once.

It waits before its body is read: what its client has sent stays in the kernel. A wait takes a
greenlet, and no thread. It always ends, so no request keeps its place for ever.
"""

from __future__ import annotations

from collections import deque

from gevent.event import Event

from web.server.fairness.shares import Shares


class _Waiting:
    """A request in a line."""

    def __init__(self, amount: int) -> None:
        self.amount = amount
        self.served = Event()


class Lines:
    """A limit that clients share. Each client has a line for each kind of its requests.

    In a line, each request waits for those before it, so that small ones do not pass a large one
    again and again. Lines do not wait for each other. A request whose line is empty gets its
    share at once if there is room. So the photos of a client never wait behind its folders, and
    other clients have the same share as if nobody waited.
    """

    def __init__(self, limit: int, *, seconds: float) -> None:
        """`seconds` is the longest wait."""
        self._shares = Shares(limit)
        self._seconds = seconds
        #: By client and kind; the line that was served last is at the end. No line is empty.
        self._lines: dict[tuple[str, str], deque[_Waiting]] = {}

    def take(self, client: str, amount: int, kind: str = "") -> bool:
        """Whether `client` got `amount`, perhaps after a wait."""
        if not amount:
            return True
        if (client, kind) not in self._lines and self._shares.take(client, amount):
            return True
        return bool(self._seconds) and self._wait(client, amount, kind)

    def give_back(self, client: str, amount: int) -> None:
        """Free what `client` has taken, for those that wait."""
        self._shares.give_back(client, amount)
        self._serve()

    def _wait(self, client: str, amount: int, kind: str) -> bool:
        waiting = _Waiting(amount)
        self._lines.setdefault((client, kind), deque()).append(waiting)
        try:
            waiting.served.wait(self._seconds)
            return bool(waiting.served.is_set())
        except BaseException:  # the greenlet was killed, perhaps just after it was served
            if waiting.served.is_set():
                self.give_back(client, amount)
            raise
        finally:
            if not waiting.served.is_set():
                self._leave((client, kind), waiting)

    def _leave(self, key: tuple[str, str], waiting: _Waiting) -> None:
        self._lines[key].remove(waiting)
        if not self._lines[key]:
            del self._lines[key]
        self._serve()  # there may be room for the next one

    def _serve(self) -> None:
        """Serve the first of each line in rotation, until there is no room for any of them."""
        served = bool(self._lines)
        while served:
            served = False
            for key, line in list(self._lines.items()):
                if self._shares.take(key[0], line[0].amount):
                    served = True
                    line.popleft().served.set()
                    del self._lines[key]
                    if line:
                        self._lines[key] = line  # the last one now
