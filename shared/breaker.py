"""A circuit breaker: one caller finds Redis away, the others hear of it without trying too.

pybreaker does not fit. It holds a lock during each call, so callers would reach Redis one after the
other, and its error is no RedisError.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from redis.exceptions import ConnectionError, RedisError


class Breaker:
    """Opens when a call fails, and closes when one succeeds or `seconds` have passed.

    Use it as a context manager around a call to Redis. Entering raises ConnectionError while the
    breaker is open.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._failed_at = -math.inf
        self._succeeded_at = -math.inf

    def __enter__(self) -> None:
        if self._succeeded_at <= self._failed_at > self._clock() - self._seconds:
            raise ConnectionError("it did not answer a moment ago")

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if error is None:
            self.note_success()
        elif isinstance(error, RedisError):
            self.note_failure()

    def note_success(self) -> None:
        self._succeeded_at = self._clock()

    def note_failure(self) -> None:
        self._failed_at = self._clock()

    def only_failed_since(self, moment: float) -> bool:
        """Whether calls have failed since `moment`, by the clock, and none has succeeded."""
        return self._failed_at >= moment > self._succeeded_at
