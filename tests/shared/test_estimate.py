"""What a job is told of its wait, against real drains."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any

from redis import Redis

from shared import keys
from shared.records.job_records import JobRecords
from shared.jobs import PART_SIZE, ItemState, Lane, NewItem, NewJob, Outcome, PartRef, new_job_id
from shared.records.load import estimate
from shared.records.load.estimate import Estimate
from tests.conftest import Clock

DEADLINE = 60.0
SUCCESS = Outcome(state=ItemState.SUCCEEDED, model_version="m-1")


def accept(jobs: JobRecords, parts: int, known: int = 0) -> list[PartRef]:
    """A job of so many parts; of the first items the outcome is known."""
    job_id = new_job_id()
    items = [
        NewItem(name="", digest=f"{k:064x}", data=b"x", outcome=SUCCESS if k < known else None)
        for k in range(parts * PART_SIZE)
    ]
    jobs.submitter.accept([NewJob(id=job_id, lane=Lane.BULK, top_k=1, items=items)])
    return [PartRef(job_id, number, PART_SIZE) for number in range(parts)]


def work(jobs: JobRecords, redis: Redis, ref: PartRef) -> None:
    jobs.parts.start([ref], Lane.BULK)
    pipe = redis.pipeline(transaction=False)
    jobs.parts.commit(pipe, ref, Lane.BULK, {k: SUCCESS for k in range(PART_SIZE)})
    pipe.execute()


def work_next(jobs: JobRecords, redis: Redis) -> None:
    """What a worker would take."""
    text: Any = redis.rpop(Lane.BULK)
    [part] = json.loads(base64.b64decode(json.loads(text)["body"]))[0][0]
    work(jobs, redis, PartRef(*part))


def estimated(jobs: JobRecords, redis: Redis, refs: Sequence[PartRef]) -> Estimate:
    return estimate.of_job(redis, jobs.reader.get(refs[0].job_id), deadline_seconds=DEADLINE)


def test_the_position_counts_what_is_ahead_and_nothing_behind(
    jobs: JobRecords, redis: Redis
) -> None:
    first, second, third = (accept(jobs, parts) for parts in (3, 2, 5))
    positions = [estimated(jobs, redis, job).position for job in (first, second, third)]
    assert positions == [0, 3 * PART_SIZE, 5 * PART_SIZE]
    assert estimated(jobs, redis, third).seconds is None  # nothing drains

    for _ in range(3):
        work_next(jobs, redis)
    assert estimated(jobs, redis, first) == Estimate(position=None, seconds=None)
    assert estimated(jobs, redis, second).position == 0
    # The second part of the second job has the same turn as the first of the third.
    assert estimated(jobs, redis, third).position in (PART_SIZE, 2 * PART_SIZE)
    work_next(jobs, redis)
    assert estimated(jobs, redis, second).position == 0


def test_a_small_job_is_told_that_it_does_not_wait_for_a_large_one(
    jobs: JobRecords, redis: Redis
) -> None:
    accept(jobs, 100)
    for _ in range(5):
        work_next(jobs, redis)
    small = estimated(jobs, redis, accept(jobs, 1))
    assert small.position == 5 * PART_SIZE  # four in the queue, and one of the same turn
    assert small.seconds and small.seconds < 10


def test_a_cancelled_job_waits_for_nothing(jobs: JobRecords, redis: Redis) -> None:
    job = accept(jobs, 2)
    jobs.canceller.cancel(job[0].job_id)
    assert estimated(jobs, redis, job) == Estimate()


def test_one_round_trip_while_a_job_goes_on_and_none_after(jobs: JobRecords, redis: Redis) -> None:
    refs = accept(jobs, 1)
    job = jobs.reader.get(refs[0].job_id)
    for state, expected in (("queued", 1), ("completed", 0)):
        before = _packets(redis)
        assert job.state == state
        estimate.of_job(redis, job, deadline_seconds=DEADLINE)
        assert _packets(redis) - before == expected + 1  # and the question itself
        work(jobs, redis, refs[0])
        job = jobs.reader.get(job.id)


def _packets(redis: Redis) -> int:
    return int(redis.info("stats")["total_reads_processed"])


def test_on_a_steady_load_the_estimate_is_right_within_a_factor_of_two(
    jobs: JobRecords, redis: Redis, clock: Clock
) -> None:
    """640 images a second, and two jobs that take turns until the smaller one is done."""
    both = [accept(jobs, 60), accept(jobs, 30)]
    estimates: list[list[tuple[float, float]]] = [[], []]
    ended: dict[int, float] = {}
    started = clock.now
    for _ in range(90):
        work_next(jobs, redis)
        for k, job in enumerate(both):
            seconds = estimated(jobs, redis, job).seconds
            if seconds is not None:
                estimates[k].append((clock.now, seconds))
            else:
                ended.setdefault(k, clock.now)
        clock.now += 0.05
    assert ended[1] < ended[0]
    for k, of_job in enumerate(estimates):
        # After the first seconds, and while there is something to estimate.
        late = [(ended[k] - at, s) for at, s in of_job if at - started > 1.5]
        late = [(left, s) for left, s in late if left > 0.4]
        assert len(late) > 10
        assert all(left / 2 < s < left * 2 for left, s in late), late


def test_a_lane_that_had_little_to_do_is_not_a_slow_one(
    jobs: JobRecords, redis: Redis, clock: Clock
) -> None:
    """One image eight seconds ago says nothing about how fast the next thousand will be."""
    redis.set(keys.drained(Lane.BULK, int(clock.now) - 8), 1)
    refs = accept(jobs, 20)
    assert estimated(jobs, redis, refs).seconds is None
    for ref in refs[:10]:
        work(jobs, redis, ref)
        clock.now += 0.1
    assert 1 / 2 < (estimated(jobs, redis, refs).seconds or 0) < 2
