"""HTTP requests to one service, with its API key, kept connections and retries."""

from __future__ import annotations

import re
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import httpx

from .. import errors
from ..errors import CannotConnect, ImageClassifierError, NoAnswer, Refused, TryLater
from ..version import __version__
from .http_client import http_client, proxy_variable
from .retries import Retries

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
        self._http = http_client(base_url, headers)
        self._answered = False
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
            if not self._may_pass(outcome) or time.monotonic() + pause > give_up:
                raise outcome
            self.on_retry(outcome, pause)
            if self.stopping.wait(pause):
                raise outcome
            attempt += 1

    def _attempt(self, request: httpx.Request) -> httpx.Response | ImageClassifierError:
        try:
            response = self._http.send(request)
        except httpx.TransportError as error:
            return _no_answer(request, error)
        self._answered = True
        if response.is_success:
            return response
        # A redirect counts as an error. Following it would send the key to another address.
        return errors.refusal(response)

    def _may_pass(self, error: ImageClassifierError) -> bool:
        """Whether the same request may succeed later."""
        if isinstance(error, Refused):
            return isinstance(error, TryLater) or error.status == _REQUEST_TIMEOUT
        if isinstance(error, CannotConnect) and not self._answered:
            return self.retries.wait_for_service
        return isinstance(error, NoAnswer)


def _no_answer(request: httpx.Request, error: httpx.TransportError) -> NoAnswer:
    # The address as the user knows it, without a password.
    address = f"{request.url.scheme}://{request.url.netloc.decode()}"
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
