"""One client of Flower does not keep it busy for all others."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from tornado.httputil import HTTPMessageDelegate

from workers.flower_turns import InTurn, Line, Lines


class Search(HTTPMessageDelegate):
    """As Tornado's: the handler runs in the next round of the event loop."""

    def __init__(self, log: list[str], name: str, seconds: float = 0.0) -> None:
        self._log, self._name, self._seconds = log, name, seconds

    def finish(self) -> None:
        asyncio.get_running_loop().call_soon(self._work)

    def _work(self) -> None:
        time.sleep(self._seconds)
        self._log.append(self._name)


class Stream:
    """What is used of the stream of a connection."""

    def __init__(self) -> None:
        self._closed = False

    def closed(self) -> bool:
        return self._closed

    def close(self) -> None:
        self._closed = True


def in_turn(handler: HTTPMessageDelegate, line: Line) -> Stream:
    stream: Any = Stream()
    InTurn(handler, line, stream).finish()
    return stream


def test_a_request_waits_for_one_of_another_client() -> None:
    log: list[str] = []

    async def ask() -> None:
        lines = Lines()
        for number in range(5):
            in_turn(Search(log, f"many {number}", 0.05), lines.of("many"))
        await asyncio.sleep(0.01)
        for number in range(3):
            in_turn(Search(log, f"one {number}"), lines.of("one"))
            await asyncio.sleep(0)
        await asyncio.sleep(0.6)

    asyncio.run(ask())
    assert log[:4] == ["many 0", "one 0", "one 1", "one 2"]
    assert log[4:] == [f"many {number}" for number in range(1, 5)]


def test_a_request_whose_client_has_gone_does_not_run() -> None:
    log: list[str] = []

    async def ask() -> None:
        line = Line()
        streams = [in_turn(Search(log, f"{number}"), line) for number in range(3)]
        streams[1].close()
        await asyncio.sleep(0.1)
        assert line.waiting == 0

    asyncio.run(ask())
    assert log == ["0", "2"]


def test_few_requests_of_a_client_wait() -> None:
    """Each keeps what was parsed of it, also after its connection was closed."""

    async def ask() -> None:
        line, log = Line(), list[str]()
        streams = [in_turn(Search(log, f"{number}"), line) for number in range(40)]
        assert line.waiting == 32
        assert [stream.closed() for stream in streams] == 32 * [False] + 8 * [True]
        await asyncio.sleep(0.2)
        assert line.waiting == 0 and len(log) == 32

    asyncio.run(ask())


def test_few_clients_are_remembered() -> None:
    async def ask() -> int:
        log: list[str] = []
        lines = Lines()
        for number in range(200):
            in_turn(Search(log, ""), lines.of(f"client {number}"))
            await asyncio.sleep(0.001)

        return len(lines._of_clients)

    assert asyncio.run(ask()) <= 70
