"""Notices that the client of a request that waits has closed its connection.

A request that waits does not read its connection. Without this it would keep its place among the
connections until its wait ends. A client could leave thousands of such requests behind, and a
proxy closes its connection to web when its own client goes.

One greenlet asks the kernel about all of them, twice a second. So a request that waits for a
shorter time costs two steps in a table and no system call.

A client may close the sending half of its connection and still read the answer. That looks the
same here. So a wait ends early, and its request is answered. nginx drops such requests itself.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import gevent
from gevent.monkey import get_original

from shared.errors import Overloaded
from web.server.fairness.pacing import let_others_run

_SECONDS = 0.5

#: What the kernel reports when a client has closed or reset its connection. It does so behind bytes
#: of a next request, too. macOS has no name for the first one, and reports the second.
_GONE = getattr(select, "POLLRDHUP", select.POLLHUP)

_poll = get_original("select", "poll")


class ClientGone(Overloaded):
    """The client has closed its connection before there was room for its request."""


class Departures:
    def __init__(self, seconds: float = _SECONDS) -> None:
        self._seconds = seconds
        #: Set when the process stops reading its connections. The kernel then reports each of them.
        self.over = False
        #: What to call, by the number of the connection's socket.
        self._calls: dict[int, Callable[[], object]] = {}
        self._watches = False

    @contextmanager
    def noticed(self, client: socket.socket | None, call: Callable[[], object]) -> Iterator[None]:
        """Call `call`, which may not block, if `client` goes during this block.

        In a block inside this one, only the call of that block is made. None never goes.
        """
        if client is None:
            yield
            return
        number = client.fileno()
        outer = self._calls.get(number)
        self._calls[number] = call
        if not self._watches:
            self._watches = True
            gevent.spawn(self._watch)
        try:
            yield
        finally:
            self._calls.pop(number, None)
            if outer:
                self._calls[number] = outer

    @contextmanager
    def ending(self, client: socket.socket | None) -> Iterator[None]:
        """Raise ClientGone in this block if `client` goes. The block may only wait."""
        waiting = gevent.getcurrent()
        inside = True

        def end() -> None:
            if inside:
                waiting.throw(ClientGone())

        # The event loop makes the call, as it does for a Timeout. Until then the block may end.
        loop = gevent.get_hub().loop
        try:
            with self.noticed(client, lambda: loop.run_callback(end)):
                yield
        finally:
            inside = False

    def _watch(self) -> None:
        """Look for clients that have gone, for as long as a request waits."""
        try:
            while self._calls and not self.over:
                gevent.sleep(self._seconds)
                for number, call in self._gone():
                    if self._calls.get(number) is call:  # another request may have the number now
                        del self._calls[number]
                        call()
                        let_others_run()  # one request after the other ends, and others in between
        finally:
            self._watches = False

    def _gone(self) -> list[tuple[int, Callable[[], object]]]:
        if self.over:
            return []
        asked = _poll()
        for number in self._calls:
            asked.register(number, _GONE)
        return [(number, self._calls[number]) for number, _ in asked.poll(0)]


def has_gone(client: socket.socket | None) -> bool:
    """Whether a client has closed its connection."""
    if client is None or DEPARTURES.over:
        return False
    asked = _poll()
    asked.register(client.fileno(), _GONE)
    return bool(asked.poll(0))


#: Those of this process.
DEPARTURES = Departures()
