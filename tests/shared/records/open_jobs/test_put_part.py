"""Filling a job in parts."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
from redis import Redis

from shared import keys
from shared.errors import JobClosed, JobNotFound, PartConflict, Unavailable
from shared.jobs import ItemState, JobState, NewItem, NewJob, new_job_id
from shared.records import submit
from shared.records.job_records import JobRecords
from shared.records.load import backlog
from shared.records.submit import PutPart
from tests.conftest import Clock
from tests.shared.records.open_jobs.new_jobs import open_job, part, put, ref
from tests.shared.records.parts import (
    CACHED,
    EMPTY,
    LANE,
    REFUSED,
    commit,
    nothing_is_held,
    queued,
)

Notices = Callable[[], list[str]]


def test_a_job_is_filled_in_any_order_while_workers_are_busy_with_it(
    jobs: JobRecords, redis: Redis
) -> None:
    job = open_job(jobs, 70)
    assert (job.state, job.total, job.received) == (JobState.RECEIVING, 70, 0)
    assert jobs.reader.missing_parts(job.id) == [0, 1, 2]

    assert put(jobs, job, 2)[:2] == (True, 2)
    assert jobs.reader.missing_parts(job.id) == [0, 1]
    assert queued(redis) == [[ref(job, 2)]]
    [work] = jobs.parts.start([ref(job, 2)], LANE)
    assert work.images == {k: b"data %d" % (64 + k) for k in range(6)}
    assert commit(redis, jobs, ref(job, 2)) == 6
    now = jobs.reader.get(job.id)
    assert (now.state, now.received, now.succeeded) == (JobState.RECEIVING, 6, 6)
    assert now.started_at

    assert put(jobs, job, 0)[:2] == (True, 1)
    assert put(jobs, job, 1)[:2] == (True, 0)
    assert jobs.reader.get(job.id).state is JobState.RUNNING
    for number in (0, 1):
        jobs.parts.start([ref(job, number)], LANE)
        commit(redis, jobs, ref(job, number))
    done = jobs.reader.get(job.id)
    assert (done.state, done.succeeded, done.queued) == (JobState.COMPLETED, 70, 0)
    names = [item.name for item in jobs.reader.items(job.id, 0, 70)]
    assert names == [f"{k}.jpg" for k in range(70)]
    assert nothing_is_held(redis)
    assert {redis.ttl(key) for key in redis.keys(f"*{job.id}*")} <= {3599, 3600}


def test_a_complete_job_that_no_worker_has_started_is_queued(jobs: JobRecords) -> None:
    job = open_job(jobs, 33)
    put(jobs, job, 0)
    put(jobs, job, 1)
    assert jobs.reader.get(job.id).state is JobState.QUEUED


def test_the_same_part_again_changes_nothing(jobs: JobRecords, redis: Redis) -> None:
    job = open_job(jobs, 40)
    first = put(jobs, job, 0)
    before = {key: redis.type(key) for key in redis.keys()}
    assert put(jobs, job, 0) == PutPart(False, 1, None)
    assert {key: redis.type(key) for key in redis.keys()} == before
    assert first.accepted and backlog.of_lane(redis, LANE)[:2] == (1, 32)
    assert queued(redis) == [[ref(job, 0)]]
    assert jobs.reader.get(job.id).received == 32


def test_other_pictures_as_the_same_part_are_a_conflict(jobs: JobRecords, redis: Redis) -> None:
    job = open_job(jobs, 3)
    put(jobs, job, 0)
    with pytest.raises(PartConflict):
        jobs.submitter.put_part(job, 0, part(job, 0, content="other"))
    [work] = jobs.parts.start([ref(job, 0)], LANE)
    assert work.images[0] == b"data 0"
    assert not redis.keys("staged*")


def test_pictures_of_a_part_that_is_here_are_not_stored_again(
    jobs: JobRecords, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without an end they would fill the append-only file."""
    job = open_job(jobs, 40)
    put(jobs, job, 0)

    def never(*_: object) -> None:
        raise AssertionError("it was stored")

    monkeypatch.setattr(submit, "StagedPart", never)
    assert put(jobs, job, 0)[:2] == (False, 1)
    with pytest.raises(PartConflict):
        jobs.submitter.put_part(job, 0, part(job, 0, content="other"))


def test_a_part_can_be_sent_again_after_the_job_has_ended(jobs: JobRecords, redis: Redis) -> None:
    job = open_job(jobs, 3)
    put(jobs, job, 0)
    commit(redis, jobs, ref(job, 0))
    assert put(jobs, job, 0) == PutPart(False, 0, None)


