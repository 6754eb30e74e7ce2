"""A request that waits ends soon after its client has gone, and no other request does."""

from __future__ import annotations

import os
import socket as sockets
import struct
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
from gevent import socket
from gevent.event import Event
from gevent.lock import BoundedSemaphore

from web.server.fairness.departures import DEPARTURES, ClientGone, Departures, has_gone

#: Of TCP: a client's end and the service's end.
Pair = tuple[Any, Any]


@pytest.fixture
def connect() -> Iterator[Callable[[], Pair]]:
    made = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def make() -> Pair:
            client = socket.create_connection(server.getsockname())
            pair = client, server.accept()[0]
            made.append(pair)
            return pair

        yield make
    for pair in made:
        for end in pair:
            end.close()


def close(client: Any) -> None:
    client.close()


def close_behind_a_next_request(client: Any) -> None:
    client.sendall(b"GET / HTTP/1.1\r\n\r\n")
    client.close()


def reset(client: Any) -> None:
    client.setsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


@pytest.mark.parametrize("go", [close, close_behind_a_next_request, reset])
def test_a_client_that_goes_is_noticed(
    connect: Callable[[], Pair], go: Callable[[Any], None]
) -> None:
    client, far = connect()
    woken = Event()
    with Departures(0.01).noticed(far, woken.set):
        assert not woken.wait(0.05) and not has_gone(far)
        go(client)
        assert woken.wait(2) and has_gone(far)


def test_a_client_that_sends_its_next_request_stays(connect: Callable[[], Pair]) -> None:
    client, far = connect()
    client.sendall(b"GET / HTTP/1.1\r\n\r\n")
    woken = Event()
    with Departures(0.01).noticed(far, woken.set):
        assert not woken.wait(0.1) and not has_gone(far)


def test_a_wait_ends_with_an_error_and_leaves_nothing_behind(connect: Callable[[], Pair]) -> None:
    departures, places = Departures(0.01), BoundedSemaphore(1)
    (client, far), (_, other) = connect(), connect()
    places.acquire()
    with gevent.Timeout(2):
        client.close()
        with pytest.raises(ClientGone), departures.ending(far):
            places.acquire()
        places.release()
        with departures.ending(other):
            assert places.acquire()
    assert not departures._calls


def test_a_block_that_has_ended_is_not_interrupted(connect: Callable[[], Pair]) -> None:
    """A client may go just as its request gets what it has waited for."""
    departures = Departures(0)
    for _ in range(50):
        client, far = connect()
        client.close()
        with departures.ending(far):
            pass
        gevent.sleep(0.001)


def test_the_outer_wait_is_noticed_after_an_inner_one(connect: Callable[[], Pair]) -> None:
    departures, woken = Departures(0.01), Event()
    client, far = connect()
    with departures.noticed(far, woken.set):
        client.close()
        with pytest.raises(ClientGone), departures.ending(far):
            Event().wait(2)
        assert woken.wait(2)


def test_a_request_on_a_reused_socket_is_not_ended(connect: Callable[[], Pair]) -> None:
    """Those that have gone end one after the other, and a new client may come in between."""
    departures, first_ended, new_one_ended = Departures(0.01), Event(), Event()
    (first, first_far), (second, second_far), (_, new) = (connect() for _ in range(3))
    number = second_far.fileno()

    def end_first() -> None:
        os.dup2(new.fileno(), number)
        departures._calls[number] = new_one_ended.set
        first_ended.set()

    with departures.noticed(first_far, end_first), departures.noticed(second_far, Event().set):
        first.close()
        second.close()
        assert first_ended.wait(2)
        assert not new_one_ended.wait(0.05)


def test_a_server_without_sockets_has_no_departures() -> None:
    departures = Departures(0.01)
    with departures.noticed(None, Event().set), departures.ending(None):
        assert not departures._calls and not has_gone(None)


@pytest.mark.parametrize("over", [False, True])
def test_a_process_that_stops_reading_takes_no_client_for_gone(
    connect: Callable[[], Pair], monkeypatch: pytest.MonkeyPatch, over: bool
) -> None:
    """The kernel reports the same for a connection that this end has stopped to read."""
    _, far = connect()
    monkeypatch.setattr(DEPARTURES, "_seconds", 0.01)
    monkeypatch.setattr(DEPARTURES, "over", over)
    woken = Event()
    with DEPARTURES.noticed(far, woken.set):
        far.shutdown(sockets.SHUT_RD)
        assert woken.wait(0.1) is not over
    assert has_gone(far) is not over
