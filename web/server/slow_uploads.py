"""An upload that stands still is ended, so that a client cannot hold a connection for ever.

gunicorn limits the time for the head of a request (`keepalive`), but not for its body.
"""

from __future__ import annotations

import io
import socket
from collections.abc import Iterable
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import gevent
from werkzeug.exceptions import RequestTimeout

from web.server.fairness import entrance
from web.server.fairness.pacing import Pace, Pacing
from web.server.fairness.rests import RESTS
from web.server.request_body import has_ended, read_into

#: So many bytes have a time limit of their own, however many are read at once.
_PIECE_BYTES = 2**16


class SlowUploads:
    """Middleware: reads of the body raise RequestTimeout when 64 KiB take more than `seconds`.

    So a slow upload may take an hour if it keeps moving.
    """

    def __init__(self, app: WSGIApplication, pacing: Pacing, *, seconds: float) -> None:
        self._app = app
        self._pacing = pacing
        self._seconds = seconds

    def __call__(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        client = environ.get("gunicorn.socket")
        if client is not None:
            if "HTTP_TRANSFER_ENCODING" not in environ:
                # gunicorn says that it ends the body, and it does so even if the client goes half
                # way. Without this key Werkzeug counts, and refuses half a body.
                environ.pop("wsgi.input_terminated", None)
            pace = Pace(self._pacing, environ)
            body = environ["wsgi.input"]
            environ["wsgi.input"] = _Body(body, client, pace, self._seconds, environ)
        return self._app(environ, start)


class _Body(io.RawIOBase):
    def __init__(
        self,
        body: Any,
        client: socket.socket,
        pace: Pace,
        seconds: float,
        environ: WSGIEnvironment,
    ) -> None:
        self._body = body
        self._client = client
        self._pace = pace
        self._seconds = seconds
        self._environ = environ

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        RESTS.rest_if_owed()
        self._pace.wait()
        size = self._read_in_time(buffer)
        if size < len(buffer) or has_ended(self._body):
            # All that is done with the body follows now, without a pause.
            entrance.go_on(self._environ)
        return size

    def _read_in_time(self, buffer: Any) -> int:
        view, size = memoryview(buffer), 0
        while size < len(view):
            piece = view[size : size + _PIECE_BYTES]
            read = self._read_piece(piece)
            size += read
            if read < len(piece):
                break
        self._pace.note(size)
        return size

    def _read_piece(self, piece: memoryview) -> int:
        with gevent.Timeout(self._seconds, False):
            return read_into(self._body, self._client, piece)
        raise RequestTimeout(
            f"The upload stood still: 64 KiB took longer than {self._seconds:g} s. "
            "Send the request again."
        )
