"""Parts that showed no life in time, against a real Redis."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import pytest
from redis import Redis

from shared import keys
from shared.records.load import backlog
from shared.records.job_records import JobRecords
from shared.records.work import MAX_ATTEMPTS
from shared.jobs import ItemState, JobState, Lane, NewItem, NewJob, Outcome, PartRef, new_job_id
from shared.records.overdue.recovery import Recovered, Recovery
from tests.conftest import Clock

LANE = Lane.BULK
NOTHING = Recovered(0, 0, 0)
SUCCESS = Outcome(state=ItemState.SUCCEEDED, model_version="m-1")


@pytest.fixture
def recovery(redis: Redis, jobs: JobRecords) -> Recovery:
    return jobs.recovery


def accept(jobs: JobRecords, images: int) -> PartRef:
    job_id = new_job_id()
    items = [NewItem(name=f"{k}.jpg", digest=str(k), data=b"data %d" % k) for k in range(images)]
    jobs.submitter.accept([NewJob(id=job_id, lane=LANE, top_k=5, items=items)])
    return PartRef(job_id, 0, images)


def take_message(redis: Redis) -> list[PartRef]:
    """As a worker's BRPOP does."""
    text: Any = redis.rpop(LANE)
    body = json.loads(base64.b64decode(json.loads(text)["body"]))
    return [PartRef(*part) for part in body[0][0]]


def make_overdue(redis: Redis, ref: PartRef) -> None:
    redis.zadd(keys.outstanding(LANE), {ref.member: time.time() - 1}, xx=True)


def commit(jobs: JobRecords, redis: Redis, ref: PartRef, positions: list[int]) -> None:
    pipe = redis.pipeline(transaction=False)
    jobs.parts.commit(pipe, ref, LANE, dict.fromkeys(positions, SUCCESS))
    pipe.execute()


def start_often(jobs: JobRecords, ref: PartRef) -> None:
    """Start a part as often as it may be; every worker dies on it."""
    for _ in range(MAX_ATTEMPTS):
        assert jobs.parts.start([ref], LANE)


def test_a_lost_message_is_sent_again(jobs: JobRecords, redis: Redis, recovery: Recovery) -> None:
    ref = accept(jobs, 2)
    take_message(redis)
    assert recovery.recover(LANE) == NOTHING

    make_overdue(redis, ref)
    assert recovery.recover(LANE) == Recovered(1, 0, 0)
    assert take_message(redis) == [ref]
    assert recovery.recover(LANE) == NOTHING


def test_a_part_that_waits_its_turn_is_left_alone(
    jobs: JobRecords, redis: Redis, recovery: Recovery
) -> None:
    refs = [accept(jobs, 1) for _ in range(3)]
    for age, ref in zip((30, 20, 10), refs, strict=True):
        redis.zadd(keys.outstanding(LANE), {ref.member: time.time() - age})
    assert recovery.recover(LANE) == NOTHING
    assert redis.llen(LANE) == 3

    take_message(redis)  # the oldest is lost: those behind it still wait
    assert recovery.recover(LANE) == Recovered(1, 0, 0)
    assert redis.llen(LANE) == 3


def test_a_started_part_whose_worker_is_gone_is_sent_again(
    jobs: JobRecords, redis: Redis, recovery: Recovery
) -> None:
    ref = accept(jobs, 1)
    take_message(redis)
    jobs.parts.start([ref], LANE)
    make_overdue(redis, ref)
    waiting = accept(jobs, 1)
    redis.zadd(keys.outstanding(LANE), {waiting.member: 1.0})
    assert recovery.recover(LANE) == Recovered(1, 0, 0)


def test_a_part_that_keeps_killing_its_worker_is_split_and_its_neighbours_succeed(
    jobs: JobRecords, redis: Redis, recovery: Recovery
) -> None:
    ref = accept(jobs, 3)
    take_message(redis)
    start_often(jobs, ref)
    assert jobs.parts.start([ref], LANE) == []  # once more would be too often

    assert recovery.recover(LANE) == Recovered(0, 1, 0)
    singles = [message for _ in range(3) for message in take_message(redis)]
    assert [single.only for single in singles] == [0, 1, 2]
    assert backlog.of_lane(redis, LANE)[:2] == (3, 3)
    for single in singles[1:]:
        [work] = jobs.parts.start([single], LANE)
        assert list(work.digests) == [single.only]
        commit(jobs, redis, single, [single.only or 0])

    guilty = singles[0]
    start_often(jobs, guilty)
    assert jobs.parts.start([guilty], LANE) == []
    assert recovery.recover(LANE) == Recovered(0, 0, 1)

    job = jobs.reader.get(ref.job_id)
    assert (job.state, job.succeeded, job.failed) == (JobState.COMPLETED, 2, 1)
    assert backlog.of_lane(redis, LANE) == (0, 0, None)
    assert not redis.exists(keys.images(ref.job_id, 0))
    [first, *_] = jobs.reader.items(ref.job_id, 0, 3)
    assert first.outcome and first.outcome.error and first.outcome.error.code == "worker_lost"


