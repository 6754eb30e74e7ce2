"""The estimate of a job's wait, compared with how the lane is really drained."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from redis import Redis

from shared import keys
from shared.clock import now
from shared.jobs import PART_SIZE, Lane, NewItem, NewJob, PartRef, new_job_id
from shared.records.job_records import JobRecords
from shared.records.load import estimate
from shared.records.load.estimate import Estimate
from tests.conftest import Clock
from tests.shared.records.parts import commit, take_message

DEADLINE = 60.0


def accept(jobs: JobRecords, parts: int, lane: Lane = Lane.BULK, client: str = "") -> list[PartRef]:
    """Submit a job of full parts."""
    job_id = new_job_id()
    items = [NewItem(name="", digest=f"{k:064x}", data=b"x") for k in range(parts * PART_SIZE)]
    jobs.submitter.accept([NewJob(id=job_id, lane=lane, top_k=1, items=items, client=client)])
    return [PartRef(job_id, number, PART_SIZE) for number in range(parts)]


def accept_single(jobs: JobRecords) -> list[PartRef]:
    """Submit a single picture, which is queued at once."""
    job = NewJob(
        id=new_job_id(),
        lane=Lane.INTERACTIVE,
        top_k=1,
        items=[NewItem(name="", digest="d", data=b"x")],
    )
    jobs.submitter.accept([job], at_once=True)
    return [PartRef(job.id, 0, 1)]


def work(jobs: JobRecords, redis: Redis, ref: PartRef) -> None:
    jobs.parts.start([ref], Lane.BULK)
    commit(redis, jobs, ref)


def work_next(jobs: JobRecords, redis: Redis) -> None:
    """Work on the part that a worker would take next."""
    [ref] = take_message(redis)
    work(jobs, redis, ref)


def estimated(jobs: JobRecords, redis: Redis, refs: Sequence[PartRef]) -> Estimate:
    return estimate.of_job(redis, jobs.reader.get(refs[0].job_id), deadline_seconds=DEADLINE)


def test_the_position_counts_what_is_ahead_and_nothing_behind(
    jobs: JobRecords, redis: Redis
) -> None:
    first, second, third = (accept(jobs, parts) for parts in (2, 2, 5))
    positions = [estimated(jobs, redis, job).position for job in (first, second, third)]
    # The third job begins one round after the second one.
    assert positions == [0, 2 * PART_SIZE, 3 * PART_SIZE]
    assert estimated(jobs, redis, third).seconds is None  # nothing drains

    for _ in range(2):
        work_next(jobs, redis)
    assert estimated(jobs, redis, first) == Estimate(position=None, seconds=None)
    assert estimated(jobs, redis, second).position == 0
    assert estimated(jobs, redis, third).position == PART_SIZE
    work_next(jobs, redis)
    assert estimated(jobs, redis, second).position == 0


def test_a_small_job_does_not_count_the_parts_of_a_large_one(
    jobs: JobRecords, redis: Redis
) -> None:
    accept(jobs, 100)
    for _ in range(5):
        work_next(jobs, redis)
    small = estimated(jobs, redis, accept(jobs, 1))
    assert small.position == 3 * PART_SIZE  # two in the queue, and one in the same round
    assert small.seconds and small.seconds < 10


def test_a_cancelled_job_has_no_estimate(jobs: JobRecords, redis: Redis) -> None:
    job = accept(jobs, 2)
    jobs.canceller.cancel(job[0].job_id)
    assert estimated(jobs, redis, job) == Estimate()


def test_an_estimate_takes_one_round_trip_and_none_after_the_end(
    jobs: JobRecords, redis: Redis
) -> None:
    refs = accept(jobs, 1)
    job = jobs.reader.get(refs[0].job_id)
    for state, expected in (("queued", 1), ("completed", 0)):
        before = _packets(redis)
        assert job.state == state
        estimate.of_job(redis, job, deadline_seconds=DEADLINE)
        assert _packets(redis) - before == expected + 1  # INFO is one more
        work(jobs, redis, refs[0])
        job = jobs.reader.get(job.id)


def _packets(redis: Redis) -> int:
    return int(redis.info("stats")["total_reads_processed"])


def test_on_a_steady_load_the_estimate_is_right_within_a_factor_of_two(
    jobs: JobRecords, redis: Redis, clock: Clock
) -> None:
    """640 images a second. Two jobs share the lane until the smaller one is done."""
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
        # Without the first seconds, and without the last moment.
        late = [(ended[k] - at, s) for at, s in of_job if at - started > 1.5]
        late = [(left, s) for left, s in late if left > 0.4]
        assert len(late) > 10
        assert all(left / 2 < s < left * 2 for left, s in late), late


def test_a_lane_that_had_little_to_do_is_not_a_slow_one(
    jobs: JobRecords, redis: Redis, clock: Clock
) -> None:
    """One image eight seconds ago does not say how fast the next thousand will be."""
    redis.set(keys.drained(Lane.BULK, int(clock.now) - 8), 1)
    refs = accept(jobs, 20)
    assert estimated(jobs, redis, refs).seconds is None
    for ref in refs[:10]:
        work(jobs, redis, ref)
        clock.now += 0.1
    assert 1 / 2 < (estimated(jobs, redis, refs).seconds or 0) < 2


def test_single_pictures_that_are_queued_at_once_wait_in_the_order_of_their_deadlines(
    jobs: JobRecords, redis: Redis, clock: Clock
) -> None:
    submitted = []
    for _ in range(3):
        [ref] = accept_single(jobs)
        submitted.append([ref])
        clock.now += 1
    first, second, third = submitted
    assert estimated(jobs, redis, first) == Estimate(position=0, seconds=None)
    assert estimated(jobs, redis, third) == Estimate(position=2, seconds=None)

    clock.now += 2.5
    redis.set(keys.drained(Lane.INTERACTIVE, int(clock.now) - 1), 3)
    seconds = estimated(jobs, redis, third).seconds
    # In 3.5 s since its submission the lane has done 3 images, and 3 are left.
    assert seconds == pytest.approx(3.5)

    jobs.parts.start([*first, *second], Lane.INTERACTIVE)
    assert estimated(jobs, redis, second).position == 0
    assert estimated(jobs, redis, third).position == 0


def test_the_jobs_of_a_client_are_ahead_of_another_only_as_far_as_they_share_a_round(
    jobs: JobRecords, redis: Redis
) -> None:
    for _ in range(20):
        accept(jobs, 10, client="crowd")
    small = accept(jobs, 1, client="other")
    position = estimated(jobs, redis, small).position
    assert position and position <= 8 * PART_SIZE  # what is queued, and a round or two
    redis.set(keys.drained(Lane.BULK, int(now(redis))), PART_SIZE)
    assert (estimated(jobs, redis, small).seconds or 0) <= 10
