"""HTTP requests to one service, with its API key, kept connections and retries.

`Requests` makes requests and decides when they are repeated. `Connection` sends them.
"""

from __future__ import annotations

import re
import struct
import threading
import time
import uuid
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any, cast

import httpx

from ...errors import (
    CannotConnect,
    ImageClassifierError,
    ModelNotReady,
    NoAnswer,
    Refused,
    TryLater,
    WrongAnswer,
)
from ...text import address_of
from ...version import __version__
from .body import Body, PictureFile, RawBody
from .http_client import http_client, proxy_variable
from .received import Received
from .refusal import refusal
from .retries import Retries
from .steps import Emit, Pause, ReadLine, Send, Step, Steps, Stream, T, Together, Work

#: The service ended an upload that was too slow. It stored nothing.
_REQUEST_TIMEOUT = 408

#: What a call raises when it reads an answer that has other fields than the service's.
_UNREADABLE = (
    *(ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError),
    struct.error,
)

#: Called before each retry, with the error and the seconds until the next attempt.
OnRetry = Callable[[ImageClassifierError, float], None]

#: A field of a multipart form: its name, then file name, content and content type.
FormField = tuple[str, tuple[str | None, bytes | PictureFile, str | None]]


def text_field(name: str, text: str) -> FormField:
    return (name, (None, text.encode(), None))


def file_field(name: str, file_name: str, data: bytes | PictureFile) -> FormField:
    """A file of any type: the service reads the type from the bytes."""
    return (name, (file_name, data, "application/octet-stream"))


def headers_for(api_key: str | None) -> dict[str, str]:
    """The headers of every request. Raises ImageClassifierError if the key cannot be sent."""
    headers = {"User-Agent": f"image-classifier-client/{__version__}"}
    if api_key:
        if not (api_key.isascii() and api_key.isprintable()):
            raise ImageClassifierError("The API key has characters that no header can carry.")
        headers["Authorization"] = f"Bearer {api_key}"
    return headers


class Requests:
    """The requests of one connection, and when they are repeated.

    Every call may be repeated. GET, PUT and DELETE change nothing the second time. A POST carries
    an Idempotency-Key, by which the service recognises a repetition.
    """

    def __init__(
        self, builder: httpx.Client | httpx.AsyncClient, retries: Retries, on_retry: OnRetry
    ) -> None:
        self._builder = builder
        self._answered = False
        self.retries = retries
        self.on_retry = on_retry

    def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        form: Sequence[FormField] | None = None,
        raw: RawBody | None = None,
        body: Any = None,
        idempotency_key: str | None = None,
    ) -> Steps[httpx.Response]:
        """The successful answer to a request, repeated where that may help.

        The request's body is `form`, `raw`, or `body` as JSON. Raises Refused, or NoAnswer if
        there is no answer after all retries.
        """
        headers = dict(raw.headers) if raw else {}
        if method == "POST":
            headers["Idempotency-Key"] = idempotency_key or str(uuid.uuid4())
        request = self._builder.build_request(
            method,
            f"/api/v1{path}",
            params={name: value for name, value in (params or {}).items() if value is not None},
            files=cast(Any, form),  # httpx reads of a file what PictureFile has
            json=body,
            headers=headers,
        )
        if form:  # the same request can be sent again
            files = [content for _, (_, content, _) in form]
            request.stream = Body(cast(Iterable[bytes], request.stream), files)
        elif raw:
            request.stream = Body(raw, raw.pictures)
        response: httpx.Response = yield from self._repeated(Send(request))
        return response

    def stream(
        self, path: str, *, params: Mapping[str, Any], headers: Mapping[str, str]
    ) -> Steps[Stream]:
        """The lines of an answer to GET, which is repeated until it begins."""
        request = self._builder.build_request(
            "GET", f"/api/v1{path}", params=params, headers=headers
        )
        opened: Stream = yield from self._repeated(Send(request, stream=True))
        return opened

    def next_step(self, steps: Steps[Any], done: Step, result: Any) -> Step:
        """Give a call the result of a step. Raises WrongAnswer if the call cannot read it."""
        try:
            return steps.send(result)
        except _UNREADABLE as error:
            if isinstance(done, Pause | Work | Together):  # nothing that the service has sent
                raise
            raise WrongAnswer(address_of(self._builder.base_url), error) from error

    def _repeated(self, send: Send) -> Steps[Any]:
        give_up = time.monotonic() + self.retries.total_seconds
        attempt = 0
        while True:
            outcome = self._outcome(send, (yield send))
            if not isinstance(outcome, ImageClassifierError):
                return outcome
            left, at_least = give_up - time.monotonic(), getattr(outcome, "retry_after", None) or 0
            if not self._may_pass(outcome) or left <= at_least:
                raise outcome
            # The last attempt is made when the time is over, and not before.
            pause = min(self.retries.pause(attempt, at_least), left)
            self.on_retry(outcome, pause)
            if (yield Pause(pause)):
                raise outcome
            attempt += 1

    def _outcome(
        self, send: Send, received: httpx.Response | Stream | httpx.RequestError
    ) -> httpx.Response | Stream | ImageClassifierError:
        if isinstance(received, httpx.RequestError):
            return _no_answer(send.request, received)
        self._answered = True
        if isinstance(received, Stream) or received.is_success:
            return received
        # A redirect counts as an error. Following it would send the key to another address.
        return refusal(received)

    def _may_pass(self, error: ImageClassifierError) -> bool:
        """Whether the same request may succeed later."""
        if isinstance(error, ModelNotReady):
            return self.retries.wait_for_model
        if isinstance(error, Refused):
            return isinstance(error, TryLater) or error.status == _REQUEST_TIMEOUT
        if isinstance(error, CannotConnect) and not self._answered:
            return self.retries.wait_for_service
        return isinstance(error, NoAnswer)


