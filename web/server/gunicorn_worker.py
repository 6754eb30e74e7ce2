"""gunicorn's gevent worker, with a quick end and free connections.

On SIGTERM gunicorn stops accepting, and waits until every connection is closed. Clients that wait
for an answer get it. Two kinds of connections would last for the whole grace time. This worker ends
them: connections that are kept alive and idle, and streams of events, which clients open again
elsewhere.

A process accepts `worker_connections` and no more. A client may keep its idle connection for 75
seconds. Enough of them would leave no connection for new clients. When few connections are free, an
answer says that its connection ends with it, and the worker closes those that have been idle for a
while.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from typing import Any

import gevent
from gevent.monkey import get_original
from gunicorn.workers.ggevent import GeventWorker

from web.server.heartbeat import Heartbeat

#: Name of the application's extension that the worker calls when the process is asked to stop. It
#: ends the answers that would go on by themselves.
ON_STOP = "on_stop"

#: After SIGTERM a client may still send one request on its idle connection, for so long.
_LAST_REQUEST_SECONDS = 1.0

#: Connections that are kept free: as many as gevent accepts before it does anything else.
_SPARE = 100

#: A client that was answered less long ago may just be sending its next request.
_IDLE_SECONDS = 1.0


class Worker(GeventWorker):  # type: ignore[misc]
    tmp: Any

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.tmp.close()
        self.tmp = Heartbeat(self.cfg)
        self._idle: dict[socket.socket, float] = {}  # since when (monotonic), the oldest first
        self._connections = 0
        self._last_requests_are_over = False
        self.wsgi = None  # a signal may come before the application is loaded

    def run(self) -> None:
        gevent.spawn(self._close_idle)
        super().run()

    def handle(self, listener: Any, client: socket.socket, addr: Any) -> None:
        self._connections += 1
        self._idle[client] = time.monotonic()
        try:
            super().handle(listener, client, addr)
        finally:
            self._idle.pop(client, None)
            self._connections -= 1

    def handle_request(self, listener: Any, req: Any, client: socket.socket, addr: Any) -> None:
        if self._idle.pop(client, None) is None:
            # The connection was closed just as this request came. It is not handled at all, so the
            # client can send it again.
            raise StopIteration
        if self._excess() > 0:
            req.force_close()
        try:
            super().handle_request(listener, req, client, addr)
        except TimeoutError as error:  # the client reads too slowly, see web.server.slow_downloads
            raise StopIteration from error
        # The process may have been asked to stop after this answer left. The client does not know
        # that, so it may have sent its next request, and closing the connection would reset it.
        self._idle[client] = time.monotonic()
        if self._last_requests_are_over:
            _stop_reading(client)

    def _excess(self) -> int:
        """Connections beyond those that leave `_SPARE` free; 0 or less where there is room."""
        return self._connections - int(self.worker_connections) + _SPARE

    def _close_idle(self) -> None:
        """Close idle connections when few are free, for as long as the process lives."""
        while True:
            gevent.sleep(_IDLE_SECONDS)
            latest = time.monotonic() - _IDLE_SECONDS
            for client, since in list(islice(self._idle.items(), max(0, self._excess()))):
                if since < latest and not _has_sent(client):
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
        for client in tuple(self._idle):
            _stop_reading(client)


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
