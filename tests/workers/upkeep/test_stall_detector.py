"""A worker that consumes nothing ends. A worker that was stopped for a while goes on."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from redis import Redis

from shared import keys
from shared.jobs import Lane
from shared.redis_client import connect
from workers.batching.micro_batch import Batcher
from workers.upkeep.stall_detector import StallDetector

INTERVAL, LIMIT = 5.0, 30.0


class Worker:
    """A detector with its own clock, of a worker that is free and consumes nothing."""

    def __init__(self, redis: Redis, **options: Any) -> None:
        self.ends = 0
        self.batcher = SimpleNamespace(received=0, idle=True, paused=False)
        self.now = 0.0
        self._detector = StallDetector(
            redis,
            cast(Batcher, self.batcher),
            Lane.BULK,
            lambda: [Lane.BULK],
            clock=lambda: self.now,
            **{"seconds": LIMIT, "interval": INTERVAL} | options,
        )
        self._detector._end = self._end  # type: ignore[method-assign]

    def _end(self) -> None:
        self.ends += 1

    def checks(self, *, after: float = INTERVAL, times: int = 1) -> None:
        for _ in range(times):
            self.now += after
            self._detector.tick()


@pytest.fixture
def worker(redis: Redis) -> Worker:
    redis.lpush(keys.queue(Lane.BULK), "a message")
    return Worker(redis)


def test_a_worker_that_consumes_nothing_for_the_limit_ends(worker: Worker) -> None:
    worker.checks(times=5)
    assert not worker.ends
    worker.checks()
    assert worker.ends


@pytest.mark.parametrize("absence", [35.0, 15.0, 3600.0])
def test_a_worker_that_was_stopped_does_not_end_when_it_wakes(
    worker: Worker, absence: float
) -> None:
    worker.checks(times=2)
    worker.checks(after=absence)
    assert not worker.ends
    worker.batcher.received += 1
    worker.checks(after=absence)
    worker.checks(times=5)
    assert not worker.ends


def test_rare_checks_do_not_end_a_worker_at_the_first_one(redis: Redis) -> None:
    redis.lpush(keys.queue(Lane.BULK), "a message")
    rare = Worker(redis, interval=60.0)
    rare.checks(after=60)
    assert not rare.ends
    rare.checks(after=60)
    assert rare.ends


def test_a_worker_that_is_busy_or_has_an_empty_queue_does_not_end(
    worker: Worker, redis: Redis
) -> None:
    worker.batcher.idle = False
    worker.checks(times=20)
    worker.batcher.idle = True
    redis.delete(keys.queue(Lane.BULK))
    worker.checks(times=20)
    assert not worker.ends


def test_an_outage_of_redis_does_not_end_a_worker() -> None:
    worker = Worker(connect("redis://127.0.0.1:1/0", max_connections=1))
    worker.checks(times=20)
    assert not worker.ends


def test_a_paused_worker_does_not_end(worker: Worker) -> None:
    worker.batcher.paused = True
    worker.checks(times=20)
    assert not worker.ends
    worker.batcher.paused = False
    worker.checks(times=6)
    assert worker.ends
