"""The rest of a body that was answered before it was read is read and dropped after the answer.

When a connection is closed while bytes of it are unread, the kernel resets it, and the reset may
overtake the answer. A connection that stays open needs the bytes out of the way as well. gunicorn
would read them by the kilobyte, and copy each several times.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import gevent
from werkzeug.exceptions import BadRequest
from werkzeug.wsgi import ClosingIterator

from web.server.fairness.pacing import Queue, let_others_run
from web.server.fairness.rests import RESTS
from web.server.request_body import give_way, read_into

#: All dropped bytes go here. One buffer serves every request, because nothing reads it.
_DROPPED = bytearray(2**18)

#: After this the connection is closed. Hundreds of photos that are refused at once come slowly.
_LONGEST_SECONDS = 30.0


class UnreadBody:
    """Middleware. It goes outside of any other that replaces `wsgi.input`.

    It closes a connection that brings less than 256 KiB within `seconds`.
    """

    def __init__(self, app: WSGIApplication, *, seconds: float) -> None:
        self._app = app
        self._seconds = seconds
        self._chunks = Queue()

    def __call__(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        client, body = environ.get("gunicorn.socket"), environ["wsgi.input"]
        if client is not None and "HTTP_TRANSFER_ENCODING" in environ:
            give_way(body, self._chunks.wait)
        answer = self._app(environ, start)
        if client is None or not _has_body(environ):
            return answer
        return ClosingIterator(answer, lambda: self._drop(body, client))

    def _drop(self, body: Any, client: socket.socket) -> None:
        give_up = time.monotonic() + _LONGEST_SECONDS
        # An error means that the client has gone, or that what it sent is no body.
        with suppress(OSError, BadRequest):
            if body.failed:  # the client sees the end at once, although its bytes are still read
                client.shutdown(socket.SHUT_WR)
            while (
                time.monotonic() < give_up and (size := self._drop_some(body, client)) is not None
            ):
                if not size:
                    return
                RESTS.rest()
            # Otherwise gunicorn would read the rest, however long that takes.
            client.shutdown(socket.SHUT_RD)

    def _drop_some(self, body: Any, client: socket.socket) -> int | None:
        """How many bytes were dropped, which is none at the end; None if they come too slowly."""
        with gevent.Timeout(self._seconds, False):
            if body.failed:
                return client.recv_into(_DROPPED, 0, _uncopied(client))
            return read_into(body, client, _DROPPED, _uncopied(client))
        return None


def drop_rest(client: socket.socket, *, seconds: float) -> None:
    """Drop all that a client still sends after an answer that ends its connection.

    This ends when nothing comes for `seconds`.
    """
    give_up = time.monotonic() + _LONGEST_SECONDS
    with suppress(OSError):  # the client has gone
        client.shutdown(socket.SHUT_WR)
        while time.monotonic() < give_up:
            size = 0
            with gevent.Timeout(seconds, False):
                size = client.recv_into(_DROPPED, 0, _uncopied(client))
            if not size:
                return
            let_others_run()


def _has_body(environ: WSGIEnvironment) -> bool:
    return "HTTP_TRANSFER_ENCODING" in environ or environ.get("CONTENT_LENGTH", "0") != "0"


def _uncopied(client: socket.socket) -> int:
    """The flag with which Linux counts the bytes of a TCP connection and does not copy them."""
    return 0 if isinstance(client, ssl.SSLSocket) else socket.MSG_TRUNC
