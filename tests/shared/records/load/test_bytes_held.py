"""The count of the bytes that Redis holds for images."""

from __future__ import annotations

import pytest
from redis import Redis

from shared import keys
from shared.jobs import Lane, PartRef
from shared.records.accounts import account
from shared.records.load import backlog
from shared.records.job_records import JobRecords
from tests.conftest import Clock
from tests.shared.records.parts import SUCCESS, commit as commit_part, wear_out
from tests.support.stored_jobs import SIZE, commit, new_job


@pytest.mark.parametrize("images", [1, 33, 64])
def test_it_counts_exactly_the_parts_that_are_not_committed(
    redis: Redis, jobs: JobRecords, images: int
) -> None:
    first, second = new_job(images), new_job(2)
    jobs.submitter.accept([first])
    jobs.submitter.accept([second])
    assert backlog.read(redis).bytes_held == (images + 2) * SIZE
    for _ in range(2):  # a second delivery changes nothing
        commit(redis, jobs, first)
    assert backlog.read(redis).bytes_held == 2 * SIZE
    commit(redis, jobs, second)
    assert redis.hgetall(keys.HELD) == {b"total": b"0"}


def test_each_committed_image_gives_its_bytes_back(redis: Redis, jobs: JobRecords) -> None:
    """A part of slow pictures takes minutes, and others need the memory."""
    job = new_job(3, client="address 192.0.2.1")
    jobs.submitter.accept([job])
    ref = PartRef(job.id, 0, 3)
    for k in range(2):
        commit_part(redis, jobs, ref, {k: SUCCESS})
        left = 2 - k
        assert backlog.read(redis).bytes_held == left * SIZE
        assert account.read(redis, "address 192.0.2.1").size == left * SIZE
        assert redis.hlen(keys.images(job.id, 0)) == left
    commit_part(redis, jobs, ref, {0: SUCCESS})
    assert backlog.read(redis).bytes_held == SIZE, "a second delivery changes nothing"
    commit_part(redis, jobs, ref)
    assert redis.hgetall(keys.HELD) == {b"total": b"0"}
    assert not redis.exists(keys.images(job.id, 0))


def test_a_part_whose_records_have_expired_does_not_count(redis: Redis, jobs: JobRecords) -> None:
    job = new_job()
    jobs.submitter.accept([job])
    redis.delete(keys.job(job.id), keys.part(job.id, 0))
    jobs.parts.start([PartRef(job.id, 0, 1)], Lane.BULK)
    assert redis.hgetall(keys.HELD) == {b"total": b"0"}


def test_it_is_exact_through_a_split_a_dead_letter_and_a_retry(
    redis: Redis, jobs: JobRecords
) -> None:
    job = new_job(2)
    jobs.submitter.accept([job])
    whole = PartRef(job.id, 0, 2)
    singles = [PartRef(job.id, 0, 1, k) for k in range(2)]
    for ref in (whole, *singles):
        wear_out(jobs, ref)
    assert jobs.reader.get(job.id).failed == 2
    assert redis.hgetall(keys.HELD) == {b"total": b"0"}

    assert jobs.dead_letters.retry(jobs.dead_letters.all()[0])
    assert backlog.read(redis).bytes_held == SIZE
    retried = next(ref for ref in singles if redis.zscore(keys.outstanding(Lane.BULK), ref.member))
    commit_part(redis, jobs, retried)
    assert redis.hgetall(keys.HELD) == {b"total": b"0"}


def test_recent_commits_are_counted(redis: Redis, jobs: JobRecords, clock: Clock) -> None:
    job = new_job(40)
    jobs.submitter.accept([job])
    commit(redis, jobs, job)
    assert backlog.read(redis).drained[Lane.BULK] == 40
    assert 0 < redis.ttl(redis.keys("drained:*")[0]) <= 30
