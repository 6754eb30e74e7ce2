"""One worker recovers a lane's overdue parts in each interval."""

from __future__ import annotations

import time

from redis import Redis

from shared import keys
from shared.jobs import Lane
from shared.records.job_records import JobRecords
from tests.support.stored_jobs import new_job
from workers.upkeep.reconciler import Reconciler

LANE = Lane.BULK


def lose_a_message(redis: Redis, jobs: JobRecords) -> None:
    job = new_job(1, LANE)
    jobs.submitter.accept([job])
    redis.delete(keys.queue(LANE))
    [member] = redis.zrange(keys.outstanding(LANE), 0, -1)
    redis.zadd(keys.outstanding(LANE), {member: time.time() - 1})


def test_one_worker_recovers_the_lane_in_each_interval(redis: Redis, jobs: JobRecords) -> None:
    workers = [Reconciler(redis, jobs.recovery, LANE, seconds=60) for _ in range(2)]
    workers[0].tick()
    lose_a_message(redis, jobs)
    workers[1].tick()
    assert redis.llen(keys.queue(LANE)) == 0
    redis.delete(keys.reconciling(LANE))  # the interval is over
    workers[1].tick()
    assert redis.llen(keys.queue(LANE)) == 1


def test_a_clock_of_redis_that_was_set_back_stops_recovery_for_an_interval(
    redis: Redis, jobs: JobRecords
) -> None:
    """The lock that was set before would else last as long as the step of the clock."""
    seconds = 0.2
    worker = Reconciler(redis, jobs.recovery, LANE, seconds=seconds)
    worker.tick()
    redis.set(keys.reconciling(LANE), "worker", px=3_600_000)
    lose_a_message(redis, jobs)
    worker.tick()
    time.sleep(seconds)
    worker.tick()
    assert redis.llen(keys.queue(LANE)) == 1
