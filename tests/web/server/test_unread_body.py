"""What a client still sends after its answer is read for a while, or the answer might be lost."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import gevent
import pytest

from tests.web.server.conftest import HEAD, Connection
from web.server import unread_body
from web.server.unread_body import UnreadBody

Connect = Callable[[], Connection]


def answer(connection: Connection, seconds: float = 10) -> None:
    """Answer a request without reading its body, as gunicorn does."""
    request = next(connection.parser)
    environ: Any = {
        "gunicorn.socket": connection.far,
        "wsgi.input": request.body,
        "CONTENT_LENGTH": str(request.body.reader.length),
    }
    refusing = UnreadBody(lambda *_: [b"refused"], seconds=seconds)
    answered: Any = refusing(environ, lambda *_: lambda _: None)
    answered.close()


def test_the_connection_carries_the_next_request_after_a_body_that_comes_late(
    connect: Connect,
) -> None:
    connection = connect()
    connection.client.sendall(HEAD % 100_000 + bytes(70_000))
    gevent.spawn_later(0.05, connection.client.sendall, bytes(30_000) + HEAD % 0)
    answer(connection)
    assert next(connection.parser).method == "POST"


def test_a_body_that_stands_still_is_read_no_more(connect: Connect) -> None:
    connection = connect()
    connection.client.sendall(HEAD % 100_000 + bytes(70_000))
    answer(connection, seconds=0.05)
    assert connection.far.recv(1) == b""


def test_a_body_that_never_ends_is_read_no_more(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unread_body, "_LONGEST_SECONDS", 0.05)
    connection = connect()

    def send() -> None:
        with suppress(OSError):
            connection.client.sendall(HEAD % 10**12)
            while True:
                connection.client.sendall(bytes(2**16))

    sending = gevent.spawn(send)
    answer(connection)
    assert next(connection.parser, None) is None
    connection.far.close()
    sending.join(10)
