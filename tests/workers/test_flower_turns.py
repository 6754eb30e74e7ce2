"""One client of Flower does not keep it busy for all others."""

from __future__ import annotations

import asyncio
import time

from tornado.httputil import HTTPMessageDelegate

from workers.flower_turns import InTurn, Lines


class Search(HTTPMessageDelegate):
    """As Tornado's: the handler runs in the next round of the event loop."""

    def __init__(self, log: list[str], name: str, seconds: float = 0.0) -> None:
        self._log, self._name, self._seconds = log, name, seconds

    def finish(self) -> None:
        asyncio.get_running_loop().call_soon(self._work)

    def _work(self) -> None:
        time.sleep(self._seconds)
        self._log.append(self._name)


def test_a_request_waits_for_one_of_another_client() -> None:
    log: list[str] = []

    async def ask() -> None:
        lines = Lines()
        for number in range(5):
            InTurn(Search(log, f"many {number}", 0.05), lines.of("many")).finish()
        await asyncio.sleep(0.01)
        for number in range(3):
            InTurn(Search(log, f"one {number}"), lines.of("one")).finish()
            await asyncio.sleep(0)
        await asyncio.sleep(0.6)

    asyncio.run(ask())
    assert log[:4] == ["many 0", "one 0", "one 1", "one 2"]
    assert log[4:] == [f"many {number}" for number in range(1, 5)]


def test_a_request_whose_client_has_gone_does_not_run() -> None:
    log: list[str] = []

    async def ask() -> None:
        lines = Lines()
        requests = [InTurn(Search(log, f"{number}"), lines.of("one")) for number in range(3)]
        for each in requests:
            each.finish()
        requests[1].on_connection_close()
        await asyncio.sleep(0.1)

    asyncio.run(ask())
    assert log == ["0", "2"]


def test_few_clients_are_remembered() -> None:
    async def ask() -> int:
        log: list[str] = []
        lines = Lines()
        for number in range(200):
            InTurn(Search(log, ""), lines.of(f"client {number}")).finish()
            await asyncio.sleep(0.001)

        return len(lines._of_clients)

    assert asyncio.run(ask()) <= 70
