"""A web application that is asked to stop between an answer and the next request.

The call `/stop-at-the-next-request` answers, waits until the same client has sent another request,
and sends SIGTERM to its own process. The process handles the signal before that request.
"""

from __future__ import annotations

import os
import signal
from functools import partial

from flask import Flask, Response, request
from gevent import select, socket

from web import app


def create_app() -> Flask:
    application = app.create_app()

    @application.get("/stop-at-the-next-request")
    def stop_at_the_next_request() -> Response:
        response = Response("bye")
        # Flask calls it when the whole answer has left.
        response.call_on_close(partial(_stop_after, request.environ["gunicorn.socket"]))
        return response

    return application


def _stop_after(client: socket.socket) -> None:
    select.select([client], [], [], 10)
    os.kill(os.getpid(), signal.SIGTERM)
