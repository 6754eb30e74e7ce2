"""Recovers the lane's overdue parts every few seconds, in one worker at a time."""

from __future__ import annotations

import logging
import socket

from redis import Redis
from redis.exceptions import RedisError

from shared import keys
from shared.observe import metrics
from shared.jobs import Lane
from shared.operation import lane_states
from shared.records.overdue.recovery import Recovered, Recovery

logger = logging.getLogger(__name__)


class Reconciler:
    def __init__(self, redis: Redis, recovery: Recovery, lane: Lane, *, seconds: float) -> None:
        self._redis = redis
        self._recovery = recovery
        self._lane = lane
        self._seconds = seconds
        for how in Recovered._fields:  # Starts at 0, so that the first one shows as an increase.
            metrics.PARTS_RECOVERED.labels(lane, how)

    def tick(self) -> None:
        """Recover overdue parts. Runs in the worker's event loop, so it must be short."""
        try:
            # A part of a paused lane is late because the operator wants it so.
            if lane_states.read(self._redis, self._lane).works and self._lock():
                self._recover()
        except RedisError as error:
            logger.warning("cannot recover overdue parts: %s", error)

    def _lock(self) -> bool:
        # The lock ends just before the interval, so that the next tick can take it. It is never
        # released, because that would allow a second recovery in the same interval.
        milliseconds = int(900 * self._seconds)
        key = keys.reconciling(self._lane)
        if self._redis.set(key, socket.gethostname(), nx=True, px=milliseconds):
            return True
        if self._redis.pttl(key) > milliseconds:  # the clock of Redis was set back
            self._redis.pexpire(key, milliseconds)
        return False

    def _recover(self) -> None:
        recovered = self._recovery.recover(self._lane)
        for how, parts in recovered._asdict().items():
            metrics.PARTS_RECOVERED.labels(self._lane, how).inc(parts)
        if any(recovered):
            logger.warning(
                "overdue parts",
                extra={f"parts.{name}": count for name, count in recovered._asdict().items()},
            )
