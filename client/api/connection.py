"""Requests to one service: connections kept, the key sent, tried again where that is safe."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import httpx

from .. import errors
from ..errors import ImageClassifierError, NoAnswer, Refused, TryLater
from .multipart import Form
from .retries import Retries
from ..version import VERSION

#: Longest wait for a next byte. The service holds an answer for less than a minute.
TIMEOUT_SECONDS = 75.0
_CONNECT_SECONDS = 5.0

#: An upload that the service ended as too slow; it kept nothing.
_REQUEST_TIMEOUT = 408

Notice = Callable[[ImageClassifierError, float], None]


class Connection:
    """Of any number of threads.

    Every call may be repeated: GET, PUT and DELETE change nothing the second time, and a POST
    carries an Idempotency-Key, by which the service knows it again.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str | None,
        *,
        retries: Retries,
        on_retry: Notice = lambda error, pause: None,
    ) -> None:
        headers = {"User-Agent": f"image-classifier-client/{VERSION}"}
        if api_key:
            if not (api_key.isascii() and api_key.isprintable()):
                raise ImageClassifierError("the API key is not plain text")
            headers["Authorization"] = f"Bearer {api_key}"
        self._http = httpx.Client(
            base_url=_address(base_url),
            headers=headers,
            timeout=httpx.Timeout(TIMEOUT_SECONDS, connect=_CONNECT_SECONDS),
            # As many as there are threads that call.
            limits=httpx.Limits(max_keepalive_connections=None, keepalive_expiry=30),
        )
        self.base_url = base_url
        self.retries = retries
        self.on_retry = on_retry
        #: Set to end every pause between attempts: the failed call is not repeated then.
        self.stopping = threading.Event()

    def close(self) -> None:
        self._http.close()

    def call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        form: Form | None = None,
        body: Any = None,
        idempotency_key: str | None = None,
    ) -> httpx.Response:
        """An answer that is no error. `body` is sent as JSON.

        Raises Refused, and NoAnswer once repeating has not helped.
        """
        headers: dict[str, str] = {}
        content: bytes | None = None
        if method == "POST":
            headers["Idempotency-Key"] = idempotency_key or str(uuid.uuid4())
        if form:
            headers |= form.headers
        elif body is not None:
            headers["Content-Type"] = "application/json"
            content = json.dumps(body, separators=(",", ":")).encode()
        said = {name: value for name, value in (params or {}).items() if value is not None}

        def once() -> httpx.Response:
            # Anew at each attempt: an iterator can be sent once.
            pieces = iter(form.pieces) if form else content
            return self._http.request(
                method, f"/api/v1{path}", params=said, content=pieces, headers=headers
            )

        return self._repeated(once)

    def _repeated(self, once: Callable[[], httpx.Response]) -> httpx.Response:
        give_up = time.monotonic() + self.retries.total_seconds
        attempt = 0
        while True:
            outcome = _attempt(once)
            if isinstance(outcome, httpx.Response):
                return outcome
            pause = self.retries.pause(attempt, getattr(outcome, "retry_after", None))
            if not _passing(outcome) or time.monotonic() + pause > give_up:
                raise outcome
            self.on_retry(outcome, pause)
            if self.stopping.wait(pause):
                raise outcome
            attempt += 1


def _address(url: str) -> httpx.URL:
    try:
        address = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ImageClassifierError(f"{url!r} is no address: {error}") from error
    if address.scheme not in ("http", "https") or not address.host:
        raise ImageClassifierError(f"{url!r} is no address: http://host:port")
    return address


def _attempt(once: Callable[[], httpx.Response]) -> httpx.Response | ImageClassifierError:
    try:
        response = once()
    except httpx.TransportError as error:
        return NoAnswer(_words(error))
    if response.is_success:
        return response
    # A redirect is an error too: to follow it would send the key to wherever it says.
    return errors.refusal(response)


def _passing(error: ImageClassifierError) -> bool:
    """Whether the same may succeed later."""
    if isinstance(error, Refused):
        return isinstance(error, TryLater) or error.status == _REQUEST_TIMEOUT
    return isinstance(error, NoAnswer)


def _words(error: httpx.TransportError) -> str:
    # Some come without a message.
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
