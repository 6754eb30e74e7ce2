"""A client for many requests at once that takes little of the machine which it loads.

It shares the cores with the service. So its parser and event loop are C, it copies no picture, and
its process is niced. The report has its processor time and its delays: an open loop that cannot
keep its rate would be a closed loop.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import random
import resource
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple, cast

import httptools
import uvloop

from loadtest.measure.request_stream import Request, Stream

_NICENESS = 5

#: The statuses of answers whose bodies are kept.
_KEPT = {200, 201, 202}


class Answer(NamedTuple):
    """An answer. Times are in seconds since the load began."""

    kind: str
    numbers: tuple[int, ...]  #: The numbers of the pictures in the request.
    due: float  #: When it should have been sent.
    sent: float
    ended: float
    status: int  #: 0 where no answer came.
    body: bytes

    @property
    def seconds(self) -> float:
        return self.ended - self.sent


@dataclass(kw_only=True)
class Report:
    answers: list[Answer] = field(default_factory=list)
    unsent: int = 0  #: Requests of an open loop that had no free connection.
    began: float = 0.0  #: Unix seconds.
    seconds: float = 0.0
    cpu_seconds: float = 0.0  #: Processor time of the client.

    def of(self, kind: str) -> list[Answer]:
        return [answer for answer in self.answers if answer.kind == kind]


def run(
    base_url: str,
    pictures: Sequence[bytes],
    streams: Sequence[Stream],
    *,
    seconds: float,
    patience: float = 60.0,
    most_connections: int = 6000,
) -> Report:
    """Load a service for `seconds`, then wait at most `patience` seconds for the last answers."""
    with ProcessPoolExecutor(
        1,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=os.nice,
        initargs=(_NICENESS,),
    ) as process:
        load = _Load(base_url, pictures, seconds, patience, most_connections)
        return process.submit(load.run, streams).result()


class _Load:
    def __init__(
        self,
        base_url: str,
        pictures: Sequence[bytes],
        seconds: float,
        patience: float,
        most_connections: int,
    ) -> None:
        self._host = base_url.removeprefix("http://")
        self._pictures = pictures
        self._seconds = seconds
        self._patience = patience
        self._most_connections = most_connections
        self._open = 0
        self._opening = 0
        self._began = 0.0

    def run(self, streams: Sequence[Stream]) -> Report:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        used = time.process_time()
        report: Report = uvloop.run(self._run(streams))
        report.cpu_seconds = time.process_time() - used
        return report

    async def _run(self, streams: Sequence[Stream]) -> Report:
        self._report = Report(began=time.time())
        self._idle: deque[_Connection] = deque()
        self._began = time.perf_counter()
        asking: list[asyncio.Task[None]] = []
        for stream in streams:
            requests = stream.requests(self._host, self._pictures)
            if stream.most:
                requests = islice(requests, stream.most)
            if stream.rate:
                asking.append(asyncio.create_task(self._arrivals(stream, requests)))
            for _ in range(stream.clients):
                asking.append(asyncio.create_task(self._client(stream, requests)))
        await asyncio.wait(asking)
        self._report.seconds = self._now()
        return self._report

    async def _client(self, stream: Stream, requests: Iterator[Request]) -> None:
        for request in requests:
            if not stream.most and self._now() >= self._seconds:
                return
            await self._ask(stream, request, self._now())

    async def _arrivals(self, stream: Stream, requests: Iterator[Request]) -> None:
        chance = random.Random(7)
        asking = set()
        due = chance.expovariate(stream.rate)
        while due < self._seconds:
            await asyncio.sleep(max(0.0, due - self._now()))
            if self._open + self._opening < self._most_connections or self._idle:
                task = asyncio.create_task(self._ask(stream, next(requests), due))
                asking.add(task)
                task.add_done_callback(asking.discard)
            else:
                self._report.unsent += 1
            due += chance.expovariate(stream.rate)
        if asking:
            await asyncio.wait(asking)

    async def _ask(self, stream: Stream, request: Request, due: float) -> None:
        sent, status, body = self._now(), 0, b""
        with suppress(OSError, TimeoutError, httptools.HttpParserError):
            async with asyncio.timeout(self._patience):
                connection = await self._connection()
                sent = self._now()
                status, body = await connection.ask(request.pieces)
                connection.reuse_or_close(self._idle)
        kept = body if status in _KEPT else b""
        self._report.answers.append(
            Answer(stream.kind, request.numbers, due, sent, self._now(), status, kept)
        )

    async def _connection(self) -> _Connection:
        while self._idle:
            connection = self._idle.popleft()
            if not connection.closed:
                return connection
        host, _, port = self._host.partition(":")
        loop = asyncio.get_running_loop()
        self._opening += 1
        try:
            _, connection = await loop.create_connection(lambda: _Connection(self), host, int(port))
        finally:
            self._opening -= 1
        return connection

    def opened(self, change: int) -> None:
        self._open += change

    def _now(self) -> float:
        return time.perf_counter() - self._began


class _Connection(asyncio.Protocol):
    """Carries one request at a time. asyncio and httptools call the methods without underscore."""

    def __init__(self, load: _Load) -> None:
        self._load = load
        self._transport: asyncio.WriteTransport | None = None
        self._answered: asyncio.Future[tuple[int, bytes]] | None = None
        self._stays = False

    @property
    def closed(self) -> bool:
        return self._transport is None

    def reuse_or_close(self, idle: deque[_Connection]) -> None:
        if self._transport and self._stays:
            idle.append(self)
        elif self._transport:
            self._transport.close()

    async def ask(self, pieces: list[bytes]) -> tuple[int, bytes]:
        """Status and body. Raises ConnectionError where the connection ends before the answer."""
        if self._transport is None:
            raise ConnectionError("closed")
        self._parser = httptools.HttpResponseParser(self)
        self._body: list[bytes] = []
        self._stays = False
        self._answered = asyncio.get_running_loop().create_future()
        self._transport.writelines(pieces)
        try:
            return await self._answered
        except (
            asyncio.CancelledError
        ):  # Out of patience: an answer that comes later belongs to no request.
            if self._transport:
                self._transport.abort()
            raise

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(
            asyncio.WriteTransport, transport
        )  # The class of uvloop is no subclass.
        self._load.opened(+1)

    def connection_lost(self, _: Exception | None) -> None:
        self._transport = None
        self._load.opened(-1)
        if self._answered and not self._answered.done():
            self._answered.set_exception(ConnectionError("cut"))

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_headers_complete(self) -> None:
        self._stays = self._parser.should_keep_alive()  # The parser forgets this later.

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        if self._answered and not self._answered.done():
            self._answered.set_result((self._parser.get_status_code(), b"".join(self._body)))
