"""One request of each client begins in each round of the event loop.

One thread serves all clients of a process. In each round it does a step of every request for which
something has arrived. A request needs several steps, and beside hundreds of requests of another
client each step would wait for hundreds of others, however little those cost: a cached answer, or a
refusal. So requests of one client begin one after the other, and all other clients that have
something to do get their step in between. A client that sends one request at a time never waits.
"""

from __future__ import annotations

from collections import deque
from wsgiref.types import WSGIEnvironment

import gevent
from gevent.event import Event

from web.server.pacing import let_others_run


class Entrance:
    def __init__(self) -> None:
        #: The requests that wait, by the name of their client. A client is here for the rest of the
        #: round in which it was let in.
        self._waiting: dict[str, deque[Event]] = {}

    def wait(self, client: str, environ: WSGIEnvironment) -> None:
        """Return when a request of `client` may begin."""
        if "gunicorn.socket" not in environ:  # another server, without an event loop
            return
        if client in self._waiting:
            place = Event()
            self._waiting[client].append(place)
            place.wait()
            return
        if not self._waiting:
            gevent.spawn(self._let_in)
        self._waiting[client] = deque()

    def _let_in(self) -> None:
        """Let the next request of each client begin in each round, while any client is here."""
        while self._waiting:
            let_others_run()
            for client, waiting in list(self._waiting.items()):
                if waiting:
                    waiting.popleft().set()
                else:
                    del self._waiting[client]
