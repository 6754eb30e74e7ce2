"""Which workers accept parts. Each worker gives a sign of life in Redis every few seconds.

With it the worker announces its model and its labels again, in case Redis came back empty. It also
makes its model the current one where no worker has the current one any more.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from redis import Redis
from redis.client import Pipeline
from redis.exceptions import RedisError

from shared import clock, keys
from shared.jobs import Lane
from shared.serving import model_info, model_versions
from shared.serving.model_info import TTL_SECONDS
from shared.serving.model_versions import SILENCE_SECONDS

logger = logging.getLogger(__name__)

#: Seconds between two signs of life of a worker.
SECONDS = 5


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
        self._lane = lane
        self._worker = worker
        self._announced = False  #: Whether a sign of life has named the model.

    def tick(self) -> None:
        """Give a sign of life. The event loop calls it, so it is short and only logs an outage."""
        announcement = self._model()
        try:
            now = clock.now(self._redis)
            pipe = self._redis.pipeline(transaction=False)
            workers = keys.workers(self._lane)
            pipe.zadd(workers, {self._worker: now})
            # Workers of hosts that are gone: no other code removes them.
            pipe.zremrangebyscore(workers, 0, now - SILENCE_SECONDS)
            if announcement:
                model_versions.give_sign(pipe, self._lane, self._worker, announcement, now)
            pipe.execute()
            if announcement:
                self._keep_model(model_info.version_of(announcement))
        except RedisError as error:
            logger.warning("cannot give a sign of life: %s", error)

    def _keep_model(self, version: str) -> None:
        labels = keys.labels(version)
        if not self._redis.expire(labels, TTL_SECONDS) and (text := self._labels()):
            self._redis.set(labels, text, ex=TTL_SECONDS)
        # A worker that starts where the others have stopped replaces their model at once.
        replaced = model_versions.take_over(self._redis, version, at_once=not self._announced)
        self._announced = True
        if replaced:
            logger.warning("no worker has the model %s: %s is current now", replaced, version)

    def leave(self) -> None:
        """Remove this worker, because it accepts no more parts."""
        try:
            self._redis.zrem(keys.workers(self._lane), self._worker)
            if announcement := self._model():
                model_versions.leave(self._redis, self._lane, self._worker, announcement)
        except RedisError as error:
            logger.warning("cannot remove this worker from the list: %s", error)


def names(pipe: Pipeline, lane: Lane, now: float) -> None:
    """Add to a pipeline: the workers of a lane that accept parts, with their last signs of life."""
    pipe.zrangebyscore(keys.workers(lane), now - SILENCE_SECONDS, "+inf", withscores=True)


def count(pipe: Pipeline, lane: Lane, now: float) -> None:
    """Add to a pipeline: count the workers of a lane that accept parts. `now` is Unix seconds."""
    pipe.zcount(keys.workers(lane), now - SILENCE_SECONDS, "+inf")
