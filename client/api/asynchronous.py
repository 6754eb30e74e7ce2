"""The service for programs with an event loop. All but the transport is that of `service`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
from contextlib import aclosing
from functools import partial
from types import TracebackType
from typing import Any, Self

import httpx

from . import calls, settings
from .transport.connection import OnRetry, Requests, headers_for
from .events import JobEvent
from .transport.http_client import async_http_client
from .pictures import Source
from .transport.received import Received
from .records import Classification, DeadLetter, Item, JobStatus, ModelInfo, Usage
from .results import all_results
from .transport.retries import Retries
from .transport.steps import Emit, Pause, ReadLine, Send, Step, Steps, Stream, T, Together, Work


class AsyncConnection(Requests):
    """The tasks of one event loop may share a connection."""

    def __init__(
        self, base_url: str, api_key: str | None, *, retries: Retries, on_retry: OnRetry
    ) -> None:
        self._http = async_http_client(base_url, headers_for(api_key))
        super().__init__(self._http, retries, on_retry)

    async def close(self) -> None:
        await self._http.aclose()

    async def run(self, steps: Steps[T]) -> T:
        """Do all steps of a call that emits nothing, and return its result."""
        go_on: Callable[[], Step] = partial(next, steps)
        try:
            while True:
                try:
                    step = go_on()
                except StopIteration as ended:
                    result: T = ended.value
                    return result
                go_on = await self._done(steps, step)
        finally:
            steps.close()

    async def iterate(self, steps: Steps[None]) -> AsyncGenerator[Any, None]:
        """Do the steps of a call, and yield what it emits."""
        go_on: Callable[[], Step] = partial(next, steps)
        streams: list[Stream] = []
        try:
            while True:
                try:
                    step = go_on()
                except StopIteration:
                    return
                if isinstance(step, Emit):
                    yield step.value
                    go_on = partial(self.next_step, steps, step, None)
                else:
                    go_on = await self._done(steps, step, streams)
        finally:
            steps.close()
            for each in streams:
                await each.response.aclose()

    async def _done(
        self, steps: Steps[Any], step: Step, streams: list[Stream] | None = None
    ) -> Callable[[], Step]:
        """Do a step. Returns the function that gives its result to the call."""
        try:
            result = await self._result(step)
        except Exception as error:
            return partial(steps.throw, error)
        if isinstance(result, Stream) and streams is not None:
            streams.append(result)
        return partial(self.next_step, steps, step, result)

    async def _result(self, step: Step) -> Any:
        match step:
            case Send(request, stream):
                return await self._send(request, stream)
            case ReadLine(opened):
                return await _line(opened)
            case Pause(seconds):
                await asyncio.sleep(seconds)
                return False
            case Work(function):
                return await asyncio.to_thread(function)
            case Together(calls_, concurrency):
                return await self._together(calls_, concurrency)

    async def _send(
        self, request: httpx.Request, stream: bool
    ) -> httpx.Response | Stream | httpx.RequestError:
        try:
            response = await self._http.send(request, stream=True)
            if stream and response.is_success:
                return Stream(response, response.aiter_lines())
            async with aclosing(response):
                received = Received(response)
                async for piece in response.aiter_bytes():
                    received.add(piece)
            return received.whole()
        except httpx.RequestError as error:
            return error

    async def _together(self, calls_: Sequence[Steps[Any]], concurrency: int) -> list[Any]:
        places = asyncio.Semaphore(concurrency)

        async def one(steps: Steps[Any]) -> Any:
            async with places:
                return await self.run(steps)

        tasks = [asyncio.create_task(one(steps)) for steps in calls_]
        try:
            return await asyncio.gather(*tasks)
        finally:
            for task in tasks:  # after an error or a cancellation, the others must not go on
                task.cancel()


async def _line(opened: Stream) -> str | None:
    try:
        line: str = await anext(opened.lines)
        return line
    except (StopAsyncIteration, httpx.RequestError):
        await opened.response.aclose()
        return None


class AsyncJob:
    """A job by its id, as `Job`."""

    def __init__(self, connection: AsyncConnection, job_id: str) -> None:
        self._connection = connection
        self.id = job_id

    def __repr__(self) -> str:
        return f"AsyncJob({self.id!r})"

    async def status(self, *, wait: float | None = None) -> JobStatus:
        return await self._connection.run(calls.status(self._connection, self.id, wait=wait))

    async def wait(self, timeout: float | None = None) -> JobStatus:
        return await self._connection.run(calls.wait(self._connection, self.id, timeout))

    def results(self, *, embeddings: bool = False) -> AsyncIterator[Item]:
        steps = all_results(self._connection, self.id, embeddings=embeddings)
        return self._connection.iterate(steps)

    def events(self, *, items: bool = True) -> AsyncIterator[JobEvent]:
        return self._connection.iterate(calls.follow(self._connection, self.id, items=items))

    async def cancel(self) -> JobStatus:
        return await self._connection.run(calls.cancel(self._connection, self.id))


class AsyncImageClassifier:
    """`ImageClassifier` for programs with an event loop. Use it in an `async with` statement.

    Its calls have the same arguments and results. Files are read in threads.
    """

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        retries: Retries = Retries(),
        on_retry: OnRetry = lambda error, pause: None,
    ) -> None:
        self.connection = AsyncConnection(
            base_url or settings.url(),
            api_key or settings.api_key(),
            retries=retries,
            on_retry=on_retry,
        )

    async def close(self) -> None:
        await self.connection.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def classify(
        self,
        picture: Source,
        *,
        top_k: int = 5,
        min_score: float = 0,
        embeddings: bool = False,
        timeout: float = 120,
    ) -> Classification:
        steps = calls.classify(
            self.connection,
            picture,
            top_k=top_k,
            min_score=min_score,
            embeddings=embeddings,
            timeout=timeout,
        )
        return await self.connection.run(steps)

    async def submit(
        self,
        pictures: Iterable[Source],
        *,
        top_k: int = 5,
        min_score: float = 0,
        embeddings: bool = False,
        lane: str | None = None,
        custom_ids: Sequence[str] | None = None,
        webhook: str | None = None,
        idempotency_key: str | None = None,
    ) -> AsyncJob:
        steps = calls.submit(
            self.connection,
            pictures,
            top_k=top_k,
            min_score=min_score,
            embeddings=embeddings,
            lane=lane,
            custom_ids=custom_ids,
            webhook=webhook,
            idempotency_key=idempotency_key,
        )
        return self.job(await self.connection.run(steps))

    def job(self, job_id: str) -> AsyncJob:
        return AsyncJob(self.connection, job_id)

    def jobs(self) -> AsyncIterator[JobStatus]:
        return self.connection.iterate(calls.jobs(self.connection))

    async def check(self) -> None:
        await self.connection.run(calls.check(self.connection))

    async def model_info(self) -> ModelInfo:
        return await self.connection.run(calls.model_info(self.connection))

    async def labels(self) -> list[str]:
        return await self.connection.run(calls.labels(self.connection))

    async def usage(self) -> Usage:
        return await self.connection.run(calls.usage(self.connection))

    async def dead_letters(self) -> list[DeadLetter]:
        return await self.connection.run(calls.dead_letters(self.connection))

    async def retry_dead_letter(self, letter_id: str) -> AsyncJob:
        return self.job(
            await self.connection.run(calls.retry_dead_letter(self.connection, letter_id))
        )
