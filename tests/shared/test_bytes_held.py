"""The count of the bytes that Redis holds for images."""

from __future__ import annotations

import pytest
from redis import Redis

from shared import keys
from shared.jobs import Lane, PartRef
from shared.records.load import backlog
from shared.records.job_records import JobRecords
from shared.records.work import MAX_ATTEMPTS
from tests.support.stored_jobs import DONE, SIZE, commit, new_job


@pytest.mark.parametrize("images", [1, 33, 64])
def test_it_counts_exactly_the_parts_that_are_not_committed(
    redis: Redis, jobs: JobRecords, images: int
) -> None:
    first, second = new_job(images), new_job(2)
    jobs.submitter.accept([first])
    jobs.submitter.accept([second])
    assert backlog.read(redis).bytes_held == (images + 2) * SIZE
    for _ in range(2):  # a second delivery takes nothing away
        commit(redis, jobs, first)
    assert backlog.read(redis).bytes_held == 2 * SIZE
    commit(redis, jobs, second)
    assert redis.hgetall(keys.HELD) == {b"total": b"0"}


def test_a_part_whose_records_expired_is_taken_away(redis: Redis, jobs: JobRecords) -> None:
    job = new_job()
    jobs.submitter.accept([job])
    redis.delete(keys.job(job.id), keys.part(job.id, 0))
    jobs.parts.start([PartRef(job.id, 0, 1)], Lane.BULK)
    assert redis.hgetall(keys.HELD) == {b"total": b"0"}


def test_it_is_exact_through_a_split_a_dead_letter_and_a_retry(
    redis: Redis, jobs: JobRecords
) -> None:
    recovery = jobs.recovery
    job = new_job(2)
    jobs.submitter.accept([job])
    whole = PartRef(job.id, 0, 2)
    singles = [PartRef(job.id, 0, 1, k) for k in range(2)]
    for ref in (whole, *singles):
        for _ in range(MAX_ATTEMPTS):
            assert jobs.parts.start([ref], Lane.BULK)
        assert jobs.parts.start([ref], Lane.BULK) == []
        recovery.recover(Lane.BULK)
    assert jobs.reader.get(job.id).failed == 2
    assert redis.hgetall(keys.HELD) == {b"total": b"0"}

    assert jobs.dead_letters.retry(jobs.dead_letters.all()[0])
    assert backlog.read(redis).bytes_held == SIZE
    pipe = redis.pipeline(transaction=False)
    retried = next(ref for ref in singles if redis.zscore(keys.outstanding(Lane.BULK), ref.member))
    jobs.parts.commit(pipe, retried, Lane.BULK, {retried.only or 0: DONE})
    pipe.execute()
    assert redis.hgetall(keys.HELD) == {b"total": b"0"}


def test_commits_are_counted_for_as_long_as_they_are_recent(redis: Redis, jobs: JobRecords) -> None:
    job = new_job(40)
    jobs.submitter.accept([job])
    commit(redis, jobs, job)
    assert 20 < backlog.read(redis).drained[Lane.BULK] <= 40  # a second may have passed
    assert 0 < redis.ttl(redis.keys("drained:*")[0]) <= 30