def test_a_suspect_travels_alone(jobs: JobRecords, redis: Redis, recovery: Recovery) -> None:
    ref = accept(jobs, 2)
    take_message(redis)
    start_often(jobs, ref)
    jobs.parts.start([ref], LANE)
    recovery.recover(LANE)
    sizes = [json.loads(text)["headers"]["images"] for text in redis.lrange(LANE, 0, -1)]
    assert min(sizes) > 1024  # the largest that MAX_BATCH_SIZE may be


def test_a_slow_worker_may_still_commit_what_was_split(
    jobs: JobRecords, redis: Redis, recovery: Recovery
) -> None:
    ref = accept(jobs, 2)
    take_message(redis)
    start_often(jobs, ref)
    jobs.parts.start([ref], LANE)
    recovery.recover(LANE)
    commit(jobs, redis, ref, [0, 1])

    singles = [message for _ in range(2) for message in take_message(redis)]
    assert jobs.parts.start(singles, LANE) == []
    assert backlog.of_lane(redis, LANE) == (0, 0, None)
    assert jobs.reader.get(ref.job_id).succeeded == 2


def test_a_dead_letter_can_be_tried_again(
    jobs: JobRecords, redis: Redis, recovery: Recovery
) -> None:
    ref = accept(jobs, 1)
    guilty = _bury(jobs, redis, recovery, ref)
    [letter] = jobs.dead_letters.all()
    assert (letter.job_id, letter.index, letter.name) == (ref.job_id, 0, "0.jpg")

    assert jobs.dead_letters.retry(letter)
    assert jobs.dead_letters.all() == []
    job = jobs.reader.get(ref.job_id)
    assert (job.state, job.failed, job.queued) == (JobState.RUNNING, 0, 1)
    assert take_message(redis) == [guilty]
    [work] = jobs.parts.start([guilty], LANE)
    assert work.images == {0: b"data 0"}
    commit(jobs, redis, guilty, [0])
    job = jobs.reader.get(ref.job_id)
    assert (job.state, job.succeeded) == (JobState.COMPLETED, 1)
    assert backlog.of_lane(redis, LANE) == (0, 0, None)
    assert not jobs.dead_letters.retry(letter)


def test_a_dead_letter_of_an_expired_job_is_gone(
    jobs: JobRecords, redis: Redis, recovery: Recovery
) -> None:
    ref = accept(jobs, 1)
    _bury(jobs, redis, recovery, ref)
    [letter] = jobs.dead_letters.all()
    redis.delete(keys.job(ref.job_id))
    assert not jobs.dead_letters.retry(letter)
    assert jobs.dead_letters.all() == []


def test_dead_letters_are_forgotten_with_their_images(
    jobs: JobRecords, redis: Redis, recovery: Recovery, clock: Clock
) -> None:
    first = _bury(jobs, redis, recovery, accept(jobs, 1))
    assert len(jobs.dead_letters.all()) == 1
    assert 3590 < redis.ttl(keys.dead_image(first.member)) <= 3600
    clock.now += 3601
    later = accept(jobs, 1)
    _bury(jobs, redis, recovery, later)
    assert [letter.job_id for letter in jobs.dead_letters.all()] == [later.job_id]
    assert redis.hlen(keys.DEAD_LETTERS) == 1


def test_an_image_that_a_slow_worker_saved_is_not_buried(
    jobs: JobRecords, redis: Redis, recovery: Recovery
) -> None:
    ref = accept(jobs, 2)
    guilty = _about_to_be_buried(jobs, redis, recovery, ref)
    # Committed, but still in `outstanding`: the moment between the look and the act.
    commit(jobs, redis, guilty, [0])
    redis.zadd(keys.outstanding(LANE), {guilty.member: 1.0})

    assert recovery.recover(LANE).buried == 0
    assert jobs.dead_letters.all() == []
    [first, _] = jobs.reader.items(ref.job_id, 0, 2)
    assert first.outcome and first.outcome.state is ItemState.SUCCEEDED


def test_an_expired_suspect_leaves_outstanding(
    jobs: JobRecords, redis: Redis, recovery: Recovery
) -> None:
    ref = accept(jobs, 1)
    guilty = _about_to_be_buried(jobs, redis, recovery, ref)
    redis.delete(keys.job(ref.job_id))
    assert recovery.recover(LANE).buried == 0
    assert jobs.parts.start(take_message(redis), LANE) == []
    assert backlog.of_lane(redis, LANE)[:2] == (0, 0), guilty


def _about_to_be_buried(
    jobs: JobRecords, redis: Redis, recovery: Recovery, ref: PartRef
) -> PartRef:
    take_message(redis)
    start_often(jobs, ref)
    jobs.parts.start([ref], LANE)
    recovery.recover(LANE)
    singles = [message for _ in range(ref.images) for message in take_message(redis)]
    start_often(jobs, singles[0])
    jobs.parts.start([singles[0]], LANE)
    return singles[0]


def _bury(jobs: JobRecords, redis: Redis, recovery: Recovery, ref: PartRef) -> PartRef:
    guilty = _about_to_be_buried(jobs, redis, recovery, ref)
    assert recovery.recover(LANE) == Recovered(0, 0, 1)
    return guilty
