"""Runs long work in a thread, beside the event loop that serves all clients.

Python runs one thread at a time. Threads that compute would take most of it from the event loop, so
they rest.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar, cast

import gevent
from gevent import monkey

_Result = TypeVar("_Result")

#: That of gevent would make an event loop for each thread.
_sleep: Callable[[float], None] = monkey.get_original("time", "sleep")

#: The work for which a thread rests at a time.
_LONGEST_SECONDS = 0.003

_working = 0  #: Threads that have work.


def in_thread(work: Callable[[], _Result]) -> _Result:
    """The result of `work`, which runs in a thread. Raises what `work` raises."""

    global _working

    def attempt() -> tuple[_Result | None, Exception | None]:
        try:
            return work(), None
        except Exception as error:  # gevent would print it, even where it is a plain refusal
            return None, error

    _working += 1
    try:
        result, error = gevent.get_hub().threadpool.apply(attempt)
    finally:
        _working -= 1
    if error:
        raise error
    return cast(_Result, result)


def rest(seconds: float) -> None:
    """Rest in a thread that has worked for so long. All threads together work half of the time.

    Unpacking and hashing of many bytes leave Python to the event loop, so a rest is short.
    """
    _sleep((2 * max(1, _working) - 1) * min(seconds, _LONGEST_SECONDS))


@contextmanager
def shift() -> Iterator[None]:
    """Rest in a thread after what it does in the body."""
    began = time.thread_time()
    yield
    rest(time.thread_time() - began)
