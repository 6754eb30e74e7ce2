"""Dead letters: how long they are kept, and retrying them."""

from __future__ import annotations

import time

import pytest
from redis import Redis

from shared import keys
from shared.errors import DecodeFailed
from shared.jobs import JobState, NewItem, NewJob, Outcome, PartRef, new_job_id
from shared.records.job_records import JobRecords
from shared.records.load import backlog
from shared.records.overdue import dead_letters
from tests.conftest import Clock
from tests.shared.records.open_jobs.new_jobs import open_job, put, ref
from tests.shared.records.parts import EMPTY, LANE, bury, commit, take_message


def accept(jobs: JobRecords) -> PartRef:
    job_id = new_job_id()
    items = [NewItem(name="0.jpg", digest="0", data=b"data 0")]
    jobs.submitter.accept([NewJob(id=job_id, lane=LANE, top_k=5, items=items)])
    return PartRef(job_id, 0, 1)


def test_a_dead_letter_can_be_retried_once(jobs: JobRecords, redis: Redis) -> None:
    part = accept(jobs)
    image = bury(redis, jobs, part)
    [letter] = jobs.dead_letters.all()
    assert (letter.job_id, letter.index, letter.name) == (part.job_id, 0, "0.jpg")

    assert jobs.dead_letters.retry(letter)
    assert jobs.dead_letters.all() == []
    job = jobs.reader.get(part.job_id)
    assert (job.state, job.failed, job.queued) == (JobState.RUNNING, 0, 1)
    assert take_message(redis) == [image]
    [work] = jobs.parts.start([image], LANE)
    assert work.images == {0: b"data 0"}
    commit(redis, jobs, image)
    job = jobs.reader.get(part.job_id)
    assert (job.state, job.succeeded) == (JobState.COMPLETED, 1)
    assert backlog.of_lane(redis, LANE) == EMPTY
    assert not jobs.dead_letters.retry(letter)


def test_a_dead_letter_of_an_expired_job_cannot_be_retried(jobs: JobRecords, redis: Redis) -> None:
    part = accept(jobs)
    bury(redis, jobs, part)
    [letter] = jobs.dead_letters.all()
    redis.delete(keys.job(part.job_id))
    assert not jobs.dead_letters.retry(letter)
    assert jobs.dead_letters.all() == []


def test_dead_letters_expire_with_their_images(
    jobs: JobRecords, redis: Redis, clock: Clock
) -> None:
    first = bury(redis, jobs, accept(jobs))
    assert len(jobs.dead_letters.all()) == 1
    assert 3590 < redis.ttl(keys.dead_image(first.member)) <= 3600
    clock.now += 3601
    later = accept(jobs)
    bury(redis, jobs, later)
    assert [letter.job_id for letter in jobs.dead_letters.all()] == [later.job_id]
    assert redis.hlen(keys.DEAD_LETTERS) == 1


def test_the_newest_dead_letters_are_kept_up_to_a_number_of_bytes(
    jobs: JobRecords, redis: Redis, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letters, "MOST_BYTES", 2 * len(b"data 0"))
    images = []
    for _ in range(4):
        clock.now += 1
        images.append(bury(redis, jobs, accept(jobs)))
    newest = [image.job_id for image in images[2:]]
    assert [letter.job_id for letter in jobs.dead_letters.all()] == newest
    kept = [redis.exists(keys.dead_image(image.member)) for image in images]
    assert kept == [0, 0, 1, 1]


def test_a_retry_in_an_incomplete_job_leaves_the_job_open(jobs: JobRecords, redis: Redis) -> None:
    job = open_job(jobs, 33)
    put(jobs, job, 1)
    bury(redis, jobs, ref(job, 1))
    assert jobs.dead_letters.retry(jobs.dead_letters.all()[0])
    assert jobs.reader.get(job.id).state is JobState.RECEIVING
    assert put(jobs, job, 0).missing_parts == 0


def test_a_retried_image_and_its_job_live_as_long_as_new_ones(
    jobs: JobRecords, redis: Redis
) -> None:
    part = accept(jobs)
    bury(redis, jobs, part)
    [letter] = jobs.dead_letters.all()
    for key in redis.keys(f"*{part.job_id}*"):
        redis.expire(key, 1)
    assert jobs.dead_letters.retry(letter)
    assert redis.ttl(keys.job(part.job_id)) > 7100
    assert redis.ttl(keys.part(part.job_id, 0)) > 7100
    assert 3500 < redis.ttl(keys.images(part.job_id, 0)) <= 3600
    assert jobs.reader.get(part.job_id).expires_at > time.time() + 3500


def test_the_letter_of_an_image_with_another_error_cannot_be_retried(
    jobs: JobRecords, redis: Redis
) -> None:
    """A slow worker was faster than recovery, which died before it removed the letter."""
    job_id = open_job(jobs, 1).id
    put(jobs, jobs.reader.get(job_id), 0)
    bury(redis, jobs, ref(jobs.reader.get(job_id), 0))
    [letter] = jobs.dead_letters.all()
    decoded = Outcome.failure(DecodeFailed()).to_json()
    redis.hset(keys.part(job_id, 0), "r0", decoded)
    assert not jobs.dead_letters.retry(letter)
    [item] = jobs.reader.items(job_id, 0, 1)
    assert item.outcome and item.outcome.error and item.outcome.error.code == "decode_failed"
