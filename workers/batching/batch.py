"""A micro-batch: the Celery requests that one pool process runs together."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from itertools import count
from typing import Any

from billiard.einfo import ExceptionInfo

from shared.message import ALONE, CLIENT, IMAGES

logger = logging.getLogger(__name__)

#: Characters. A result of fewer than 4,096 bytes is written to its pipe in one piece, whole or not
#: at all (PIPE_BUF of Linux).
_LONGEST_REASON = 500


_numbers = count(1)


class BatchFailed(Exception):
    """A pool process returns this when its batch fails. It has logged why.

    The error itself stays in the pool process for two reasons. A MemoryError, which Celery never
    catches, would end the worker. And an error with its traceback may not fit into the pipe to the
    main process, so Celery reads it in pieces. If the connection to Redis breaks meanwhile, Celery
    forgets the first piece, and then reads no further result of this process.
    """

    @classmethod
    def because_of(cls, error: Exception) -> BatchFailed:
        return cls(f"{type(error).__name__}: {error}"[:_LONGEST_REASON])


class Batch:
    """Requests that run together in one pool process. The pool calls the `on_` methods."""

    def __init__(self, requests: list[Any], on_done: Callable[[Batch], None]) -> None:
        self.number = next(_numbers)
        self.requests = requests
        self.runs_alone = any(runs_alone(request) for request in requests)
        self.accepted = False
        self.process: int | None = None  #: Id of the process that has accepted it.
        self.result: Any = None  #: The pool's record of this batch.
        self._sent_at = time.monotonic()
        self._on_done = on_done

    @property
    def seconds(self) -> float:
        """Since it was given to the pool."""
        return time.monotonic() - self._sent_at

    def on_accepted(self, pid: int, time_accepted: float) -> None:
        self.accepted = True
        self.process = pid
        for request in self.requests:
            request.on_accepted(pid, time_accepted)

    def on_success(self, value_and_runtime: tuple[Any, float]) -> None:
        value, runtime = value_and_runtime
        if isinstance(value, BatchFailed):
            self._fail(_with_traceback(value))
            return
        for request in self._done():
            request.on_success((0, value, runtime))

    def on_failure(self, exc_info: Any) -> None:
        """The pool process could not return a result: it died, or its time was up."""
        logger.error(
            "batch of %d messages failed",
            len(self.requests),
            exc_info=exc_info.exc_info,
            extra={"task.id": [request.id for request in self.requests]},
        )
        self._fail(exc_info)

    def _fail(self, exc_info: Any) -> None:
        for request in self._done():
            # With return_ok, Celery does not log the same traceback again for each message.
            request.on_failure(exc_info, return_ok=True)

    def on_timeout(self, soft: bool, timeout: float) -> None:
        for request in self.requests:
            request.on_timeout(soft, timeout)

    def _done(self) -> list[Any]:
        """The requests. Frees the slot first, because the callbacks may raise."""
        self._on_done(self)
        return self.requests


def _with_traceback(error: BatchFailed) -> ExceptionInfo:
    """In the form in which Celery wants an error."""
    try:
        raise error
    except BatchFailed:
        return ExceptionInfo()


def put_back(request: Any) -> None:
    """Make the message of a request the next of its queue again."""
    request.message.channel.qos.put_back(request.message.delivery_tag)
    request.acknowledged = True


def images(request: Any) -> int:
    """The number of images in a message, from its header."""
    return int(request.request_dict.get(IMAGES, 1))


def runs_alone(request: Any) -> bool:
    """Whether a message must be the only one of its batch."""
    return images(request) >= ALONE


def client(request: Any) -> str:
    """Whose message this is. Empty if that is not known, or if several clients have parts in it."""
    return str(request.request_dict.get(CLIENT, ""))
