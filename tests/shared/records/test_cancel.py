"""Cancelling and abandoning jobs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from redis import Redis

from shared import keys
from shared.errors import JobClosed, JobNotFound
from shared.jobs import PART_SIZE, ItemState, Job, JobState, OpenJob, PartRef, new_job_id
from shared.records.claims import Claim
from shared.records.job_records import JobRecords
from shared.records.load import backlog
from shared.records.overdue.recovery import Recovered
from shared.records.work import MAX_ATTEMPTS
from tests.shared.records.open_jobs.new_jobs import open_job, put, ref
from tests.shared.records.parts import (
    CACHED,
    EMPTY,
    LANE,
    commit,
    nothing_is_held,
    take_message,
    wear_out,
)


def test_a_cancelled_job_keeps_its_results_and_holds_nothing(
    jobs: JobRecords, redis: Redis, notices: Callable[[], list[str]]
) -> None:
    job = open_job(jobs, 100)
    put(jobs, job, 0)
    put(jobs, job, 1, {0: CACHED})
    commit(redis, jobs, ref(job, 0))
    notices()

    assert jobs.canceller.cancel(job.id)
    assert notices() == [f"{job.id} cancelled"]
    ended = jobs.reader.get(job.id)
    assert (ended.state, ended.succeeded, ended.cancelled) == (JobState.CANCELLED, 33, 67)
    assert ended.queued == 0 and ended.finished_at
    assert nothing_is_held(redis)
    states = [item.state for item in jobs.reader.items(job.id, 0, 100)]
    assert states == [ItemState.SUCCEEDED] * 33 + [ItemState.CANCELLED] * 67
    assert {redis.ttl(key) for key in redis.keys(f"*{job.id}*")} <= {3599, 3600}

    assert not jobs.canceller.cancel(job.id)
    assert notices() == []
    with pytest.raises(JobClosed):
        put(jobs, job, 2)


@pytest.mark.parametrize("step", ["start", "commit", "put back"])
def test_web_learns_when_a_cancelled_part_has_left_the_queue(
    jobs: JobRecords, redis: Redis, notices: Callable[[], list[str]], step: str
) -> None:
    """Until then its client may have one message less. Others would wait behind all of them."""
    job = open_job(jobs, 20)
    put(jobs, job, 0)
    if step != "start":
        assert jobs.parts.start([ref(job, 0)], LANE)
    notices()
    jobs.canceller.cancel(job.id)
    assert notices() == [f"{job.id} cancelled"]
    if step == "start":
        assert not jobs.parts.start([ref(job, 0)], LANE)
    elif step == "commit":
        commit(redis, jobs, ref(job, 0))
    else:
        jobs.parts.put_back({ref(job, 0): ()}, LANE)
    assert notices() == [f"{job.id} running"]


def test_the_parts_that_came_of_a_large_cancelled_job_expire(
    jobs: JobRecords, redis: Redis
) -> None:
    job = open_job(jobs, 500_000)
    arrived = (0, 7, 8, 100, 15_624)
    for number in arrived:
        put(jobs, job, number)
    redis.config_resetstat()
    assert jobs.canceller.cancel(job.id)
    assert {redis.ttl(keys.part(job.id, n)) for n in arrived} <= {3599, 3600}
    calls: Any = redis.info("commandstats")
    assert calls["cmdstat_expire"]["calls"] < 20, "nothing is done for parts that never came"


def test_a_completed_job_cannot_be_cancelled(jobs: JobRecords, redis: Redis) -> None:
    job = open_job(jobs, 1)
    put(jobs, job, 0)
    commit(redis, jobs, ref(job, 0))
    assert not jobs.canceller.cancel(job.id)
    assert jobs.reader.get(job.id).state is JobState.COMPLETED
    with pytest.raises(JobNotFound):
        jobs.canceller.cancel(new_job_id())


def test_a_running_micro_batch_adds_nothing_to_a_cancelled_job(
    jobs: JobRecords, redis: Redis
) -> None:
    job = open_job(jobs, 3)
    put(jobs, job, 0)
    jobs.parts.start([ref(job, 0)], LANE)
    jobs.canceller.cancel(job.id)
    assert commit(redis, jobs, ref(job, 0)) == 0
    assert jobs.reader.get(job.id).cancelled == 3 and jobs.reader.get(job.id).succeeded == 0
    assert {item.outcome for item in jobs.reader.items(job.id, 0, 3)} == {None}
    assert nothing_is_held(redis)


@pytest.fixture
def half_cancelled(
    jobs: JobRecords, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> tuple[Job, list[PartRef]]:
    """A job whose canceller died after the first script."""
    job = open_job(jobs, 64)
    refs = [ref(job, n) for n in range(2)]
    for each in refs:
        put(jobs, job, each.number)

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(jobs.canceller, "_release", die)
        jobs.canceller.cancel(job.id)
    assert backlog.of_lane(redis, LANE)[:2] == (2, 64)
    return job, refs


def test_workers_release_the_parts_that_a_dead_canceller_left(
    jobs: JobRecords, redis: Redis, half_cancelled: tuple[Job, list[PartRef]]
) -> None:
    _, refs = half_cancelled
    assert jobs.parts.start(refs, LANE) == []
    assert nothing_is_held(redis)


def test_such_a_part_is_released_even_if_its_message_was_lost(
    jobs: JobRecords, redis: Redis, half_cancelled: tuple[Job, list[PartRef]]
) -> None:
    _, refs = half_cancelled
    redis.delete(LANE)
    redis.zadd(keys.outstanding(LANE), {each.member: 1.0 for each in refs})
    assert jobs.recovery.recover(LANE).requeued == 2
    while refs := take_message(redis):
        assert jobs.parts.start(refs, LANE) == []
    assert nothing_is_held(redis)


def test_a_second_cancel_releases_the_parts_that_a_dead_canceller_left(
    jobs: JobRecords, redis: Redis, half_cancelled: tuple[Job, list[PartRef]]
) -> None:
    assert not jobs.canceller.cancel(half_cancelled[0].id)
    assert nothing_is_held(redis)


def test_a_split_part_is_released_completely(jobs: JobRecords, redis: Redis) -> None:
    job = open_job(jobs, 3)
    put(jobs, job, 0)
    wear_out(jobs, ref(job, 0))
    commit(redis, jobs, PartRef(job.id, 0, 1, 1))
    assert backlog.of_lane(redis, LANE)[:2] == (2, 2)
    jobs.canceller.cancel(job.id)
    assert nothing_is_held(redis)
    assert commit(redis, jobs, PartRef(job.id, 0, 1, 0)) == 0
    assert redis.llen(LANE) == 4
    while refs := take_message(redis):
        assert jobs.parts.start(refs, LANE) == []
    assert nothing_is_held(redis)


def test_an_image_of_a_cancelled_job_is_neither_buried_nor_retried(
    jobs: JobRecords, redis: Redis
) -> None:
    job = open_job(jobs, 2)
    put(jobs, job, 0)
    wear_out(jobs, ref(job, 0))
    first, second = (PartRef(job.id, 0, 1, k) for k in range(2))
    assert wear_out(jobs, first) == Recovered(0, 0, 1)
    [letter] = jobs.dead_letters.all()
    for _ in range(MAX_ATTEMPTS + 1):
        jobs.parts.start([second], LANE)
    redis.hset(keys.job(job.id), "state", JobState.CANCELLED)  # and then the canceller dies
    assert jobs.recovery.recover(LANE).buried == 0
    assert jobs.dead_letters.all() == [letter]
    assert nothing_is_held(redis)
    assert not jobs.dead_letters.retry(letter)
    assert jobs.reader.get(job.id).state is JobState.CANCELLED


def test_an_incomplete_job_is_abandoned_with_its_claim(jobs: JobRecords, redis: Redis) -> None:
    claim = Claim("", "a key", "a request")
    job_id = new_job_id()
    jobs.submitter.open(OpenJob(id=job_id, lane=LANE, top_k=5, total=2 * PART_SIZE), claim)
    put(jobs, jobs.reader.get(job_id), 0)
    assert jobs.canceller.abandon(job_id, claim)
    assert jobs.reader.get(job_id).state is JobState.CANCELLED
    assert jobs.reader.claimed(claim) is None
    assert backlog.of_lane(redis, LANE) == EMPTY

    # Another request has used the key since. Its claim belongs to another job and must stay.
    again = new_job_id()
    jobs.submitter.open(OpenJob(id=again, lane=LANE, top_k=5, total=1), claim)
    jobs.canceller.abandon(job_id, claim)
    assert jobs.reader.claimed(claim) == again


def test_a_job_that_another_request_has_completed_is_not_abandoned(
    jobs: JobRecords, redis: Redis
) -> None:
    """Two requests with one key fill one job. The one that fails must not end an accepted job."""
    claim = Claim("", "a key", "a request")
    job_id = new_job_id()
    jobs.submitter.open(OpenJob(id=job_id, lane=LANE, top_k=5, total=PART_SIZE), claim)
    put(jobs, jobs.reader.get(job_id), 0)
    assert not jobs.canceller.abandon(job_id, claim)
    assert jobs.reader.get(job_id).state is JobState.QUEUED
    assert jobs.reader.claimed(claim) == job_id
    assert backlog.of_lane(redis, LANE).images == PART_SIZE


def test_a_second_cancel_releases_nothing_again(jobs: JobRecords, redis: Redis) -> None:
    empty = open_job(jobs, 500_000)
    job = open_job(jobs, 33)
    for number in (0, 1):
        put(jobs, job, number)
    for each, commands in ((empty, 0), (job, 1), (job, 0)):
        before = _scripts(redis)
        jobs.canceller.cancel(each.id)
        assert _scripts(redis) - before == 1 + commands  # the first one cancels
    assert nothing_is_held(redis)


def _scripts(redis: Redis) -> int:
    return int(redis.info("commandstats")["cmdstat_eval"]["calls"])
