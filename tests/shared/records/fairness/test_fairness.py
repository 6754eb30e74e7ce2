"""Fair scheduling: the jobs of the bulk lane share it in rounds."""

from __future__ import annotations

import pytest
from redis import Redis

from shared import keys
from shared.errors import JobNotFound
from shared.jobs import PART_SIZE, Job, Lane, NewItem, NewJob, OpenJob, PartRef, new_job_id
from shared.records.job_records import JobRecords
from shared.records.load import backlog
from shared.records.overdue.recovery import Recovered
from tests.conftest import Clock
from tests.shared.records.parts import EMPTY, LANE, SUCCESS, commit, queued, take_message

READY = 2  #: Messages that rounds.lua keeps in the queue.
NOTHING = Recovered(0, 0, 0)


def accept(jobs: JobRecords, parts: int, *, name: str = "", lane: Lane = LANE) -> str:
    """Submit a job of full parts; gives its id, which begins with `name`."""
    items = [NewItem(name="", digest="d", data=b"data")] * (PART_SIZE * parts)
    job_id = name + new_job_id()
    jobs.submitter.accept([NewJob(id=job_id, lane=lane, top_k=5, items=items)])
    return job_id


def take(redis: Redis) -> PartRef | None:
    """Take the next message, which names one part; None if the queue is empty."""
    return next(iter(take_message(redis)), None)


def work(redis: Redis, jobs: JobRecords, parts: int) -> str:
    """Take, start and commit so many parts; gives the first letter of each part's job."""
    letters = ""
    for _ in range(parts):
        if (ref := take(redis)) is None:
            break
        assert jobs.parts.start([ref], LANE)
        commit(redis, jobs, ref)
        letters += ref.job_id[0]
    return letters


def test_the_queue_has_few_parts_at_a_time_and_all_in_the_end(
    jobs: JobRecords, redis: Redis
) -> None:
    job_id = accept(jobs, 50)
    assert redis.llen(LANE) == READY
    assert backlog.of_lane(redis, LANE)[:2] == (50, 1600)
    seen = []
    while ref := take(redis):
        assert jobs.parts.start([ref], LANE)
        assert redis.llen(LANE) == min(READY, 49 - len(seen))
        seen.append(ref.number)
    assert sorted(seen) == list(range(50))
    assert not redis.zcard(keys.waiting(LANE))
    assert not any(b"message" in redis.hkeys(keys.part(job_id, n)) for n in range(50))


def test_a_small_job_does_not_wait_for_a_large_one(jobs: JobRecords, redis: Redis) -> None:
    accept(jobs, 300, name="L")
    work(redis, jobs, 20)
    accept(jobs, 1, name="S")
    assert "S" in work(redis, jobs, READY + 2)


def test_two_large_jobs_share_the_lane(jobs: JobRecords, redis: Redis) -> None:
    accept(jobs, 100, name="A")
    work(redis, jobs, 30)
    accept(jobs, 100, name="B")
    work(redis, jobs, READY)
    order = work(redis, jobs, 40)
    for k in range(40):  # neither is ever far ahead
        assert abs(order[:k].count("A") - order[:k].count("B")) <= 2, order


def test_a_stream_of_new_jobs_does_not_stop_an_older_job(jobs: JobRecords, redis: Redis) -> None:
    accept(jobs, 100, name="A")
    work(redis, jobs, 5)
    order = ""
    for _ in range(40):  # as many parts come as the workers can do
        accept(jobs, 1, name="N")
        accept(jobs, 1, name="N")
        order += work(redis, jobs, 2)
    assert order.count("A") >= 10, order
    assert "A" in order[-15:]


def test_jobs_that_are_filled_in_parts_share_the_lane(jobs: JobRecords, redis: Redis) -> None:
    def opened(name: str) -> Job:
        job_id = name + new_job_id()
        jobs.submitter.open(OpenJob(id=job_id, lane=LANE, top_k=5, total=PART_SIZE * 40))
        return jobs.reader.get(job_id)

    first, second = opened("A"), opened("B")
    items = [NewItem(name="", digest="d", data=b"data")] * PART_SIZE
    for number in range(30):
        jobs.submitter.put_part(first, number, items)
    for number in reversed(range(20, 40)):  # the last parts come first
        jobs.submitter.put_part(second, number, items)
    work(redis, jobs, READY)
    order = work(redis, jobs, 30)
    assert abs(order.count("A") - order.count("B")) <= 2


