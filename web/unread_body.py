"""What is left of a body that was answered unread: taken in after the answer.

A connection that is closed on unread bytes is reset, and the reset overtakes the answer. One that
stays open needs them out of the way too; gunicorn does that by the kilobyte, this by more.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

_PIECE_BYTES = 2**18

#: Whoever takes longer is left to gunicorn, which closes the connection in its own time.
_LONGEST_SECONDS = 5.0


def register(app: Flask) -> None:
    app.after_request(_take_in_the_rest)


def _take_in_the_rest(response: Response) -> Response:
    has_body = request.content_length or "chunked" in request.headers.get("Transfer-Encoding", "")
    if has_body and "gunicorn.socket" in request.environ:
        body = request.environ["wsgi.input"]
        response.call_on_close(lambda: _read(body))
    return response


def _read(body: Any) -> None:
    give_up = time.monotonic() + _LONGEST_SECONDS
    with suppress(OSError, HTTPException):  # the client has gone, or has stopped sending
        while time.monotonic() < give_up and body.read(_PIECE_BYTES):
            pass