def test_clients_that_send_the_same_part_at_once_store_it_once(
    jobs: JobRecords, redis: Redis
) -> None:
    job = open_job(jobs, 64)
    answers: list[PutPart] = []
    threads = [
        threading.Thread(target=lambda n=n: answers.append(put(jobs, job, n % 2))) for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 8 and sum(each.is_new for each in answers) == 2
    assert backlog.of_lane(redis, LANE)[:2] == (2, 64) and jobs.reader.get(job.id).received == 64
    assert len(queued(redis)) == 2


def test_items_with_an_outcome_are_not_queued(
    jobs: JobRecords, redis: Redis, notices: Notices
) -> None:
    job = open_job(jobs, 33)
    put(jobs, job, 0, {**dict.fromkeys(range(30), CACHED), 31: REFUSED})
    assert notices() == [f"{job.id} running"]
    assert queued(redis) == [[ref(job, 0, images=1)]]
    now = jobs.reader.get(job.id)
    assert (now.succeeded, now.failed, now.cached, now.queued) == (30, 1, 30, 2)
    assert now.model_version == "m-1"
    assert jobs.reader.finished(job.id, 0, 99) == [*range(30), 31]
    [work] = jobs.parts.start([ref(job, 0, images=1)], LANE)
    assert work.images == {30: b"data 30"}


def test_a_job_whose_last_part_has_outcomes_is_complete_at_once(
    jobs: JobRecords, redis: Redis, notices: Notices
) -> None:
    job = open_job(jobs, 33)
    put(jobs, job, 0, dict.fromkeys(range(32), CACHED))
    put(jobs, job, 1, {0: REFUSED})
    assert notices() == [f"{job.id} running", f"{job.id} completed"]
    done = jobs.reader.get(job.id)
    assert (done.state, done.succeeded, done.failed) == (JobState.COMPLETED, 32, 1)
    assert done.started_at and done.finished_at
    assert not redis.llen(LANE) and nothing_is_held(redis)


def test_items_of_missing_parts_are_queued_without_a_name(jobs: JobRecords) -> None:
    job = open_job(jobs, 40)
    put(jobs, job, 1)
    items = jobs.reader.items(job.id, 30, 40)
    assert [item.name for item in items] == ["", "", *(f"{k}.jpg" for k in range(32, 40))]
    assert {item.state for item in items} == {ItemState.QUEUED}
    assert [item.name for item in jobs.reader.items_at(job.id, [33, 2])] == ["33.jpg", ""]


def test_only_an_open_job_takes_parts(jobs: JobRecords, redis: Redis) -> None:
    job_id = new_job_id()
    items = [NewItem(name="a", digest="d", data=b"data")]
    jobs.submitter.accept([NewJob(id=job_id, lane=LANE, top_k=5, items=items)])
    job = jobs.reader.get(job_id)
    assert not job.opened and jobs.reader.missing_parts(job_id) == []
    with pytest.raises(JobClosed):
        put(jobs, job, 0)

    expired = open_job(jobs, 1)
    redis.delete(keys.job(expired.id))
    with pytest.raises(JobNotFound):
        put(jobs, expired, 0)
    with pytest.raises(JobNotFound):
        jobs.reader.missing_parts(expired.id)
    assert not redis.keys("staged*")


def test_a_large_part_is_sent_in_pieces_and_accepted_as_a_whole(
    jobs: JobRecords, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.records.open_jobs.staging.BYTES_AT_ONCE", 20)
    job = open_job(jobs, 32)

    def items() -> Iterator[NewItem]:
        for k, item in enumerate(part(job, 0)):
            if k == 20:
                [staged] = redis.keys("staged_images:*")
                assert redis.hlen(staged) >= 15 and 0 < redis.ttl(staged) <= 120
                assert backlog.of_lane(redis, LANE) == EMPTY
            yield item

    assert jobs.submitter.put_part(job, 0, items()).is_new
    [work] = jobs.parts.start([ref(job, 0)], LANE)
    assert work.images == {k: b"data %d" % k for k in range(32)}
    assert redis.hget(keys.HELD, "total") == b"%d" % sum(len(b"data %d" % k) for k in range(32))


def test_a_part_whose_first_images_have_expired_is_not_accepted(
    jobs: JobRecords, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.records.open_jobs.staging.BYTES_AT_ONCE", 20)
    job = open_job(jobs, 32)

    def items() -> Iterator[NewItem]:
        for k, item in enumerate(part(job, 0)):
            if k == 20:
                redis.delete(*redis.keys("staged_images:*"))
            yield item

    with pytest.raises(Unavailable):
        jobs.submitter.put_part(job, 0, items())
    assert jobs.reader.missing_parts(job.id) == [0] and nothing_is_held(redis)
    assert put(jobs, job, 0).is_new


def test_each_new_part_extends_the_life_of_the_records(
    jobs: JobRecords, redis: Redis, clock: Clock
) -> None:
    job = open_job(jobs, 96)
    put(jobs, job, 0, {0: CACHED})
    for key in redis.keys(f"*{job.id}*"):
        redis.expire(key, 100)
    put(jobs, job, 1)
    kept = {key: redis.ttl(key) for key in redis.keys(f"*{job.id}*") if b"images" not in key}
    assert len(kept) == 5 and set(kept.values()) <= {7199, 7200}
    assert jobs.reader.get(job.id).expires_at == clock.now + 3600

    # The job's record lives long enough now, so the next part does not go through all parts.
    redis.expire(keys.part(job.id, 0), 100)
    put(jobs, job, 2)
    assert redis.ttl(keys.part(job.id, 0)) == 100
