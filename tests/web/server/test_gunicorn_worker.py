"""Which connections end when an address may open few more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.web.server.conftest import Connection
from web.server.gunicorn_worker import Worker
from web.server.heads import Head
from web.server.fairness.shares import Shares

ADDRESS = "10.0.0.1"


def test_a_connection_whose_request_waits_for_its_turn_is_not_idle(
    connect: Callable[[], Connection],
) -> None:
    """Its client would get the end of the connection instead of an answer."""
    waiting, idle, sent = connect(), connect(), connect()
    sent.client.sendall(b"G")
    worker: Any = Worker.__new__(Worker)
    worker._connections = Shares(3)
    worker._connections.take(ADDRESS, 3)
    worker._idle = {each.far: 0.0 for each in (waiting, idle, sent)}
    worker._addresses = dict.fromkeys(worker._idle, ADDRESS)
    Head.waiting.add(waiting.far)
    try:
        worker._close_those_idle_since(1.0)
    finally:
        Head.waiting.clear()
    assert list(worker._idle) == [waiting.far, sent.far]
    assert idle.far.recv(1) == b""
