"""gunicorn's gevent worker, less what would hold its shutdown or fill its connections.

On SIGTERM gunicorn stops accepting and waits until every connection is closed. Clients that wait
for an answer get it. Two kinds would hold it for the whole grace time, and are ended here:
connections that are kept alive and idle, and streams of events, which go on elsewhere.

A process has so many connections and accepts no other. Clients that only keep theirs, for the 75
seconds that they may, would leave those who come unanswered. Where places are short an answer says
that the connection ends with it, and who has been idle for a while is let go.
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

#: A client that does not know yet may send one more request on a connection that it keeps, and is
#: answered; after this it has none.
_LAST_REQUEST_SECONDS = 1.0

#: Connections that are kept free: as many as gevent accepts before anything else happens.
_SPARE = 100

#: Whoever asked less long ago may be about to ask again, and would find the connection gone.
_IDLE_SECONDS = 1.0


class Worker(GeventWorker):  # type: ignore[misc]
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._idle: dict[socket.socket, float] = {}  # since when, and in this order
        self._connections = 0
        self.wsgi = None  # until it is loaded, in which a signal may come

    def run(self) -> None:
        gevent.spawn(self._let_go_of_idle)
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
            # Let go just as this came. Nobody has looked at it, and no answer says so.
            raise StopIteration
        if self._excess() > 0:
            req.force_close()
        try:
            super().handle_request(listener, req, client, addr)
        except TimeoutError as error:  # it reads too slowly, see web.server.slow_downloads
            raise StopIteration from error
        if not self.alive:  # its answer could not say yet that the connection ends with it
            raise StopIteration
        self._idle[client] = time.monotonic()

    def _excess(self) -> int:
        """Connections beyond those that leave some free; below 0 where there are places."""
        return self._connections - int(self.worker_connections) + _SPARE

    def _let_go_of_idle(self) -> None:
        """For as long as the process lives."""
        while True:
            gevent.sleep(_IDLE_SECONDS)
            latest = time.monotonic() - _IDLE_SECONDS
            for client, since in list(islice(self._idle.items(), max(0, self._excess()))):
                if since < latest and not _has_sent(client):
                    del self._idle[client]
                    _stop_reading(client)

    def handle_exit(self, sig: int, frame: Any) -> None:
        super().handle_exit(sig, frame)
        # Not here: a signal may come at any line.
        gevent.spawn(self._end_what_only_waits)

    def _end_what_only_waits(self) -> None:
        if self.wsgi:
            self.wsgi.extensions["service"].streams.end_all()
        gevent.sleep(_LAST_REQUEST_SECONDS)
        for client in tuple(self._idle):
            _stop_reading(client)


def _has_sent(client: socket.socket) -> bool:
    """Whether something waits to be read."""
    with _plain(client) as plain, suppress(OSError):  # nothing has come, or the client has gone
        return bool(plain.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    return False


def _stop_reading(client: socket.socket) -> None:
    """Who reads there gets what has come already, and then the end."""
    with _plain(client) as plain, suppress(OSError):  # the client has just gone
        plain.shutdown(socket.SHUT_RD)


@contextmanager
def _plain(client: socket.socket) -> Iterator[socket.socket]:
    """The same without gevent, whose calls would wait, or raise an error in who reads there."""
    plain = get_original("socket", "socket")(fileno=client.fileno())
    try:
        yield plain
    finally:
        plain.detach()
