"""Turns of the clients of Flower, which is a single thread.

A search in its tasks may take a fifth of a second. So the requests of one client run one after the
other. After each of them the client rests for as long as it took, and the requests of others run.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from typing import Any

from tornado.httputil import HTTPMessageDelegate
from tornado.iostream import IOStream

#: Clients that are remembered. Those that rest, or have requests, always are.
_MOST = 64

#: Requests of a client that may wait. A browser sends a few at a time. Tornado keeps a request
#: whose connection was closed, and another connection may come for each.
_MOST_WAITING = 32


class Line:
    """The requests of one client."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.waiting = 0
        self.rests_until = 0.0


class Lines:
    def __init__(self) -> None:
        self._of_clients: dict[str, Line] = {}

    def of(self, client: str) -> Line:
        if len(self._of_clients) > _MOST:
            now = time.monotonic()
            self._of_clients = {
                name: line
                for name, line in self._of_clients.items()
                if line.lock.locked() or line.rests_until > now
            }
        return self._of_clients.setdefault(client, Line())


class InTurn(HTTPMessageDelegate):
    """A request whose handler runs when it is the turn of its client."""

    def __init__(self, handler: HTTPMessageDelegate, line: Line, stream: IOStream) -> None:
        self._handler = handler
        self._line = line
        self._stream = stream
        self._task: asyncio.Task[None] | None = None  #: asyncio does not keep it.

    def headers_received(self, *head: Any) -> Awaitable[None] | None:
        return self._handler.headers_received(*head)

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        return self._handler.data_received(chunk)

    def on_connection_close(self) -> None:
        self._handler.on_connection_close()

    def finish(self) -> None:
        if self._line.waiting < _MOST_WAITING:
            self._line.waiting += 1
            self._task = asyncio.ensure_future(self._run())
        else:
            self._stream.close()

    async def _run(self) -> None:
        line = self._line
        try:
            async with line.lock:
                if not self._stream.closed():
                    await asyncio.sleep(max(0.0, line.rests_until - time.monotonic()))
                if self._stream.closed():
                    return
                began = time.monotonic()
                self._handler.finish()
                await asyncio.sleep(0)  # what it does until it waits for something
                line.rests_until = 2 * time.monotonic() - began
        finally:
            line.waiting -= 1
