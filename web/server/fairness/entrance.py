"""Few requests of each client begin in each round of the event loop.

One thread serves all clients of a process. In each round it does a step of every request for which
something has arrived. A request needs several steps, and beside hundreds of requests of another
client each step would wait for hundreds of others, however little those cost: a cached answer, or a
refusal. So requests of one client begin one after the other, and all other clients that have
something to do get their step in between. A client that sends one request at a time never waits.

Requests that begin together can share their round trips to Redis and their micro-batch
(web.submit.coalescer). So a round lets in more of them until some milliseconds have passed. Where a
single one takes that long, it begins alone.

A client may send the last bytes of hundreds of bodies at the same moment. So a request whose body
comes later than its head goes on in the same way, when the body is here.

A client that has taken much of the event loop rests (web.server.fairness.rests). Its requests do
not begin meanwhile.

A client may have closed its connection while its request waited. Then the request does not begin.

A head has waited already (web.server.heads), so its request begins at once if both have the same
client. A request with an API key has another one: the head's client is an address.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from contextvars import ContextVar
from wsgiref.types import WSGIEnvironment

import gevent
from gevent.event import Event

from web.server.fairness.departures import ClientGone, has_gone
from web.server.fairness.pacing import let_others_run, note_client
from web.server.fairness.rests import RESTS, Rests

#: How long requests may begin in one round. The last one may exceed it.
_ROUND_SECONDS = 0.004

#: In the WSGI environment: returns when the request may go on after its body.
_GO_ON = "classifier.go_on"

#: The client whose head this greenlet has just read in its turn.
_head_of: ContextVar[str] = ContextVar("head_of", default="")

#: Whether that head had to wait for its turn.
_head_waited: ContextVar[bool] = ContextVar("head_waited", default=False)


class Entrance:
    def __init__(
        self, clock: Callable[[], float] = time.perf_counter, rests: Rests = RESTS
    ) -> None:
        self._clock = clock
        self._rests = rests
        #: The clients that were let in in this round, each with its requests that wait.
        self._waiting: dict[str, deque[Event]] = {}
        self._round = -1
        self._letting_in = False

    def wait(self, client: str, environ: WSGIEnvironment, *, is_probe: bool = False) -> None:
        """Return when a request of `client` may begin. Raises ClientGone if it waited in vain.

        Nobody rests for a probe. Probes come every few seconds, and take little.
        """
        note_client(client)
        if not is_probe:
            self._rests.note(client)
        if "gunicorn.socket" not in environ:  # another server, without an event loop
            return
        waited = _head_waited.get() if _head_of.get() == client else self.take_turn(client)
        _head_of.set("")
        if waited and has_gone(environ["gunicorn.socket"]):
            raise ClientGone
        begun = _round_now()

        def go_on() -> None:
            if _round_now() != begun:
                self.take_turn(client)

        environ[_GO_ON] = go_on

    def read_head(self, client: str) -> None:
        """Return when the bytes of a head that `client` has sent may be read."""
        note_client(client)
        _head_waited.set(self.take_turn(client))
        _head_of.set(client)

    def take_turn(self, client: str) -> bool:
        """Return when it is the turn of something that `client` has sent. False without a wait."""
        if not self._letting_in and self._round != _round_now():
            self._round = _round_now()
            self._waiting.clear()
        if client not in self._waiting:
            self._waiting[client] = deque()
            if not self._rests.owed(client):
                return False
        place = Event()
        self._waiting[client].append(place)
        if not self._letting_in:
            self._letting_in = True
            gevent.spawn(self._let_in)
        place.wait()
        return True

    def _let_in(self) -> None:
        """Let requests of each client go on in each round, while any client has some."""
        while self._waiting:
            self._pause()
            ends_at = self._clock() + _ROUND_SECONDS
            for client, waiting in list(self._waiting.items()):
                if not waiting:
                    del self._waiting[client]
            while self._let_in_one_of_each() and self._clock() < ends_at:
                pass
        self._letting_in = False

    def _pause(self) -> None:
        """Until the next round. It is longer if all clients that wait must rest."""
        owed = [self._rests.owed(client) for client, waiting in self._waiting.items() if waiting]
        if seconds := min(owed, default=0.0):
            gevent.sleep(min(seconds, _ROUND_SECONDS))
        else:
            let_others_run()

    def _let_in_one_of_each(self) -> bool:
        """Let the next request of each client run to its first pause. False if there was none."""
        next_ones = [
            waiting.popleft()
            for client, waiting in self._waiting.items()
            if waiting and not self._rests.owed(client)
        ]
        for each in next_ones:
            each.set()
        gevent.sleep(0)
        return bool(next_ones)


def _round_now() -> int:
    """The number of this round of the event loop."""
    return int(gevent.get_hub().loop.iteration)


#: That of this process.
ENTRANCE = Entrance()


def go_on(environ: WSGIEnvironment) -> None:
    """Return when a request may go on, whose body is here now."""
    if wait := environ.get(_GO_ON):
        wait()
