"""gunicorn's gevent worker, with a quick end and free connections.

On SIGTERM gunicorn stops accepting, and waits until every connection is closed. Clients that wait
for an answer get it. Two kinds of connections would last for the whole grace time. This worker ends
them: connections that are kept alive and idle, and streams of events, which clients open again
elsewhere.

A process accepts `worker_connections` and no more, and half of them from one address. A client may
keep its idle connection for 75 seconds. Enough of them would leave no connection for new clients.
When an address may open few more connections, an answer says that its connection ends with it, and
the worker closes those that have been idle for a while.

A client may send many requests without waiting for the answers. gevent switches to another client
only where there is nothing to read. So such requests wait in a queue, and one of them is answered
in each round of the event loop.

A client that does not read its answer loses its connection, and the kernel buffers little for it.
Streams have a limit of their own for each piece (web.server.slow_downloads), and the kernel limits
all other answers.

Behind a proxy that is trusted, all connections come from the proxy. Clients share the requests then
(web.server.fairness.places).
"""

from __future__ import annotations

import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import gevent
from gevent.monkey import get_original
from gunicorn.workers.ggevent import GeventWorker

from shared.settings import Settings
from web.server.addresses import network_of
from web.server.heads import Head, read_in_turn
from web.server.heartbeat import Heartbeat
from web.server.fairness.departures import DEPARTURES
from web.server.fairness.pacing import Queue
from web.server.fairness.places import PLACES
from web.server.fairness.shares import Shares
from web.server.slow_downloads import buffer_little
from web.server.unread_body import drop_rest

#: Name of the application's extension that the worker calls when the process is asked to stop. It
#: ends the answers that would go on by themselves.
ON_STOP = "on_stop"

#: After SIGTERM a client may still send one request on its idle connection, for so long.
_LAST_REQUEST_SECONDS = 1.0

#: Connections that are kept free for each address: as many as gevent accepts before it does
#: anything else.
_SPARE = 100

#: What a connection beyond the share of its address is answered.
_REFUSAL = (
    b"HTTP/1.1 503 Service Unavailable\r\n"
    b"Retry-After: 5\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
)

#: A client that was answered less long ago may just be sending its next request.
_IDLE_SECONDS = 1.0


