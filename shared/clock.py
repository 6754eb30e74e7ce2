"""The time of day by the clock of Redis.

Web processes and workers write times into records and compare them: deadlines, signs of life,
leases. The clock of one machine may be wrong, or be set while a process runs. So each process asks
Redis for the time now and then. In between it counts on with a clock that nobody can set. One
question takes one round trip.
"""

from __future__ import annotations

import logging
import math
import time

from redis import Redis

logger = logging.getLogger(__name__)

#: Seconds between two measurements of a process.
MEASURE_SECONDS = 10.0

#: A larger difference, in seconds, is logged: NTP keeps clocks much closer.
WARN_SECONDS = 1.0


#: A clock that nobody can set, and that runs while the machine sleeps. Not all systems have that.
_STEADY = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class _Clock:
    def __init__(self) -> None:
        self.difference = 0.0  #: Seconds that the clock of Redis is ahead of this machine's clock.
        #: What is added to the steady clock. Before the first measurement it gives our own time.
        self._offset = time.time() - _steady()
        self._measured = False
        self._due_at = -math.inf

    def now(self, redis: Redis) -> float:
        at = time.monotonic()
        if at >= self._due_at:
            if self._measured:  # Other threads go on with the present measurement.
                self._due_at = at + MEASURE_SECONDS
            try:
                self._measure(redis)
            except BaseException:
                self._due_at = at
                raise
            self._measured = True
            self._due_at = at + MEASURE_SECONDS
        return self.reading()

    def reading(self) -> float:
        return _steady() + self._offset

    def _measure(self, redis: Redis) -> None:
        here, sent_at = time.time(), _steady()
        seconds, microseconds = redis.time()
        received_at, received_here = _steady(), time.time()
        by_redis = seconds + microseconds / 1e6
        self._offset = _moved(self._offset, by_redis, sent_at, received_at)
        difference = _moved(self.difference, by_redis, here, received_here)
        if abs(difference - self.difference) > WARN_SECONDS:
            logger.warning(
                "The clock of Redis is %+.1f s from the clock of this machine. Times in records "
                "follow Redis. Let NTP set both clocks.",
                difference,
            )
        self.difference = difference


def _moved(known: float, by_redis: float, sent_at: float, received_at: float) -> float:
    """Seconds that Redis is ahead of a clock that was read before and after Redis was asked.

    Redis read its own clock at an unknown moment in between. A change of `known` that this explains
    is none, so on one machine the difference stays zero.
    """
    found = by_redis - (sent_at + received_at) / 2
    return known if abs(found - known) <= abs(received_at - sent_at) / 2 else found


def _steady() -> float:
    return time.clock_gettime(_STEADY)


_clock = _Clock()


def now(redis: Redis) -> float:
    """Unix seconds. Measures the clock of Redis if that is due, and then may raise RedisError."""
    return _clock.now(redis)


def reading() -> float:
    """Unix seconds by the last measurement of this process, without a round trip."""
    return _clock.reading()


def difference() -> float:
    """Seconds that the clock of Redis was ahead of this machine's at the last measurement."""
    return _clock.difference