class Connection(Requests):
    """Threads may share a connection."""

    def __init__(
        self,
        base_url: str,
        api_key: str | None,
        *,
        retries: Retries,
        on_retry: OnRetry = lambda error, pause: None,
    ) -> None:
        self._http = http_client(base_url, headers_for(api_key))
        super().__init__(self._http, retries, on_retry)
        #: When set, no failed call is repeated, and pauses between attempts end.
        self.stopping = threading.Event()

    def close(self) -> None:
        self._http.close()

    def call(self, method: str, path: str, **request: Any) -> httpx.Response:
        """`request`, done."""
        return self.run(self.request(method, path, **request))

    def run(self, steps: Steps[T]) -> T:
        """Do all steps of a call that emits nothing, and return its result."""
        result: T
        emitted = self._do(steps)
        while True:
            try:
                next(emitted)
            except StopIteration as ended:
                result = ended.value
                return result

    def iterate(self, steps: Steps[None]) -> Iterator[Any]:
        """Do the steps of a call, and yield what it emits."""
        yield from self._do(steps)

    def _do(self, steps: Steps[T]) -> Generator[Any, None, T]:
        streams: list[Stream] = []
        try:
            step = next(steps)
            while True:
                if isinstance(step, Emit):
                    yield step.value
                    step = self.next_step(steps, step, None)
                    continue
                try:
                    result = self._result(step)
                except Exception as error:
                    step = steps.throw(error)
                    continue
                if isinstance(result, Stream):
                    streams.append(result)
                step = self.next_step(steps, step, result)
        except StopIteration as ended:
            value: T = ended.value
            return value
        finally:
            steps.close()
            for each in streams:
                each.response.close()

    def _result(self, step: Step) -> Any:
        match step:
            case Send(request, stream):
                return self._send(request, stream)
            case ReadLine(opened):
                return _line(opened)
            case Pause(seconds):
                return self.stopping.wait(seconds)
            case Work(function):
                return function()
            case Together(calls, concurrency):
                with ThreadPoolExecutor(concurrency) as threads:
                    return list(threads.map(self.run, calls))

    def _send(
        self, request: httpx.Request, stream: bool
    ) -> httpx.Response | Stream | httpx.RequestError:
        try:
            response = self._http.send(request, stream=True)
            if stream and response.is_success:
                return Stream(response, response.iter_lines())
            with closing(response):
                received = Received(response)
                for piece in response.iter_bytes():
                    received.add(piece)
            return received.whole()
        except httpx.RequestError as error:
            return error


def _line(opened: Stream) -> str | None:
    try:
        line: str = next(opened.lines)
        return line
    except (StopIteration, httpx.RequestError):
        opened.response.close()
        return None


def _no_answer(request: httpx.Request, error: httpx.RequestError) -> NoAnswer:
    address = address_of(request.url)
    # Some of these errors have no message.
    message = re.sub(r"^\[Errno -?\d+\] ", "", str(error)).rstrip(".")
    reason = message or type(error).__name__
    proxy = proxy_variable(request.url)
    connecting = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
    if connecting and not message.startswith("[SSL"):
        return CannotConnect(address, reason, proxy)
    if "CERTIFICATE_VERIFY_FAILED" in message:
        reason += ". Set SSL_CERT_FILE to the certificates that you trust"
    through = f" through the proxy of {proxy}" if proxy else ""
    return NoAnswer(f"{address} did not answer{through}: {reason}.")
