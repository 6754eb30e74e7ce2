"""How fast request bodies are read: single pictures at once, all other bodies at a set pace.

One thread serves all clients of a process. Clients that send as fast as it reads could keep it
busy. So a body is read in steps. Before each step it waits in a queue. One body at a time leaves
the queue, after gevent has handled everything else that has arrived.

Single pictures have a queue of their own, and steps of a megabyte: a photo has a few of them. All
other bodies (parts of a folder, forms of many pictures, archives) share a second queue. It has
steps of 256 KiB and pauses for a millisecond before each. Together they get about 100 MB a second
at most, and a picture never waits behind them. A large step of a folder could delay what others do
meanwhile. So the second queue has steps of a megabyte only after a second in which one client alone
has sent bodies, and no single picture has come. It also has such a step after a long wait: others
then keep the process so busy that a larger step delays them little.

In each queue clients go in rotation. So a client that sends many bodies delays another one by one
step of its own for each step of the other's.

The first step of each body needs no queue, and most pictures end with it. A body leaves the queue
before it is read, so a slow client delays no other client.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any
from wsgiref.types import WSGIEnvironment

import gevent
from gevent.event import Event

_LARGE_STEP_BYTES = 2**20
_STEP_BYTES = 2**18
_PAUSE_SECONDS = 0.001

#: A client that has sent alone for so long gets large steps.
_ALONE_SECONDS = 1.0
#: A body that has waited for so long gets a large step.
_LONG_WAIT_SECONDS = 0.01

#: A timer that ends at once. gevent looks for new events before it ends.
_NO_PAUSE_SECONDS = 1e-9

#: The request's key for whether its body is a single picture.
_SINGLE = "classifier.single_picture"


def note_client(name: str) -> None:
    """Say whose request this greenlet answers from now on."""
    gevent.getcurrent().client = name


def client_of(each: Any) -> str:
    """The client whose request a greenlet answers; empty if it answers none."""
    name: str = getattr(each, "client", "")
    return name


def current_client() -> str:
    """The client whose request this greenlet answers."""
    return client_of(gevent.getcurrent())


def mark_single_picture(environ: WSGIEnvironment) -> None:
    """Read the body of this request as a single picture."""
    environ[_SINGLE] = True


def let_others_run() -> None:
    """Return when gevent has handled everything that has arrived, new connections included.

    gevent.sleep(0) is not enough: gevent looks for new events only after 5 ms of such pauses.
    """
    gevent.sleep(_NO_PAUSE_SECONDS)


class Queue:
    """Bodies leave it one at a time, each after a pause. They return after each step.

    Each is handed its turn. A semaphore of gevent wakes the first that waits later, and those
    that return at once would take it from all others for ever.
    """

    def __init__(self, pause_seconds: float = _NO_PAUSE_SECONDS) -> None:
        self._pause_seconds = pause_seconds
        self._busy = False  #: Whether one has its turn, or has been handed it.
        self._served = ""  #: The client whose turn it is, or was.
        #: The bodies that wait, by client. The client that was served last is at the end.
        self._waiting: dict[str, deque[Event]] = {}

    def wait(self, more_seconds: float = 0) -> None:
        """Return when this body leaves the queue. Its pause is longer by `more_seconds`."""
        let_others_run()  # or a body that was just read would go before those that wait
        client = current_client()
        if self._busy:
            self._wait_for_turn(client)
        self._busy, self._served = True, client
        try:
            gevent.sleep(self._pause_seconds + more_seconds)
        finally:
            self._hand_over()

    def _wait_for_turn(self, client: str) -> None:
        place = Event()
        self._waiting.setdefault(client, deque()).append(place)
        try:
            place.wait()
        except BaseException:  # the greenlet was killed, perhaps just after it was handed its turn
            if place.is_set():
                self._hand_over()
            else:
                self._leave(client, place)
            raise

    def _hand_over(self) -> None:
        """Let the first body of the next client have its turn."""
        if more := self._waiting.pop(self._served, None):
            self._waiting[self._served] = more  # behind those that have come meanwhile
        self._busy = bool(self._waiting)
        if self._busy:
            client, line = next(iter(self._waiting.items()))
            line.popleft().set()
            if not line:
                del self._waiting[client]

    def _leave(self, client: str, place: Event) -> None:
        self._waiting[client].remove(place)
        if not self._waiting[client]:
            del self._waiting[client]


class Pacing:
    """The queues of one process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._pictures = Queue()
        self._others = Queue(_PAUSE_SECONDS)
        self._clock = clock
        self._last_client = ""
        self._alone_since = clock()  #: Since then only folders of this client were read.

    def queue(self, environ: WSGIEnvironment) -> Queue:
        """The queue for this request's body; it changes when the request is marked."""
        return self._pictures if _SINGLE in environ else self._others

    def note_read(self, environ: WSGIEnvironment) -> None:
        """Some of this request's body is about to be read."""
        client = current_client()
        if _SINGLE in environ or client != self._last_client:
            self._last_client, self._alone_since = client, self._clock()

    def wait(self, environ: WSGIEnvironment) -> int:
        """Return when this request's body may be read, with the size of the next step."""
        began = self._clock()
        self.queue(environ).wait()
        now = self._clock()
        long = now - began >= _LONG_WAIT_SECONDS
        alone = now - self._alone_since >= _ALONE_SECONDS
        return _LARGE_STEP_BYTES if _SINGLE in environ or alone or long else _STEP_BYTES


class Pace:
    """The pace of one body."""

    def __init__(self, pacing: Pacing, environ: WSGIEnvironment) -> None:
        self._pacing = pacing
        self._environ = environ
        self._left = _STEP_BYTES

    def wait(self) -> None:
        """Return when the body may be read. Call it before each read."""
        self._pacing.note_read(self._environ)
        if self._left <= 0:
            self._left = self._pacing.wait(self._environ)

    def note(self, size: int) -> None:
        """Count the bytes of a read."""
        self._left -= size
