"""Returns the parts of a batch to the queue when Redis went away in the middle of it.

A batch that fails is acknowledged, so its message is gone. Without this, its parts would wait for
their deadline, a minute after Redis is back. If the worker has lost its connection, too, its next
connection returns the message as well. Then the parts are delivered twice, which changes no result.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from redis.exceptions import (
    ConnectionError as RedisConnectionError,
    NoPermissionError,
    OutOfMemoryError,
    RedisError,
    TimeoutError as RedisTimeoutError,
)

from shared.errors import ClassifierError


class RedisAway(ClassifierError):
    """Redis went away in the middle of a batch."""


#: Errors that have nothing to do with the pictures of a batch.
_OUTAGES = (RedisConnectionError, RedisTimeoutError, OutOfMemoryError, NoPermissionError)

#: More such errors, for which redis-py has no class.
_CODES = ("MISCONF", "NOREPLICAS")

#: Seconds between tries. A batch whose results Redis keeps refusing is repeated no faster.
_PAUSE = 1.0


def is_outage(error: RedisError) -> bool:
    """Whether the same command may succeed later, as it is."""
    return isinstance(error, _OUTAGES) or any(code in str(error) for code in _CODES)


def after_outage(action: Callable[[], object], *, seconds: float) -> bool:
    """Do something once Redis is back. False if it stays away for `seconds`.

    Raises RedisError if `action` fails for another reason.
    """
    gives_up_at = time.monotonic() + seconds
    while time.monotonic() < gives_up_at:
        time.sleep(_PAUSE)
        try:
            action()
            return True
        except RedisError as error:
            if not is_outage(error):
                raise
    return False
