"""A client that stands still is refused, and it delays no other client."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import gevent
import pytest
from werkzeug.exceptions import RequestTimeout

from tests.web.server.conftest import HEAD, Connection
from web.server import slow_uploads
from web.server.fairness.pacing import Pacing, note_client
from web.server.fairness.rests import Rests
from web.server.slow_uploads import SlowUploads


def upload(
    pacing: Pacing, connection: Connection, seconds: float = 10, at_once: int = 2**16
) -> bytes:
    """The body that an application reads."""
    bodies: list[bytes] = []

    def app(environ: Any, start: Any) -> list[bytes]:
        piece = bytearray(at_once)
        while size := environ["wsgi.input"].readinto(piece):
            bodies.append(bytes(piece[:size]))
        return []

    request = next(connection.parser)
    environ: Any = {"gunicorn.socket": connection.far, "wsgi.input": request.body}
    SlowUploads(app, pacing, seconds=seconds)(environ, lambda *_: lambda _: None)
    return b"".join(bodies)


def test_a_client_that_stands_still_is_refused(connect: Callable[[], Connection]) -> None:
    connection = connect()
    connection.client.sendall(HEAD % 100_000 + bytes(70_000))
    with pytest.raises(RequestTimeout, match="stood still"):
        upload(Pacing(), connection, seconds=0.05)


def test_a_large_read_has_the_time_of_all_its_pieces(connect: Callable[[], Connection]) -> None:
    """An archive is read by 256 KiB. It got 408 at 20 KB a second, where 7 are enough."""
    connection = connect()

    def send() -> None:
        connection.client.sendall(HEAD % 2**18)
        for _ in range(8):
            gevent.sleep(0.1)
            connection.client.sendall(bytes(2**15))

    sending = gevent.spawn(send)
    assert len(upload(Pacing(), connection, seconds=0.5, at_once=2**18)) == 2**18
    sending.get()


def test_a_slow_client_delays_no_other(connect: Callable[[], Connection]) -> None:
    pacing, slow, quick = Pacing(), connect(), connect()
    size = 2**20
    slow.client.sendall(HEAD % size)
    beginning = gevent.spawn(slow.client.sendall, bytes(2**18 + 1))
    waiting = gevent.spawn(upload, pacing, slow)
    sending = gevent.spawn(quick.client.sendall, HEAD % size + bytes(size))
    assert upload(pacing, quick) == bytes(size)
    gevent.joinall([beginning, sending], timeout=10, raise_error=True)
    assert not waiting.ready()
    slow.client.sendall(bytes(size - 2**18 - 1))
    assert waiting.get(timeout=10) == bytes(size)


def test_a_long_body_rests_while_other_clients_are_there(
    connect: Callable[[], Connection], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its steps may cost much, whatever its form is made of."""
    monkeypatch.setattr(slow_uploads, "RESTS", rests := Rests())
    connection = connect()
    connection.client.sendall(HEAD % 100_000 + bytes(100_000))

    def send() -> float:
        note_client("busy")
        began = time.perf_counter()
        rests.note("other")
        rests.ran("busy", began, 0.1)
        assert len(upload(Pacing(), connection)) == 100_000
        return time.perf_counter() - began

    assert gevent.spawn(send).get(timeout=10) >= 0.1


def test_many_bodies_are_read_whole(connect: Callable[[], Connection]) -> None:
    pacing, connections = Pacing(), [connect() for _ in range(5)]
    sent = bytes(range(256)) * 4096
    for each in connections:
        gevent.spawn(each.client.sendall, HEAD % len(sent) + sent)
    read = [gevent.spawn(upload, pacing, each) for each in connections]
    gevent.joinall(read, timeout=10, raise_error=True)
    assert all(each.value == sent for each in read)


def test_a_request_goes_on_by_its_entrance_when_its_body_is_here(
    connect: Callable[[], Connection],
) -> None:
    events: list[str] = []

    def app(environ: Any, start: Any) -> list[bytes]:
        environ["wsgi.input"].readinto(bytearray(2**16))
        events.append("first")
        environ["wsgi.input"].readinto(bytearray(2**16))
        events.append("last")
        return []

    connection = connect()
    connection.client.sendall(HEAD % (2**16 + 1) + bytes(2**16 + 1))
    request = next(connection.parser)
    environ: Any = {
        "gunicorn.socket": connection.far,
        "wsgi.input": request.body,
        "classifier.go_on": lambda: events.append("goes on"),
    }
    SlowUploads(app, Pacing(), seconds=10)(environ, lambda *_: lambda _: None)
    assert events == ["first", "goes on", "last"]
