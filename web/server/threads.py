"""Runs long work in a thread, beside the event loop that serves all clients.

Python runs one thread at a time. Threads that compute would take most of it from the event loop, so
they rest. Unpacking and hashing of many bytes leave Python to the event loop, but no processor to
workers. So such work rests as long while other clients are there.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar, cast

import gevent
from gevent import monkey

from web.server.fairness.pacing import current_client
from web.server.fairness.rests import RESTS

_Result = TypeVar("_Result")

#: That of gevent would make an event loop for each thread.
_sleep: Callable[[float], None] = monkey.get_original("time", "sleep")

#: The work for which a thread rests at a time, while its client is alone.
_LONGEST_SECONDS = 0.003

_at_work: Counter[str] = Counter()  #: Threads that have work, by client.


class _Job(threading.local):
    """What this thread does."""

    client = ""  #: For whom.


_job = _Job()


def in_thread(work: Callable[[], _Result]) -> _Result:
    """The result of `work`, which runs in a thread. Raises what `work` raises."""

    client = current_client()

    def attempt() -> tuple[_Result | None, Exception | None]:
        _job.client = client
        try:
            return work(), None
        except Exception as error:  # gevent would print it, even where it is a plain refusal
            return None, error

    _at_work[client] += 1
    try:
        result, error = gevent.get_hub().threadpool.apply(attempt)
    finally:
        _at_work[client] -= 1
        if not _at_work[client]:
            del _at_work[client]
    if error:
        raise error
    return cast(_Result, result)


def rest(seconds: float) -> None:
    """Rest in a thread that has worked for so long.

    All threads together work half of the time. Clients share it, and so do the threads of each.
    """
    if not RESTS.others_are_there(_job.client):
        seconds = min(seconds, _LONGEST_SECONDS)
    shares = max(1, len(_at_work)) * max(1, _at_work[_job.client])
    _sleep((2 * shares - 1) * seconds)


@contextmanager
def shift() -> Iterator[None]:
    """Rest in a thread after what it does in the body."""
    began = time.thread_time()
    yield
    rest(time.thread_time() - began)
