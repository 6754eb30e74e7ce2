"""Which workers accept parts. Each worker gives a sign of life in Redis every few seconds.

With it the worker announces its model and its labels again, in case Redis came back empty.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable

from redis import Redis
from redis.client import Pipeline
from redis.exceptions import RedisError

from shared import clock, keys
from shared.jobs import Lane
from shared.model_info import LABELS_TTL_SECONDS

logger = logging.getLogger(__name__)

#: Seconds between two signs of life of a worker.
SECONDS = 5

#: A worker that was silent for longer is not counted. Some signs may be late or lost.
_SILENCE_SECONDS = 4 * SECONDS


class Presence:
    """The presence of one worker."""

    def __init__(
        self,
        redis: Redis,
        lane: Lane,
        worker: str,
        model: Callable[[], str] = lambda: "",
        labels: Callable[[], str] = lambda: "",
    ) -> None:
        """`model` and `labels` return the worker's model as JSON; empty until it is loaded."""
        self._model = model
        self._labels = labels
        self._redis = redis
        self._key = keys.workers(lane)
        self._worker = worker

    def tick(self) -> None:
        """Give a sign of life. The event loop calls it, so it is short and only logs an outage."""
        labels = ""
        try:
            now = clock.now(self._redis)
            pipe = self._redis.pipeline(transaction=False)
            pipe.zadd(self._key, {self._worker: now})
            # Workers of hosts that are gone: no other code removes them.
            pipe.zremrangebyscore(self._key, 0, now - _SILENCE_SECONDS)
            # A Redis that was emptied has no model any more, and no worker starts for that.
            if announcement := self._model():
                pipe.set(keys.MODEL, announcement, nx=True)
                labels = keys.labels(json.loads(announcement)["version"])
                pipe.expire(labels, LABELS_TTL_SECONDS)
            *_, are_there = pipe.execute()
            if labels and not are_there and (text := self._labels()):
                self._redis.set(labels, text, ex=LABELS_TTL_SECONDS)
        except RedisError as error:
            logger.warning("cannot give a sign of life: %s", error)

    def leave(self) -> None:
        """Remove this worker, because it accepts no more parts."""
        try:
            self._redis.zrem(self._key, self._worker)
        except RedisError as error:
            logger.warning("cannot remove this worker from the list: %s", error)


def names(pipe: Pipeline, lane: Lane, now: float) -> None:
    """Add to a pipeline: the workers of a lane that accept parts, with their last signs of life."""
    pipe.zrangebyscore(keys.workers(lane), now - _SILENCE_SECONDS, "+inf", withscores=True)


def count(pipe: Pipeline, lane: Lane, now: float) -> None:
    """Add to a pipeline: count the workers of a lane that accept parts. `now` is Unix seconds."""
    pipe.zcount(keys.workers(lane), now - _SILENCE_SECONDS, "+inf")