def test_a_worker_that_takes_many_parts_at_once_finds_more(jobs: JobRecords, redis: Redis) -> None:
    accept(jobs, 100)
    for expected in (2, 4, 8, 16, 32):
        refs = [ref for ref in (take(redis) for _ in range(expected // 2)) if ref]
        jobs.parts.start(refs, LANE)
        assert redis.llen(LANE) == expected


def test_a_part_that_waits_for_its_round_is_never_overdue(
    jobs: JobRecords, redis: Redis, clock: Clock
) -> None:
    accept(jobs, 10)
    late = clock.now + keys.WAITING_SECONDS / 2
    assert redis.zcount(keys.outstanding(LANE), late, "+inf") == 10 - READY
    assert jobs.recovery.recover(LANE) == NOTHING
    assert redis.llen(LANE) == READY


def test_the_age_of_a_lane_is_that_of_its_oldest_part(
    jobs: JobRecords, redis: Redis, clock: Clock
) -> None:
    accept(jobs, 10)
    deadline = pytest.approx(clock.now + 60, abs=0.01)
    assert backlog.of_lane(redis, LANE).oldest_deadline == deadline
    while ref := take(redis):
        redis.zadd(keys.outstanding(LANE), {ref.member: clock.now + 900})
    assert backlog.of_lane(redis, LANE).oldest_deadline == deadline


def test_a_lost_queue_is_filled_again(jobs: JobRecords, redis: Redis) -> None:
    job_id = accept(jobs, 10)
    lost = [take(redis) for _ in range(READY)]
    assert jobs.recovery.recover(LANE) == NOTHING
    assert redis.llen(LANE) == READY

    redis.zadd(keys.outstanding(LANE), {ref.member: 1.0 for ref in lost if ref})
    assert jobs.recovery.recover(LANE).requeued == READY
    work(redis, jobs, 10)
    assert jobs.reader.get(job_id).succeeded == 320
    assert backlog.of_lane(redis, LANE) == EMPTY


def test_a_cancelled_job_waits_for_no_round(jobs: JobRecords, redis: Redis) -> None:
    job_id, other = accept(jobs, 10), accept(jobs, 10)
    jobs.canceller.cancel(job_id)
    assert not [m for m in redis.zrange(keys.waiting(LANE), 0, -1) if job_id.encode() in m]
    assert backlog.of_lane(redis, LANE)[:2] == (10, 320)
    for _ in range(READY):
        ref = take(redis)
        assert ref and jobs.parts.start([ref], LANE) == [] or ref.job_id == other
    work(redis, jobs, 20)
    assert not redis.zcard(keys.waiting(LANE)) and not redis.llen(LANE)


def test_a_part_that_expires_while_it_waits_leaves_the_backlog(
    jobs: JobRecords, redis: Redis
) -> None:
    job_id = accept(jobs, 10)
    redis.delete(keys.job(job_id), *(keys.part(job_id, n) for n in range(10)))
    while ref := take(redis):
        assert jobs.parts.start([ref], LANE) == []
    assert backlog.of_lane(redis, LANE) == EMPTY
    assert redis.hgetall(keys.HELD) == {b"total": b"0"}
    assert not redis.exists(keys.waiting(LANE))


def test_a_part_that_outlives_its_job_makes_no_record_of_the_job(
    jobs: JobRecords, redis: Redis
) -> None:
    accept(jobs, READY)
    gone = accept(jobs, 2)
    redis.delete(keys.job(gone))
    redis.delete(keys.queue(LANE))
    jobs.parts.feed(LANE)
    assert not redis.exists(keys.job(gone))
    assert not [ref for [ref] in queued(redis) if ref.job_id == gone]
    with pytest.raises(JobNotFound):
        jobs.reader.get(gone)


def test_the_count_of_images_stays_right_when_half_a_part_expires(
    jobs: JobRecords, redis: Redis
) -> None:
    expiring, other = accept(jobs, 1), accept(jobs, 1)
    expired, _ = (take(redis) for _ in range(2))
    assert expired and expired.job_id == expiring
    jobs.parts.start([expired], LANE)
    commit(redis, jobs, expired, dict.fromkeys(range(20), SUCCESS))
    for key in (keys.job(expiring), keys.part(expiring, 0)):
        redis.delete(key)
    assert jobs.parts.start([expired], LANE) == []
    assert redis.get(keys.outstanding_images(LANE)) == b"32"
    assert backlog.of_lane(redis, LANE)[:2] == (1, 32)
    commit(redis, jobs, PartRef(other, 0, 32))
    assert redis.get(keys.outstanding_images(LANE)) == b"0"
    assert redis.hgetall(keys.HELD) == {b"total": b"0"}


def test_an_unfinished_record_of_an_earlier_release_is_no_job(
    jobs: JobRecords, redis: Redis
) -> None:
    redis.hset(keys.job("left"), "first_due", "1")
    with pytest.raises(JobNotFound):
        jobs.reader.get("left")
