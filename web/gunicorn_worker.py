"""gunicorn's gevent worker, less what would hold its shutdown or fill its connections.

On SIGTERM gunicorn stops accepting and waits until every connection is closed. Clients that wait
for an answer get it. Two kinds would hold it for the whole grace time, and are ended here:
connections that are kept alive and idle, and streams of events, which go on elsewhere.

A process has so many connections and accepts no other. Clients that only keep theirs, for the 75
seconds that they may, would leave those who come unanswered: where places are short, who has been
idle longest is let go.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Any

import gevent
from gevent.monkey import get_original
from gunicorn.workers.ggevent import GeventWorker

#: A client that does not know yet may send one more request on a connection that it keeps, and is
#: answered; after this it has none.
_LAST_REQUEST_SECONDS = 1.0

#: Connections that are kept free: as many as gevent accepts before anything else happens.
_SPARE = 100


class Worker(GeventWorker):  # type: ignore[misc]
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._idle: dict[socket.socket, None] = {}  # in the order in which they became it
        self._connections = 0
        self.wsgi = None  # until it is loaded, in which a signal may come

    def handle(self, listener: Any, client: socket.socket, addr: Any) -> None:
        self._connections += 1
        self._keep(client)
        try:
            super().handle(listener, client, addr)
        finally:
            self._idle.pop(client, None)
            self._connections -= 1

    def handle_request(self, listener: Any, req: Any, client: socket.socket, addr: Any) -> None:
        self._idle.pop(client, None)
        try:
            super().handle_request(listener, req, client, addr)
        except TimeoutError as error:  # it reads too slowly, see web.slow_downloads
            raise StopIteration from error
        if not self.alive:  # its answer could not say yet that the connection ends with it
            raise StopIteration
        self._keep(client)

    def _keep(self, client: socket.socket) -> None:
        """Wait for a request of this client; where places are short, of one less."""
        if self._idle and self._connections > self.worker_connections - _SPARE:
            longest = next(iter(self._idle))
            del self._idle[longest]
            _stop_reading(longest)
        self._idle[client] = None

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


def _stop_reading(client: socket.socket) -> None:
    """Who reads there gets what has come already, and then the end.

    gevent's own `shutdown` would raise an error there instead.
    """
    plain = get_original("socket", "socket")(fileno=client.fileno())
    with suppress(OSError):  # the client has just gone
        plain.shutdown(socket.SHUT_RD)
    plain.detach()
