"""Lets a worker take parts only while the operator wants it to."""

from __future__ import annotations

import logging

from redis import Redis
from redis.exceptions import RedisError

from shared.jobs import Lane
from shared.operation import lane_states
from shared.operation.lane_states import LaneOrder
from workers.batching.micro_batch import Batcher
from workers.broker import transport

logger = logging.getLogger(__name__)

#: Between two reads of the operator's decision. One read takes one round trip.
SECONDS = 1.0


class LaneWatch:
    def __init__(self, redis: Redis, batcher: Batcher, lane: Lane) -> None:
        self._redis = redis
        self._batcher = batcher
        self._lane = lane

    def tick(self) -> None:
        """Obey the operator's decision. Runs in the worker's event loop.

        In an outage the last decision stays. The sign of life, which is due then too, logs it.
        """
        try:
            order = lane_states.read(self._redis, self._lane)
            if order.works is self._batcher.paused:
                self._obey(order)
        except RedisError:
            return

    def _obey(self, order: LaneOrder) -> None:
        transport.pause(not order.works)
        if order.works:
            logger.info("the lane %s is %s: this worker takes parts", self._lane, order.state)
            self._batcher.resume()
        else:
            logger.warning("the lane %s is %s: this worker takes no parts", self._lane, order.state)
            self._batcher.pause()
