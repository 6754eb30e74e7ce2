"""One POST to a server that a client named: to a public address, and within a time limit.

The host is resolved here, and each of its addresses is checked. The connection goes to a checked
address, so a name whose addresses change in between makes no difference. Redirects are not
followed, proxies are not used, and the body of the answer is not read.
"""

from __future__ import annotations

import http.client
import io
import ipaddress
import os
import socket
import ssl
import threading
import time
from collections.abc import Mapping, Sequence
from email.utils import parsedate_to_datetime
from functools import cache, partial
from typing import Any, NamedTuple

from shared import clock
from shared.addresses.webhook_address import Target, is_public

_AGENT = "image-classifier-webhooks/1"

#: Bytes of the longest head of an answer, with the interim answers (status 100) before it.
_LONGEST_HEAD = 2**16


class Answer(NamedTuple):
    """All that is read of a receiver's answer."""

    status: int
    retry_after: float  #: Seconds; 0 if the receiver names none.


class NotDelivered(Exception):
    """There was no answer. The message says why and contains no secret."""


def post(
    target: Target,
    body: bytes,
    headers: Mapping[str, str],
    *,
    allow_private: bool,
    seconds: float,
) -> Answer:
    """Send the request and return the answer. Raises NotDelivered if none comes in `seconds`.

    Resolving the host comes before that time. The system's resolver has limits of its own.
    """
    addresses = _resolve(target, allow_private=allow_private)
    connection = _Connection(target, addresses, seconds)
    try:
        connection.request(
            "POST",
            target.path,
            body,
            {"Content-Type": "application/json", "User-Agent": _AGENT, **headers},
        )
        # An answer that is not closed keeps the socket open after the connection is closed.
        with connection.getresponse() as response:
            answer = Answer(response.status, _retry_after(response.getheader("Retry-After", "")))
    except (OSError, http.client.HTTPException) as error:
        raise NotDelivered(connection.cut_off or _words(error)) from error
    finally:
        connection.close()
    if connection.cut_off:  # http.client takes the cut for the end of the answer's head.
        raise NotDelivered(connection.cut_off)
    return answer


def _words(error: OSError | http.client.HTTPException) -> str:
    """What went wrong, without text that the receiver chose."""
    match error:
        case HeadTooLong():
            return "its answer has no end"
        case http.client.RemoteDisconnected():
            return "it closed the connection without an answer"
        case http.client.HTTPException():
            return "its answer is not HTTP"
        case TimeoutError():
            return "it took too long"
        case ssl.SSLCertVerificationError():
            return f"its certificate is not accepted: {error.verify_message}"
        case ssl.SSLError():
            return f"TLS failed: {error.reason or 'no reason given'}"
    return os.strerror(error.errno) if error.errno else type(error).__name__


def _retry_after(header: str) -> float:
    """Seconds, from a header with seconds or a date; 0 for anything else."""
    if header.isascii() and header.isdecimal():
        return float(header)
    try:
        return max(0, parsedate_to_datetime(header).timestamp() - clock.reading())
    except (ValueError, OverflowError):
        return 0


def _resolve(target: Target, *, allow_private: bool) -> list[str]:
    try:
        infos = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise NotDelivered("its name does not resolve") from error
    addresses = [str(info[4][0]) for info in infos]
    # One address that is not public refuses the host: an honest host does not mix the two.
    if not allow_private and not all(
        is_public(ipaddress.ip_address(address)) for address in addresses
    ):
        raise NotDelivered("its name leads to an address that is not public")
    return addresses


@cache
def _trusted() -> ssl.SSLContext:
    """It takes almost a megabyte, so all deliveries share it."""
    return ssl.create_default_context()


class HeadTooLong(http.client.HTTPException):
    """The answer does not begin, or its head does not end."""


class _Head(io.BufferedReader):
    """The bytes of an answer, of which only a head of limited length is read.

    http.client reads interim answers without end, which takes all of a core.
    """

    _left = _LONGEST_HEAD

    def readline(self, size: int | None = -1, /) -> bytes:
        line = super().readline(size)
        self._left -= len(line)
        if self._left < 0:
            raise HeadTooLong
        return line


class _Response(http.client.HTTPResponse):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.fp = _Head(self.fp.detach())


class _Connection(http.client.HTTPConnection):
    """A connection to one of the checked addresses. A timer closes it when its time is over."""

    response_class = _Response

    def __init__(self, target: Target, addresses: Sequence[str], seconds: float) -> None:
        super().__init__(target.host, target.port)
        if target.tls:
            self.default_port = http.client.HTTPS_PORT
        self._target = target
        self._addresses = addresses
        self._ends_at = time.monotonic() + seconds
        self._timer: threading.Timer | None = None
        self.cut_off = ""  #: Why the timer closed the connection; empty if it did not.

    def connect(self) -> None:
        self.sock = self._open()
        if self._target.tls:
            self.sock = _trusted().wrap_socket(
                self.sock, server_hostname=self._target.host, do_handshake_on_connect=False
            )
        # A socket's own timeout limits each read, and a receiver may send a byte at a time.
        self._timer = threading.Timer(self._left(), partial(self._end, self.sock))
        self._timer.start()
        if isinstance(self.sock, ssl.SSLSocket):
            self.sock.do_handshake()

    def close(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None  # it refers to this connection
        super().close()

    def _open(self) -> socket.socket:
        """Connect to the first address that answers, with an equal share of the time for each."""
        failed: OSError | None = None
        for untried, address in zip(
            range(len(self._addresses), 0, -1), self._addresses, strict=True
        ):
            try:
                return socket.create_connection(
                    (address, self._target.port), timeout=self._left() / untried
                )
            except OSError as error:
                failed = error
        raise failed or TimeoutError

    def _left(self) -> float:
        return max(0.01, self._ends_at - time.monotonic())

    def _end(self, connected: socket.socket) -> None:
        self.cut_off = "it took too long"
        try:
            # The SSL socket's own method would change state that the reading thread uses.
            socket.socket.shutdown(connected, socket.SHUT_RDWR)
        except OSError:
            pass  # The connection has already ended.
