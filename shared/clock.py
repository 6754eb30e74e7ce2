"""The time of day by the clock of Redis.

Web processes and workers write times into records and compare them: deadlines, signs of life,
leases. The clock of one machine may be wrong. So each process measures now and then how far its own
clock is from that of Redis, and adds the difference. One measurement takes one round trip.
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


class _Clock:
    def __init__(self) -> None:
        self.difference = 0.0  #: Seconds that the clock of Redis is ahead of this machine's clock.
        self._measured = False
        self._due_at = -math.inf

    def now(self, redis: Redis) -> float:
        at = time.monotonic()
        if at >= self._due_at:
            if self._measured:  # Other threads go on with the present difference.
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
        return time.time() + self.difference

    def _measure(self, redis: Redis) -> None:
        sent_at = time.time()
        seconds, microseconds = redis.time()
        received_at = time.time()
        difference = seconds + microseconds / 1e6 - (sent_at + received_at) / 2
        # Redis read its clock at an unknown moment of the round trip. A change that this explains
        # is none, so on one machine the difference stays zero.
        uncertain = abs(received_at - sent_at) / 2
        if abs(difference - self.difference) <= uncertain:
            return
        if abs(difference - self.difference) > WARN_SECONDS:
            logger.warning(
                "The clock of Redis is %+.1f s from the clock of this machine. Times in records "
                "follow Redis. Let NTP set both clocks.",
                difference,
            )
        self.difference = difference


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
