"""An upload that stands still is ended: a client must not hold a connection for ever.

gunicorn bounds the time for a request's head (`keepalive`), and has no limit for its body.
"""

from __future__ import annotations

import io
import socket
from collections.abc import Iterable
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import gevent
from werkzeug.exceptions import RequestTimeout

from web.server.pacing import BodyTurns
from web.server.request_body import read_into


class SlowUploads:
    """Middleware: whoever reads the body gets RequestTimeout where a read takes too long.

    Werkzeug reads 64 KiB at a time, so this asks for a pace, not for an end: 100 megabytes over a
    telephone line may take their hour.
    """

    def __init__(self, app: WSGIApplication, *, seconds: float) -> None:
        self._app = app
        self._seconds = seconds

    def __call__(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        client = environ.get("gunicorn.socket")
        if client is not None:
            if "HTTP_TRANSFER_ENCODING" not in environ:
                # gunicorn ends the body, it says, and does even where the client has gone half way.
                # Werkzeug then counts for itself, and takes no half for the whole.
                environ.pop("wsgi.input_terminated", None)
            environ["wsgi.input"] = _Paced(environ["wsgi.input"], client, self._seconds)
        return self._app(environ, start)


class _Paced(io.RawIOBase):
    def __init__(self, body: Any, client: socket.socket, seconds: float) -> None:
        self._body = body
        self._client = client
        self._seconds = seconds
        self._turns = BodyTurns()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._turns.take()
        with gevent.Timeout(self._seconds, False):
            return read_into(self._body, self._client, buffer)
        # Or gunicorn would read the rest, for as long as it takes, to reuse the connection.
        self._client.shutdown(socket.SHUT_RD)
        raise RequestTimeout("The upload stands still.")
