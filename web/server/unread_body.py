"""What is left of a body that was answered unread: taken in after the answer.

A connection that is closed on unread bytes is reset, and the reset overtakes the answer. One that
stays open needs them out of the way too. gunicorn would read them by the kilobyte, and copy each
several times.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterable
from contextlib import suppress
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import gevent
from gunicorn.http.errors import ParseException
from werkzeug.wsgi import ClosingIterator

from web.server.pacing import BodyTurns
from web.server.request_body import read_into

#: Where bytes go that nobody looks at, so it is one for all.
_WASTE = bytearray(2**18)

#: Whoever takes longer is left to gunicorn, which closes the connection in its own time.
_LONGEST_SECONDS = 5.0


class UnreadBody:
    """Middleware, outside of any other that replaces `wsgi.input`."""

    def __init__(self, app: WSGIApplication) -> None:
        self._app = app

    def __call__(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        client, body = environ.get("gunicorn.socket"), environ["wsgi.input"]
        answer = self._app(environ, start)
        if client is None or not _has_body(environ):
            return answer
        return ClosingIterator(answer, lambda: _take_in(body, client))


def _has_body(environ: WSGIEnvironment) -> bool:
    return "HTTP_TRANSFER_ENCODING" in environ or environ.get("CONTENT_LENGTH", "0") != "0"


def _take_in(body: Any, client: socket.socket) -> None:
    # What is raised: the client has gone, or what it sent is no body.
    with gevent.Timeout(_LONGEST_SECONDS, False), suppress(OSError, ParseException):
        turns, flags = BodyTurns(), _discarding(client)
        while read_into(body, client, _WASTE, flags):
            turns.take()


def _discarding(client: socket.socket) -> int:
    """Linux counts the bytes of a TCP connection without copying them, if so told."""
    return 0 if isinstance(client, ssl.SSLSocket) else socket.MSG_TRUNC
