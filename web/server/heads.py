"""The heads of requests: their size, and the order in which they are read.

A client may open connections, send its heads byte by byte, or send heads that are none. So heads go
through the entrance, too (web.server.fairness.entrance): each time that bytes of one have come. An
address that sends one head at a time never waits.

Behind a proxy that is trusted, all heads come from the proxy. It sends only whole ones.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, ClassVar

from gunicorn.http.message import Request
from gunicorn.http.parser import RequestParser

from web.server.addresses import client_at
from web.server.fairness.entrance import ENTRANCE, Entrance

#: Bytes of the longest head of a request. gunicorn allows 100 headers of 8 KiB.
_LONGEST = 2**16

#: One line in so many seconds tells of heads that are wrong, and shows so many characters.
_LOG_SECONDS, _LOGGED = 1.0, 256

#: How gunicorn's line begins.
_WRONG = "Invalid request from"


class Head(Request):  # type: ignore[misc]
    """A request whose head is limited as a whole, and read when it is its address's turn."""

    entrance: ClassVar[Entrance | None] = None  #: None if all heads come from a proxy.
    waiting: ClassVar[set[Any]] = set()  #: The sockets whose client waits for its turn here.

    @property
    def max_buffer_headers(self) -> int:
        return _LONGEST

    @max_buffer_headers.setter
    def max_buffer_headers(self, by_gunicorn: int) -> None:
        """gunicorn sets it to the limit of a header, for each header that it allows."""

    def read_into(self, unreader: Any, buf: bytearray, stop: bool = False) -> None:
        """Called by gunicorn for each piece of a head."""
        try:
            super().read_into(unreader, buf, stop=stop)
        finally:  # to close a connection takes time, too
            self._wait(unreader.sock)

    def _wait(self, client: Any) -> None:
        # A Unix socket has no addresses.
        if self.entrance and isinstance(self.peer_addr, tuple):
            self.waiting.add(client)
            try:
                self.entrance.read_head(client_at(self.peer_addr[0]))
            finally:
                self.waiting.discard(client)


class FewLines(logging.Filter):
    """Lets gunicorn log few of the wrong heads, because a client can send thousands a second.

    gunicorn logs what is wrong, which may be a line of 64 KiB.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._next_at = clock()
        self._left_out = 0

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        if not text.startswith(_WRONG):
            return True
        if self._clock() < self._next_at:
            self._left_out += 1
            return False
        self._next_at = self._clock() + _LOG_SECONDS
        more = f" (and {self._left_out} more since the last line)" if self._left_out else ""
        record.msg, record.args = text[:_LOGGED] + more, ()
        self._left_out = 0
        return True


def read_in_turn(errors: logging.Logger, *, behind_proxy: bool) -> None:
    """Let gunicorn of this process read all heads so. `errors` is its log of errors."""
    Head.entrance = None if behind_proxy else ENTRANCE
    RequestParser.mesg_class = Head
    errors.addFilter(FewLines())