class Worker(GeventWorker):  # type: ignore[misc]
    tmp: Any

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.tmp.close()
        self.tmp = Heartbeat(self.cfg)
        self._idle: dict[socket.socket, float] = {}  # since when (monotonic), the oldest first
        self._addresses: dict[socket.socket, str] = {}
        settings = Settings()
        self._behind_proxy = bool(settings.trusted_proxies)
        self._slow_upload_seconds = settings.slow_upload_seconds
        self._unread_ms = round(1000 * settings.slow_download_seconds)
        # A single proxy gets half of this, which is all.
        limit = int(self.worker_connections) * (2 if self._behind_proxy else 1)
        self._connections = Shares(limit)
        PLACES.limit(int(self.worker_connections))
        read_in_turn(self.log.error_log, behind_proxy=self._behind_proxy)
        self._early_requests = Queue()
        self._last_requests_are_over = False
        self.wsgi = None  # a signal may come before the application is loaded

    def run(self) -> None:
        gevent.spawn(self._close_idle)
        super().run()

    def handle(self, listener: Any, client: socket.socket, addr: Any) -> None:
        # A Unix socket has no addresses.
        address = network_of(addr[0]) if addr and not self._behind_proxy else ""
        if not self._connections.take(address):
            _refuse(client)
            return
        _end_if_unread(client, self._unread_ms)
        buffer_little(client)
        self._addresses[client] = address
        self._idle[client] = time.monotonic()
        try:
            super().handle(listener, client, addr)
        finally:
            self._idle.pop(client, None)
            del self._addresses[client]
            self._connections.give_back(address)

    def handle_request(self, listener: Any, req: Any, client: socket.socket, addr: Any) -> None:
        if self._idle.pop(client, None) is None:
            # The connection was closed just as this request came. It is not handled at all, so the
            # client can send it again.
            raise StopIteration
        if self._connections.left(self._addresses[client]) < _SPARE:
            req.force_close()
        try:
            super().handle_request(listener, req, client, addr)
        except TimeoutError as error:  # the client reads too slowly, see web.server.slow_downloads
            raise StopIteration from error
        finally:
            PLACES.give_back()
        if _has_buffered(req) or _has_sent(client):
            self._early_requests.wait()
        # The process may have been asked to stop after this answer left. The client does not know
        # that, so it may have sent its next request, and closing the connection would reset it.
        self._idle[client] = time.monotonic()
        if self._last_requests_are_over:
            _stop_reading(client)

    def handle_error(self, req: Any, client: socket.socket, addr: Any, exc: Exception) -> None:
        """Answer a request whose head gunicorn refuses.

        A reset would overtake the answer if bytes of the body were left unread.
        """
        super().handle_error(req, client, addr, exc)
        drop_rest(client, seconds=self._slow_upload_seconds)

    def _close_idle(self) -> None:
        """Close idle connections of addresses that may open few more, while the process lives."""
        while True:
            gevent.sleep(_IDLE_SECONDS)
            self._close_those_idle_since(time.monotonic() - _IDLE_SECONDS)

    def _close_those_idle_since(self, latest: float) -> None:
        closed: Counter[str] = Counter()
        for client, since in list(self._idle.items()):
            address = self._addresses[client]
            # One connection less is one more that is free, and one less that is held.
            left = self._connections.left(address) + 2 * closed[address]
            # A client in Head.waiting has sent its request, which waits for its turn.
            idle = since < latest and client not in Head.waiting and not _has_sent(client)
            if left < _SPARE and idle:
                closed[address] += 1
                del self._idle[client]
                _stop_reading(client)

    def handle_exit(self, sig: int, frame: Any) -> None:
        super().handle_exit(sig, frame)
        # A signal handler may run at any line, so the work is left to a greenlet.
        gevent.spawn(self._end_what_only_waits)

    def _end_what_only_waits(self) -> None:
        if self.wsgi:
            self.wsgi.extensions[ON_STOP]()
        gevent.sleep(_LAST_REQUEST_SECONDS)
        self._last_requests_are_over = True
        DEPARTURES.over = True
        for client in tuple(self._idle):
            _stop_reading(client)


def _refuse(client: socket.socket) -> None:
    with suppress(OSError):  # the client has just gone
        client.send(_REFUSAL)
    client.close()


def _end_if_unread(client: socket.socket, milliseconds: int) -> None:
    """Let the kernel end the connection when `client` has taken no byte of an answer for so long.

    macOS does not have this option, and a Unix socket ignores it with an error.
    """
    if option := getattr(socket, "TCP_USER_TIMEOUT", None):
        with suppress(OSError):
            client.setsockopt(socket.IPPROTO_TCP, option, milliseconds)


def _has_buffered(req: Any) -> bool:
    """Whether gunicorn has read bytes of the next request."""
    return bool(req.unreader.buf.getbuffer().nbytes)


def _has_sent(client: socket.socket) -> bool:
    """Whether there are bytes to read."""
    with _plain(client) as plain, suppress(OSError):  # there are none, or the client has gone
        return bool(plain.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    return False


def _stop_reading(client: socket.socket) -> None:
    """Let the greenlet that reads `client` get what has come already, and then the end."""
    with _plain(client) as plain, suppress(OSError):  # the client has just gone
        plain.shutdown(socket.SHUT_RD)


@contextmanager
def _plain(client: socket.socket) -> Iterator[socket.socket]:
    """The same socket without gevent, which would wait, or raise an error in the other greenlet."""
    plain = get_original("socket", "socket")(fileno=client.fileno())
    try:
        yield plain
    finally:
        plain.detach()
