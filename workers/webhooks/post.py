"""One POST to a stranger's server: to a public address, once, and never for long.

The name is resolved here and every address that it has is looked at; the connection goes to one of
those and to nothing else, so a name that changes in between changes nothing. No redirect is
followed, no proxy asked, no body read.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Mapping, Sequence
from email.utils import parsedate_to_datetime
from functools import partial
from typing import NamedTuple

from shared import webhooks
from shared.webhooks import Target

_AGENT = "image-classifier-webhooks/1"


class Answer(NamedTuple):
    """All that is read of what a receiver says."""

    status: int
    retry_after: float  #: Seconds that it asks to be left alone for.


class NotDelivered(Exception):
    """Why there was no answer, in words that tell nothing secret."""


def post(
    target: Target,
    body: bytes,
    headers: Mapping[str, str],
    *,
    allow_private: bool,
    seconds: float,
) -> Answer:
    """Send and give the answer. Raises NotDelivered where none came within `seconds`.

    Looking the name up comes before; the system's resolver has its own limits.
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
        response = connection.getresponse()
    except (OSError, http.client.HTTPException) as error:
        raise NotDelivered(connection.cut_off or type(error).__name__) from error
    finally:
        connection.close()
    if connection.cut_off:  # which reads like the end of the answer's head
        raise NotDelivered(connection.cut_off)
    return Answer(response.status, _retry_after(response.getheader("Retry-After", "")))


def _retry_after(header: str) -> float:
    """Of seconds or of a date; 0 for anything else."""
    if header.isascii() and header.isdecimal():
        return float(header)
    try:
        return max(0, parsedate_to_datetime(header).timestamp() - time.time())
    except (ValueError, OverflowError):
        return 0


def _resolve(target: Target, *, allow_private: bool) -> list[str]:
    try:
        found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise NotDelivered("its name does not resolve") from error
    addresses = [str(each[4][0]) for each in found]
    # One that is not public refuses all: who mixes them is trying something.
    if not allow_private and not all(
        webhooks.is_public(ipaddress.ip_address(address)) for address in addresses
    ):
        raise NotDelivered("its name leads to an address that is not public")
    return addresses


class _Connection(http.client.HTTPConnection):
    """A connection to an address that has been looked at, ended when its time is over."""

    def __init__(self, target: Target, addresses: Sequence[str], seconds: float) -> None:
        super().__init__(target.host, target.port)
        if target.tls:
            self.default_port = http.client.HTTPS_PORT
        self._target = target
        self._addresses = addresses
        self._ends_at = time.monotonic() + seconds
        self._timer: threading.Timer | None = None
        self.cut_off = ""  #: Why it was ended from here.

    def connect(self) -> None:
        self.sock = self._open()
        if self._target.tls:
            context = ssl.create_default_context()
            self.sock = context.wrap_socket(
                self.sock, server_hostname=self._target.host, do_handshake_on_connect=False
            )
        # A socket's own timeout holds for each read; who sends a byte at a time would never end.
        self._timer = threading.Timer(self._left(), partial(self._end, self.sock))
        self._timer.start()
        if isinstance(self.sock, ssl.SSLSocket):
            self.sock.do_handshake()

    def close(self) -> None:
        if self._timer:
            self._timer.cancel()
        super().close()

    def _open(self) -> socket.socket:
        """The first of the addresses that answers; one more must not cost the others' time."""
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
            # Not the SSL socket's own method, which changes what the reading thread is using.
            socket.socket.shutdown(connected, socket.SHUT_RDWR)
        except OSError:
            pass  # it has ended by itself
