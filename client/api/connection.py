"""HTTP requests to one service, with its API key, kept connections and retries."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import httpx

from .. import errors
from ..errors import ImageClassifierError, NoAnswer, Refused, TryLater
from ..version import __version__
from .retries import Retries

#: The longest wait for the next byte. The service holds an answer for less than a minute.
TIMEOUT_SECONDS = 75.0
_CONNECT_SECONDS = 5.0

#: The service ended an upload that was too slow. It stored nothing.
_REQUEST_TIMEOUT = 408

#: Called before each retry, with the error and the seconds until the next attempt.
OnRetry = Callable[[ImageClassifierError, float], None]

#: A field of a multipart form: its name, then file name, bytes and content type.
FormField = tuple[str, tuple[str | None, bytes, str | None]]


def text_field(name: str, text: str) -> FormField:
    return (name, (None, text.encode(), None))


def file_field(name: str, file_name: str, data: bytes) -> FormField:
    """A file of any type: the service reads the type from the bytes."""
    return (name, (file_name, data, "application/octet-stream"))


class Connection:
    """Threads may share a connection.

    Every call may be repeated. GET, PUT and DELETE change nothing the second time. A POST carries
    an Idempotency-Key, by which the service recognises a repetition.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str | None,
        *,
        retries: Retries,
        on_retry: OnRetry = lambda error, pause: None,
    ) -> None:
        headers = {"User-Agent": f"image-classifier-client/{__version__}"}
        if api_key:
            if not (api_key.isascii() and api_key.isprintable()):
                raise ImageClassifierError("The API key has characters that no header can carry.")
            headers["Authorization"] = f"Bearer {api_key}"
        self._http = httpx.Client(
            base_url=_address(base_url),
            headers=headers,
            timeout=httpx.Timeout(TIMEOUT_SECONDS, connect=_CONNECT_SECONDS),
            # One connection for each thread that calls.
            limits=httpx.Limits(max_keepalive_connections=None, keepalive_expiry=30),
        )
        self.retries = retries
        self.on_retry = on_retry
        #: When set, no failed call is repeated, and pauses between attempts end.
        self.stopping = threading.Event()

    def close(self) -> None:
        self._http.close()

    def call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        form: Sequence[FormField] | None = None,
        body: Any = None,
        idempotency_key: str | None = None,
    ) -> httpx.Response:
        """The successful answer to a request, repeated where that may help.

        The request's body is `form`, or `body` as JSON. Raises Refused, or NoAnswer if there is
        no answer after all retries.
        """
        headers: dict[str, str] = {}
        if method == "POST":
            headers["Idempotency-Key"] = idempotency_key or str(uuid.uuid4())
        # httpx encodes the form while it sends it, so the files are not copied. The same request
        # can be sent again.
        request = self._http.build_request(
            method,
            f"/api/v1{path}",
            params={name: value for name, value in (params or {}).items() if value is not None},
            files=form,
            json=body,
            headers=headers,
        )
        return self._repeated(request)

    def _repeated(self, request: httpx.Request) -> httpx.Response:
        give_up = time.monotonic() + self.retries.total_seconds
        attempt = 0
        while True:
            outcome = self._attempt(request)
            if isinstance(outcome, httpx.Response):
                return outcome
            pause = self.retries.pause(attempt, getattr(outcome, "retry_after", None))
            if not _may_pass(outcome) or time.monotonic() + pause > give_up:
                raise outcome
            self.on_retry(outcome, pause)
            if self.stopping.wait(pause):
                raise outcome
            attempt += 1

    def _attempt(self, request: httpx.Request) -> httpx.Response | ImageClassifierError:
        try:
            response = self._http.send(request)
        except httpx.TransportError as error:
            return NoAnswer(_message(error))
        if response.is_success:
            return response
        # A redirect counts as an error. Following it would send the key to another address.
        return errors.refusal(response)


def _address(url: str) -> httpx.URL:
    try:
        address = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ImageClassifierError(f"{url!r} is not an address: {error}") from error
    if address.scheme not in ("http", "https") or not address.host:
        raise ImageClassifierError(f"{url!r} is not an address like http://host:port.")
    return address


def _may_pass(error: ImageClassifierError) -> bool:
    """Whether the same request may succeed later."""
    if isinstance(error, Refused):
        return isinstance(error, TryLater) or error.status == _REQUEST_TIMEOUT
    return isinstance(error, NoAnswer)


def _message(error: httpx.TransportError) -> str:
    # Some of these errors have no message.
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
