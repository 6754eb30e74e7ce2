"""Records that expire before a script gets to them. The state machine has found these faults."""

from __future__ import annotations

import pytest
from redis import Redis

from shared import keys
from shared.errors import JobNotFound, PartConflict
from shared.jobs import NewItem, NewJob, PartRef, new_job_id
from shared.records.job_records import JobRecords
from shared.serving import model_versions
from tests.conftest import Clock
from tests.shared.records.open_jobs.new_jobs import open_job, part, put
from tests.shared.records.parts import (
    LANE,
    SUCCESS,
    bury,
    commit,
    nothing_is_held,
    take_message,
    wear_out,
)


def accept(jobs: JobRecords, images: int) -> PartRef:
    job_id = new_job_id()
    items = [NewItem(name=f"{k}.jpg", digest=str(k), data=b"data %d" % k) for k in range(images)]
    jobs.submitter.accept([NewJob(id=job_id, lane=LANE, top_k=5, items=items)])
    return PartRef(job_id, 0, images)


def split(redis: Redis, jobs: JobRecords, images: int) -> tuple[PartRef, list[PartRef]]:
    """A part whose worker still lives, and its single images."""
    whole = accept(jobs, images)
    take_message(redis)
    wear_out(jobs, whole)
    return whole, [single for _ in range(images) for single in take_message(redis)]


def expire(redis: Redis, ref: PartRef) -> None:
    redis.delete(keys.job(ref.job_id), keys.part(ref.job_id, 0), keys.images(ref.job_id, 0))


@pytest.mark.parametrize("committed", [0, 1, 2, 3])
def test_single_images_that_expire_after_another_worker_has_committed_some(
    jobs: JobRecords, redis: Redis, committed: int
) -> None:
    whole, singles = split(redis, jobs, 3)
    if committed:
        commit(redis, jobs, whole, dict.fromkeys(range(committed), SUCCESS))
    expire(redis, whole)
    for single in singles:
        assert jobs.parts.start([single], LANE) == []
        assert int(redis.get(keys.outstanding_images(LANE)) or 0) >= 0
    assert nothing_is_held(redis)


def test_a_split_of_an_earlier_release_that_expires_leaves_the_backlog(
    jobs: JobRecords, redis: Redis
) -> None:
    whole, singles = split(redis, jobs, 3)
    redis.hdel(keys.HELD, f"{keys.part(whole.job_id, 0)}:left")
    expire(redis, whole)
    jobs.parts.start(singles, LANE)
    assert nothing_is_held(redis)


@pytest.mark.parametrize("started", [False, True])
def test_a_job_that_expires_while_a_process_cancels_it_leaves_the_backlog(
    jobs: JobRecords, redis: Redis, monkeypatch: pytest.MonkeyPatch, started: bool
) -> None:
    """The process was stopped between two commands for as long as results live."""
    ref = accept(jobs, 3)
    take_message(redis)
    if started:
        jobs.parts.start([ref], LANE)
        commit(redis, jobs, ref, {0: SUCCESS})
    missing_parts = jobs.reader.missing_parts

    def much_later(job_id: str) -> list[int]:
        missing = missing_parts(job_id)
        expire(redis, ref)
        return missing

    monkeypatch.setattr(jobs.reader, "missing_parts", much_later)
    jobs.canceller.cancel(ref.job_id)
    assert nothing_is_held(redis)
    with pytest.raises(JobNotFound):
        jobs.reader.get(ref.job_id)


def test_a_split_of_a_part_that_has_just_expired_is_cleaned_up(
    jobs: JobRecords, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = accept(jobs, 2)
    take_message(redis)
    record = redis.hgetall(keys.part(ref.job_id, 0))
    jobs.parts.start([ref], LANE)
    jobs.parts.start([ref], LANE)
    with monkeypatch.context() as reading:
        reading.setattr(redis, "hgetall", lambda key: record)
        expire_at = keys.part(ref.job_id, 0)
        reading.setattr(jobs.parts, "feed", lambda lane, versions: None)
        redis.zadd(keys.outstanding(LANE), {ref.member: 1})
        attempts = jobs.recovery._overdue(LANE, model_versions.read(redis, LANE))
        redis.delete(expire_at)
        assert jobs.recovery._split(LANE, attempts[0]) == 1
    while message := take_message(redis):
        assert jobs.parts.start(message, LANE) == []
    assert nothing_is_held(redis)


def test_a_retried_image_is_counted_once_while_its_part_has_others(
    jobs: JobRecords, redis: Redis
) -> None:
    image = bury(redis, jobs, accept(jobs, 2))
    assert redis.hget(keys.HELD, "total") == b"6"
    assert jobs.dead_letters.retry(jobs.dead_letters.all()[0])
    assert redis.hget(keys.HELD, "total") == b"12"
    assert redis.hget(keys.HELD, keys.part(image.job_id, 0)) == b"12"


def test_a_retried_image_replaces_bytes_that_have_expired(jobs: JobRecords, redis: Redis) -> None:
    image = bury(redis, jobs, accept(jobs, 2))
    redis.delete(keys.images(image.job_id, 0))
    assert jobs.dead_letters.retry(jobs.dead_letters.all()[0])
    assert redis.hget(keys.HELD, "total") == b"6"


def test_the_part_of_a_job_of_one_image_is_accepted_once_for_as_long_as_its_job_lives(
    jobs: JobRecords, redis: Redis, clock: Clock
) -> None:
    job = open_job(jobs, 1)
    for key in redis.keys(f"*{job.id}*"):
        redis.expire(key, 100)
    put(jobs, job, 0)
    assert redis.ttl(keys.parts(job.id)) >= redis.ttl(keys.job(job.id)) > 7000
    with pytest.raises(PartConflict):
        jobs.submitter.put_part(job, 0, part(job, 0, content="another picture"))
