"""Runs long work in a thread, beside the event loop that serves all clients."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import gevent

_Result = TypeVar("_Result")


def in_thread(work: Callable[[], _Result]) -> _Result:
    """The result of `work`, which runs in a thread. Raises what `work` raises."""

    def attempt() -> tuple[_Result | None, Exception | None]:
        try:
            return work(), None
        except Exception as error:  # gevent would print it, even where it is a plain refusal
            return None, error

    result, error = gevent.get_hub().threadpool.apply(attempt)
    if error:
        raise error
    return cast(_Result, result)
