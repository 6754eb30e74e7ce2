"""Reports what this worker runs, for the operator."""

from __future__ import annotations

import json
import logging
import os
import socket
from collections.abc import Callable

from redis import Redis
from redis.exceptions import RedisError

from shared import clock
from shared.jobs import Lane
from shared.operation import worker_reports
from shared.operation.worker_reports import WorkerReport
from workers.batching.micro_batch import Batcher

logger = logging.getLogger(__name__)


class SelfReport:
    def __init__(
        self, redis: Redis, batcher: Batcher, lane: Lane, name: str, model: Callable[[], str]
    ) -> None:
        """`model` returns the worker's model as JSON; empty until it is loaded."""
        self._redis = redis
        self._batcher = batcher
        self._lane = lane
        self._name = name
        self._model = model
        self._started_at = clock.reading()

    def tick(self) -> None:
        """Store the report. The event loop calls it, so it is short and only logs an outage."""
        announced = self._model()
        model = json.loads(announced) if announced else {}
        report = WorkerReport(
            name=self._name,
            lane=self._lane,
            host=socket.gethostname(),
            process=os.getpid(),
            started_at=self._started_at,
            engine=model.get("engine"),
            model=model.get("name"),
            model_version=model.get("version"),
            pool_processes=self._batcher.processes,
            parts=self._batcher.parts,
        )
        try:
            worker_reports.store(self._redis, report)
        except RedisError as error:
            logger.warning("cannot report what this worker runs: %s", error)

    def leave(self) -> None:
        """Remove the report, because this worker ends."""
        try:
            worker_reports.remove(self._redis, self._lane, self._name)
        except RedisError as error:
            logger.warning("cannot remove the report of this worker: %s", error)
