"""What takes long and waits for nobody, beside the event loop that serves all clients."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import gevent

_Result = TypeVar("_Result")


def in_thread(work: Callable[[], _Result]) -> _Result:
    """Do `work` in a thread, and wait for it: its result, or what it raises."""

    def attempt() -> tuple[_Result | None, Exception | None]:
        try:
            return work(), None
        except Exception as error:  # gevent would print it, and a refusal is nothing to print
            return None, error

    result, error = gevent.get_hub().threadpool.apply(attempt)
    if error:
        raise error
    return cast(_Result, result)
