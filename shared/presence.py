"""Workers that take parts, as everyone else knows them: each gives a sign of life now and then."""

from __future__ import annotations

import logging
import time

from redis import Redis
from redis.client import Pipeline
from redis.exceptions import RedisError

from shared import keys
from shared.jobs import Lane

logger = logging.getLogger(__name__)

#: Between two signs of life of a worker.
SECONDS = 5

#: A worker that was silent for longer is not counted: some signs may be late, or lost.
_SILENCE_SECONDS = 4 * SECONDS


class Presence:
    """One worker's."""

    def __init__(self, redis: Redis, lane: Lane, worker: str) -> None:
        self._redis = redis
        self._key = keys.workers(lane)
        self._worker = worker

    def tick(self) -> None:
        """In the worker's event loop: short, and silent about an outage that others tell of."""
        now = time.time()
        pipe = self._redis.pipeline(transaction=False)
        pipe.zadd(self._key, {self._worker: now})
        # Of hosts that are gone for good; nobody else would forget them.
        pipe.zremrangebyscore(self._key, 0, now - _SILENCE_SECONDS)
        try:
            pipe.execute()
        except RedisError as error:
            logger.warning("cannot give a sign of life: %s", error)

    def leave(self) -> None:
        """This worker takes no more parts."""
        try:
            self._redis.zrem(self._key, self._worker)
        except RedisError as error:
            logger.warning("cannot say that this worker leaves: %s", error)


def count(pipe: Pipeline, lane: Lane, now: float) -> None:
    """Add to a round trip: how many workers of a lane take parts, and no word to any of them."""
    pipe.zcount(keys.workers(lane), now - _SILENCE_SECONDS, "+inf")
