"""Heads of requests are read in turn, and wrong ones fill no log."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import gevent
import pytest
from gevent.event import Event
from gunicorn.http.errors import InvalidHeaderName, ParseException
from gunicorn.http.message import Request
from gunicorn.http.parser import RequestParser

from tests.web.server.conftest import Connection
from web.server.heads import FewLines, Head, read_in_turn
from web.server.fairness.pacing import let_others_run

Connect = Callable[[], Connection]

WRONG = b"GET / HTTP/1.1\r\nHost : a\r\n\r\n"
RIGHT = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


class Gate:
    """An entrance that opens when a test says so."""

    def __init__(self) -> None:
        self.came: list[str] = []
        self.open = Event()

    def read_head(self, client: str) -> None:
        self.came.append(client)
        self.open.wait()


@pytest.fixture(autouse=True)
def errors() -> Iterator[logging.Logger]:
    """The log of a gunicorn whose heads are read in turn."""
    logger = logging.getLogger("a gunicorn")
    read_in_turn(logger, behind_proxy=False)
    yield logger
    logger.filters.clear()
    RequestParser.mesg_class = Request


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    gate = Gate()
    monkeypatch.setattr(Head, "entrance", gate)
    return gate


def reading(connection: Connection) -> gevent.Greenlet:
    """Reads a head; its value is what gunicorn makes of it."""

    def read() -> object:
        try:
            return next(connection.parser)
        except (ParseException, StopIteration) as error:
            return error

    return gevent.spawn(read)


def some_rounds() -> None:
    for _ in range(5):
        let_others_run()


@pytest.mark.parametrize(
    ("sent", "read"),
    [(RIGHT, Head), (WRONG, InvalidHeaderName)],
    ids=["right", "wrong"],
)
def test_a_head_is_parsed_when_it_is_the_turn_of_its_address(
    connect: Connect, gate: Gate, sent: bytes, read: type
) -> None:
    connection = connect()
    connection.client.sendall(sent)
    head = reading(connection)
    some_rounds()
    assert gate.came == ["address 127.0.0.1"] and not head.ready()
    assert Head.waiting == {connection.far}
    gate.open.set()
    assert isinstance(head.get(timeout=10), read)
    assert not Head.waiting


def test_a_head_that_trickles_waits_with_each_piece(connect: Connect, gate: Gate) -> None:
    connection = connect()
    gate.open.set()
    head = reading(connection)
    for at in range(len(RIGHT)):
        connection.client.sendall(RIGHT[at : at + 1])
        some_rounds()
    assert isinstance(head.get(timeout=10), Head)
    assert len(gate.came) == len(RIGHT)


def test_a_connection_without_a_head_waits_before_it_is_closed(
    connect: Connect, gate: Gate
) -> None:
    connection = connect()
    connection.client.close()
    head = reading(connection)
    some_rounds()
    assert gate.came and not head.ready()
    gate.open.set()
    assert isinstance(head.get(timeout=10), StopIteration)


def test_heads_from_a_proxy_do_not_wait(connect: Connect, errors: logging.Logger) -> None:
    read_in_turn(errors, behind_proxy=True)
    connections = [connect() for _ in range(20)]
    for connection in connections:
        connection.client.sendall(RIGHT)
    heads = [reading(connection) for connection in connections]
    some_rounds()
    assert all(head.ready() for head in heads)


def test_wrong_heads_are_logged_once_a_second_and_in_short(
    caplog: pytest.LogCaptureFixture,
) -> None:
    logger, seconds = logging.getLogger("another gunicorn"), [100.0]
    logger.addFilter(FewLines(clock=lambda: seconds[0]))
    for _ in range(1000):
        logger.warning("Invalid request from ip=127.0.0.1: %s", "\x01" * 60_000)
    logger.warning("something else")
    seconds[0] += 1
    logger.warning("Invalid request from ip=127.0.0.1: the last one")
    first, other, last = caplog.messages
    assert len(first) < 400 and other == "something else"
    assert last.endswith("the last one (and 999 more since the last line)")
