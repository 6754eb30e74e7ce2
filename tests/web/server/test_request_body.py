"""Bodies are read from the socket, and gunicorn's parser still finds the next request."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest
from gunicorn.config import Config
from gunicorn.http import get_parser
from werkzeug.exceptions import BadRequest

from web.server import request_body
from web.server.request_body import give_way, read_into

_HEAD = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"
_CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
_NEXT = b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The client's end and the service's end of a connection."""
    near, far = socket.socketpair()
    with near, far:
        yield near, far


def parser_of(far: socket.socket) -> Any:
    return get_parser(Config(), far, ("127.0.0.1", 1))


def test_the_body_is_whole_and_the_next_request_is_found(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    near, far = ends
    sent = bytes(range(256)) * 200
    near.sendall(_HEAD % len(sent) + sent + _NEXT)
    parser = parser_of(far)
    body = next(parser).body
    received = bytearray()
    buffer = bytearray(20_000)
    while got := read_into(body, far, buffer):
        received += buffer[:got]
    assert received == sent
    assert next(parser).path == "/next"


@pytest.mark.parametrize(
    "sent",
    [_HEAD % 5 + b"abcde", _CHUNKED + b"2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n"],
    ids=["of known length", "in chunks"],
)
def test_a_short_body_that_came_with_the_next_request(
    ends: tuple[socket.socket, socket.socket], sent: bytes
) -> None:
    near, far = ends
    near.sendall(sent + _NEXT)
    parser = parser_of(far)
    body = next(parser).body
    buffer = bytearray(3)
    assert (read_into(body, far, buffer), buffer) == (3, b"abc")
    assert (read_into(body, far, buffer), buffer[:2]) == (2, b"de")
    assert read_into(body, far, buffer) == 0
    assert next(parser).path == "/next"


def test_the_body_of_a_client_that_goes_half_way_is_short(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    near, far = ends
    near.sendall(_HEAD % 20_000 + b"abc")
    near.shutdown(socket.SHUT_WR)
    body = next(parser_of(far)).body
    buffer = bytearray(100)
    assert read_into(body, far, buffer) == 3
    assert read_into(body, far, buffer) == 0
    assert body.reader.length == 19_997


def test_a_read_that_is_interrupted_keeps_the_count(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    near, far = ends
    near.sendall(_HEAD % 20_000 + bytes(9_000))
    parser = parser_of(far)
    body = next(parser).body
    far.settimeout(0.1)
    with pytest.raises(TimeoutError):
        read_into(body, far, bytearray(10_000))
    near.sendall(bytes(11_000) + _NEXT)
    while read_into(body, far, bytearray(10_000)):
        pass
    assert next(parser).path == "/next"


def test_a_body_of_many_chunks_gives_way(
    ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_body, "_SECONDS", 60)
    near, far = ends
    near.sendall(_CHUNKED + b"1\r\na\r\n" * 1000 + b"0\r\n\r\n" + _NEXT)
    parser = parser_of(far)
    body = next(parser).body
    pauses: list[int] = []
    give_way(body, lambda: pauses.append(0))
    buffer = bytearray(2000)
    assert read_into(body, far, buffer) == 1000
    assert buffer[:1000] == b"a" * 1000
    assert len(pauses) == 16
    assert next(parser).path == "/next"


def test_chunks_that_take_long_give_way(
    ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_body, "_SECONDS", 0)
    near, far = ends
    near.sendall(_CHUNKED + 10 * b"1;a=b\r\na\r\n" + b"0\r\n\r\n")
    body = next(parser_of(far)).body
    pauses: list[int] = []
    give_way(body, lambda: pauses.append(0))
    assert read_into(body, far, bytearray(2000)) == 10
    assert len(pauses) == 11, "one before the first"


MALFORMED = {
    "negative": b"-1\r\nabc\r\n0\r\n\r\n",
    "not hex": b"zz\r\nabc\r\n0\r\n\r\n",
    "no size": b"\r\nabc\r\n0\r\n\r\n",
    "bad extension": b"3;a=\x01\r\nabc\r\n0\r\n\r\n",
    "no line end": b"3\r\nabcXX0\r\n\r\n",
    "long line": b"0" * 20_000 + b"3\r\nabc\r\n0\r\n\r\n",
    "bad trailer": b"3\r\nabc\r\n0\r\nbad trailer\r\n\r\n",
    "no last chunk": b"3\r\nabc\r\n",
    "half a chunk": b"5\r\nab",
}


@pytest.mark.parametrize("chunks", MALFORMED.values(), ids=MALFORMED)
def test_malformed_chunks_are_refused_and_end_the_connection(
    ends: tuple[socket.socket, socket.socket], chunks: bytes
) -> None:
    near, far = ends
    near.sendall(_CHUNKED + chunks)
    near.shutdown(socket.SHUT_WR)
    request = next(parser_of(far))
    with pytest.raises(BadRequest, match="chunks of the body are malformed"):
        read_into(request.body, far, bytearray(20_000))
    assert request.should_close()
