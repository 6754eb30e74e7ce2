"""gunicorn's gevent worker, less what would hold its shutdown or fill its log.

On SIGTERM gunicorn stops accepting and waits until every connection is closed. Clients that wait
for an answer get it. Two kinds would hold it for the whole grace time, and are ended here:
connections that are kept alive and idle, and streams of events, which go on elsewhere.
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


class Worker(GeventWorker):  # type: ignore[misc]
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._idle: set[socket.socket] = set()
        self.wsgi = None  # until it is loaded, in which a signal may come

    def handle(self, listener: Any, client: socket.socket, addr: Any) -> None:
        self._idle.add(client)
        try:
            super().handle(listener, client, addr)
        finally:
            self._idle.discard(client)

    def handle_request(self, listener: Any, req: Any, client: socket.socket, addr: Any) -> None:
        self._idle.discard(client)
        try:
            super().handle_request(listener, req, client, addr)
        except TimeoutError as error:  # it reads too slowly, see web.slow_downloads
            raise StopIteration from error
        if not self.alive:  # its answer could not say yet that the connection ends with it
            raise StopIteration
        self._idle.add(client)

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
