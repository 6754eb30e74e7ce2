"""Questions of one client are answered a few at a time, so that others are answered between them.

One thread serves all clients of a process, in the order in which they ask. A client that asks on
hundreds of connections would delay each other client by hundreds of answers, and its questions
would use all connections to Redis. So a question waits while others of the same client are under
way. Submissions do not wait here: they have limits of their own.

A client may close its connection meanwhile. Its question then leaves without an answer.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable, Iterator
from contextlib import suppress
from weakref import WeakValueDictionary
from wsgiref.types import WSGIEnvironment

from gevent.lock import BoundedSemaphore

from web.server.fairness.departures import DEPARTURES, ClientGone, has_gone
from web.server.fairness.pacing import let_others_run
from web.server.fairness.rests import RESTS

#: Questions of one client that are under way at a time.
_AT_ONCE = 4

#: A question that has waited for so long is refused. In an outage each answer takes a second.
_LONGEST_SECONDS = 10.0

#: In the WSGI environment: the slot of the request.
_SLOT = "classifier.slot"


class Slot:
    """The slot of one question. Use it as a context manager around each step of the answer."""

    def __init__(self, places: BoundedSemaphore, client: socket.socket | None = None) -> None:
        self._places = places
        self._client = client
        self.held = False
        self.came = True  #: False if the last wait took too long.

    def give_back(self) -> None:
        """End the slot early, because the rest of the step only waits."""
        if self.held:
            self.held = False
            self._places.release()

    def __enter__(self) -> Slot:
        self.held = self._places.acquire(blocking=False)
        if not self.held:
            self._wait()
        return self

    def keep_waiting(self) -> None:
        """Wait also if the client seems to have gone. It may still read what is sent."""
        self._client = None

    def _wait(self) -> None:
        """Raises ClientGone."""
        with DEPARTURES.ending(self._client):
            self.held = self.came = self._places.acquire(timeout=_LONGEST_SECONDS)
        let_others_run()
        if has_gone(self._client):
            self.give_back()
            raise ClientGone

    def __exit__(self, *_: object) -> None:
        self.give_back()


class Slots:
    def __init__(self) -> None:
        #: By the name of the client. A client that asks nothing is forgotten.
        self._places: WeakValueDictionary[str, BoundedSemaphore] = WeakValueDictionary()

    def of(self, client: str, environ: WSGIEnvironment) -> Slot:
        """The slot for a request of `client`."""
        places = self._places.setdefault(client, BoundedSemaphore(_AT_ONCE))
        slot = Slot(places, environ.get("gunicorn.socket"))
        environ[_SLOT] = slot
        return slot


def give_back(environ: WSGIEnvironment) -> None:
    """Let the next question of the same client begin: the rest of this one only waits."""
    if slot := environ.get(_SLOT):
        slot.give_back()


def take_again(environ: WSGIEnvironment) -> None:
    """Wait for a slot after `give_back`, unless the request has one."""
    slot = environ.get(_SLOT)
    if slot and not slot.held:
        with suppress(ClientGone):
            slot.__enter__()


def in_slots(pieces: Iterable[bytes], environ: WSGIEnvironment) -> Iterator[bytes]:
    """The pieces of a stream, each made in a slot. An empty piece is a step that gives no bytes.

    Raises ConnectionResetError after such a step if the client has gone. Nothing would be sent to
    it, so nothing else would end the stream.
    """
    slot = environ.get(_SLOT)
    if slot is None:
        yield from filter(None, pieces)
        return
    slot.keep_waiting()
    left = iter(pieces)
    while True:
        with slot:
            if not slot.held:
                continue  # It has waited for long. A step without a slot would delay others.
            piece = next(left, None)
        if piece is None:
            return
        if piece:
            yield piece
        elif has_gone(environ.get("gunicorn.socket")):
            raise ConnectionResetError(errno.ECONNRESET, "the client has gone")
        RESTS.rest()  # Others of the client wait for this slot.
