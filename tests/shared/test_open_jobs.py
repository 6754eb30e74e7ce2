"""Jobs that are filled in parts, and cancelled ones, against a real Redis."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from redis import Redis

from shared import keys
from shared.records.claims import Claim
from shared.errors import EmptyFile, JobClosed, JobNotFound, PartConflict, Unavailable
from shared.records.load import backlog
from shared.records.job_records import JobRecords
from shared.records.submit import PutPart
from shared.records.work import MAX_ATTEMPTS
from shared.jobs import (
    PART_SIZE,
    ItemState,
    Job,
    JobState,
    Lane,
    NewItem,
    NewJob,
    OpenJob,
    Outcome,
    PartRef,
    Prediction,
    part_size,
    new_job_id,
)
from shared.records.overdue.recovery import Recovered, Recovery

LANE = Lane.BULK
SUCCESS = Outcome(
    state=ItemState.SUCCEEDED, predictions=(Prediction(1, "cat", 0.9),), model_version="m-1"
)
KNOWN = Outcome(state=ItemState.SUCCEEDED, model_version="m-1", cache_hit=True)
BAD = Outcome.failure(EmptyFile())


def open_job(jobs: JobRecords, total: int) -> Job:
    job_id = new_job_id()
    jobs.submitter.open(OpenJob(id=job_id, lane=LANE, top_k=5, total=total))
    return jobs.reader.get(job_id)


def part(
    job: Job, number: int, known: Mapping[int, Outcome] | None = None, content: str = ""
) -> list[NewItem]:
    first = number * PART_SIZE
    return [
        NewItem(
            name=f"{first + k}.jpg",
            digest=f"digest {first + k}{content}",
            data=b"data %d" % (first + k),
            outcome=(known or {}).get(k),
        )
        for k in range(part_size(job.total, number))
    ]


def put(
    jobs: JobRecords, job: Job, number: int, known: Mapping[int, Outcome] | None = None
) -> PutPart:
    return jobs.submitter.put_part(job, number, part(job, number, known))


def ref(job: Job, number: int, images: int | None = None) -> PartRef:
    return PartRef(job.id, number, images or part_size(job.total, number))


def commit(jobs: JobRecords, redis: Redis, ref: PartRef, outcome: Outcome = SUCCESS) -> int:
    positions = range(ref.images) if ref.only is None else [ref.only]
    pipe = redis.pipeline(transaction=False)
    jobs.parts.commit(pipe, ref, LANE, dict.fromkeys(positions, outcome))
    [written] = pipe.execute()
    return int(written)


def queued(redis: Redis) -> list[PartRef]:
    found: list[PartRef] = []
    for text in reversed(redis.lrange(LANE, 0, -1)):
        body = json.loads(base64.b64decode(json.loads(text)["body"]))
        found += [PartRef(*each) for each in body[0][0]]
    return found


def nothing_is_held(redis: Redis, jobs: JobRecords) -> bool:
    held = redis.hgetall(keys.HELD)
    return (
        backlog.of_lane(redis, LANE) == (0, 0, None)
        and held in ({}, {b"total": b"0"})
        and not redis.keys("images:*")
        and not redis.keys("staged*")
    )


@pytest.fixture
def notices(redis: Redis) -> Iterator[Any]:
    """What is published, as a function that gives the next."""
    pubsub = redis.pubsub(ignore_subscribe_messages=True)
    pubsub.subscribe(keys.COMMITTED)
    pubsub.get_message(timeout=1)

    def following() -> str:
        message = pubsub.get_message(timeout=1)
        return str(message["data"].decode()) if message else ""

    yield following
    pubsub.close()


def test_an_open_job_is_filled_in_any_order_and_worked_on_meanwhile(
    jobs: JobRecords, redis: Redis
) -> None:
    job = open_job(jobs, 70)
    assert (job.state, job.total, job.received) == (JobState.RECEIVING, 70, 0)
    assert jobs.reader.missing_parts(job.id) == [0, 1, 2]

    assert put(jobs, job, 2)[:2] == (True, 2)
    assert jobs.reader.missing_parts(job.id) == [0, 1]
    assert queued(redis) == [ref(job, 2)]
    [work] = jobs.parts.start([ref(job, 2)], LANE)
    assert work.images == {k: b"data %d" % (64 + k) for k in range(6)}
    assert commit(jobs, redis, ref(job, 2)) == 6
    now = jobs.reader.get(job.id)
    assert (now.state, now.received, now.succeeded) == (JobState.RECEIVING, 6, 6)
    assert now.started_at

    assert put(jobs, job, 0)[:2] == (True, 1)
    assert put(jobs, job, 1)[:2] == (True, 0)
    assert jobs.reader.get(job.id).state is JobState.RUNNING
    for number in (0, 1):
        jobs.parts.start([ref(job, number)], LANE)
        commit(jobs, redis, ref(job, number))
    done = jobs.reader.get(job.id)
    assert (done.state, done.succeeded, done.queued) == (JobState.COMPLETED, 70, 0)
    assert [item.name for item in jobs.reader.items(job.id, 0, 70)] == [
        f"{k}.jpg" for k in range(70)
    ]
    assert nothing_is_held(redis, jobs)
    ttls = {redis.ttl(key) for key in redis.keys(f"*{job.id}*")}
    assert ttls <= {3599, 3600}


def test_a_complete_upload_that_nobody_started_on_is_queued(jobs: JobRecords) -> None:
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
    assert queued(redis) == [ref(job, 0)]
    assert jobs.reader.get(job.id).received == 32


def test_other_pictures_as_the_same_part_are_a_conflict(jobs: JobRecords, redis: Redis) -> None:
    job = open_job(jobs, 3)
    put(jobs, job, 0)
    with pytest.raises(PartConflict):
        jobs.submitter.put_part(job, 0, part(job, 0, content="other"))
    [work] = jobs.parts.start([ref(job, 0)], LANE)
    assert work.images[0] == b"data 0"
    assert not redis.keys("staged*")


def test_a_part_may_be_sent_again_after_the_job_has_ended(jobs: JobRecords, redis: Redis) -> None:
    job = open_job(jobs, 3)
    put(jobs, job, 0)
    commit(jobs, redis, ref(job, 0))
    assert put(jobs, job, 0) == PutPart(False, 0, None)


def test_two_who_send_the_same_part_at_once_store_it_once(jobs: JobRecords, redis: Redis) -> None:
    job = open_job(jobs, 64)
    told: list[PutPart] = []
    threads = [
        threading.Thread(target=lambda n=n: told.append(put(jobs, job, n % 2))) for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(each.is_new for each in told) == 2
    assert backlog.of_lane(redis, LANE)[:2] == (2, 64) and jobs.reader.get(job.id).received == 64
    assert len(queued(redis)) == 2


def test_what_is_known_is_not_queued(jobs: JobRecords, redis: Redis, notices: Any) -> None:
    job = open_job(jobs, 33)
    put(jobs, job, 0, {**dict.fromkeys(range(30), KNOWN), 31: BAD})
    assert notices() == f"{job.id} running"
    assert queued(redis) == [ref(job, 0, images=1)]
    now = jobs.reader.get(job.id)
    assert (now.succeeded, now.failed, now.cached, now.queued) == (30, 1, 30, 2)
    assert now.model_version == "m-1"
    assert jobs.reader.finished(job.id, 0, 99) == [*range(30), 31]
    [work] = jobs.parts.start([ref(job, 0, images=1)], LANE)
    assert work.images == {30: b"data 30"}


def test_a_job_whose_last_part_is_known_is_complete_at_once(
    jobs: JobRecords, redis: Redis, notices: Any
) -> None:
    job = open_job(jobs, 33)
    put(jobs, job, 0, dict.fromkeys(range(32), KNOWN))
    put(jobs, job, 1, {0: BAD})
    assert [notices(), notices()] == [f"{job.id} running", f"{job.id} completed"]
    done = jobs.reader.get(job.id)
    assert (done.state, done.succeeded, done.failed) == (JobState.COMPLETED, 32, 1)
    assert done.started_at and done.finished_at
    assert not redis.llen(LANE) and nothing_is_held(redis, jobs)


def test_items_that_are_not_here_yet_are_queued_without_a_name(jobs: JobRecords) -> None:
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

    gone = open_job(jobs, 1)
    redis.delete(keys.job(gone.id))
    with pytest.raises(JobNotFound):
        put(jobs, gone, 0)
    with pytest.raises(JobNotFound):
        jobs.reader.missing_parts(gone.id)
    assert not redis.keys("staged*")


def test_a_large_part_is_sent_in_pieces_and_taken_in_whole(
    jobs: JobRecords, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.records.staging._BYTES_AT_ONCE", 20)
    job = open_job(jobs, 32)

    def items() -> Iterator[NewItem]:
        for k, item in enumerate(part(job, 0)):
            if k == 20:
                [staged] = redis.keys("staged_images:*")
                assert redis.hlen(staged) >= 15 and 0 < redis.ttl(staged) <= 120
                assert backlog.of_lane(redis, LANE)[:2] == (0, 0)
            yield item

    assert jobs.submitter.put_part(job, 0, items()).is_new
    [work] = jobs.parts.start([ref(job, 0)], LANE)
    assert work.images == {k: b"data %d" % k for k in range(32)}
    assert redis.hget(keys.HELD, "total") == b"%d" % sum(len(b"data %d" % k) for k in range(32))


def test_a_part_whose_first_pieces_have_expired_is_not_taken_in(
    jobs: JobRecords, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.records.staging._BYTES_AT_ONCE", 20)
    job = open_job(jobs, 32)

    def items() -> Iterator[NewItem]:
        for k, item in enumerate(part(job, 0)):
            if k == 20:
                redis.delete(*redis.keys("staged_images:*"))
            yield item

    with pytest.raises(Unavailable):
        jobs.submitter.put_part(job, 0, items())
    assert jobs.reader.missing_parts(job.id) == [0] and nothing_is_held(redis, jobs)
    assert put(jobs, job, 0).is_new


def test_records_live_while_parts_come_in(jobs: JobRecords, redis: Redis) -> None:
    job = open_job(jobs, 96)
    put(jobs, job, 0, {0: KNOWN})
    for key in redis.keys(f"*{job.id}*"):
        redis.expire(key, 100)
    put(jobs, job, 1)
    kept = {key: redis.ttl(key) for key in redis.keys(f"*{job.id}*") if b"images" not in key}
    assert len(kept) == 5 and set(kept.values()) <= {7199, 7200}
    assert jobs.reader.get(job.id).expires_at >= time.time() + 3500

    redis.expire(keys.part(job.id, 0), 100)  # looked at now and then only: cheap for each part
    put(jobs, job, 2)
    assert redis.ttl(keys.part(job.id, 0)) == 100


# Cancelling


def test_a_cancelled_job_keeps_what_is_done_and_holds_nothing(
    jobs: JobRecords, redis: Redis, notices: Any
) -> None:
    job = open_job(jobs, 100)
    put(jobs, job, 0)
    put(jobs, job, 1, {0: KNOWN})
    commit(jobs, redis, ref(job, 0))
    for _ in range(3):
        notices()

    assert jobs.canceller.cancel(job.id)
    assert notices() == f"{job.id} cancelled"
    ended = jobs.reader.get(job.id)
    assert (ended.state, ended.succeeded, ended.cancelled) == (JobState.CANCELLED, 33, 67)
    assert ended.queued == 0 and ended.finished_at
    assert nothing_is_held(redis, jobs)
    states = [item.state for item in jobs.reader.items(job.id, 0, 100)]
    assert states == [ItemState.SUCCEEDED] * 33 + [ItemState.CANCELLED] * 67
    assert {redis.ttl(key) for key in redis.keys(f"*{job.id}*")} <= {3599, 3600}

    assert not jobs.canceller.cancel(job.id)
    assert notices() == ""
    with pytest.raises(JobClosed):
        put(jobs, job, 2)


def test_a_completed_job_cannot_be_cancelled(jobs: JobRecords, redis: Redis) -> None:
    job = open_job(jobs, 1)
    put(jobs, job, 0)
    commit(jobs, redis, ref(job, 0))
    assert not jobs.canceller.cancel(job.id)
    assert jobs.reader.get(job.id).state is JobState.COMPLETED
    with pytest.raises(JobNotFound):
        jobs.canceller.cancel(new_job_id())


def test_a_micro_batch_under_way_adds_nothing_to_a_cancelled_job(
    jobs: JobRecords, redis: Redis
) -> None:
    job = open_job(jobs, 3)
    put(jobs, job, 0)
    jobs.parts.start([ref(job, 0)], LANE)
    jobs.canceller.cancel(job.id)
    assert commit(jobs, redis, ref(job, 0)) == 0
    assert jobs.reader.get(job.id).cancelled == 3 and jobs.reader.get(job.id).succeeded == 0
    assert {item.outcome for item in jobs.reader.items(job.id, 0, 3)} == {None}
    assert nothing_is_held(redis, jobs)


@pytest.fixture
def half_cancelled(
    jobs: JobRecords, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> tuple[Job, list[PartRef]]:
    """A job whose canceller died after the first step."""
    job = open_job(jobs, 64)
    refs = [ref(job, n) for n in range(2)]
    for each in refs:
        put(jobs, job, each.number)

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(jobs.canceller, "_release", die)
        jobs.canceller.cancel(job.id)
    assert backlog.of_lane(redis, LANE)[:2] == (2, 64)
    return job, refs


def test_workers_release_what_a_dead_canceller_left(
    jobs: JobRecords, redis: Redis, half_cancelled: tuple[Job, list[PartRef]]
) -> None:
    _, refs = half_cancelled
    assert jobs.parts.start(refs, LANE) == []
    assert nothing_is_held(redis, jobs)


def test_a_part_whose_message_was_lost_is_released_too(
    jobs: JobRecords, redis: Redis, half_cancelled: tuple[Job, list[PartRef]]
) -> None:
    _, refs = half_cancelled
    redis.delete(LANE)
    redis.zadd(keys.outstanding(LANE), {each.member: 1.0 for each in refs})
    recovery = jobs.recovery
    assert recovery.recover(LANE).requeued == 2
    assert jobs.parts.start(queued(redis), LANE) == []
    assert nothing_is_held(redis, jobs)


def test_cancelling_again_finishes_what_a_dead_canceller_began(
    jobs: JobRecords, redis: Redis, half_cancelled: tuple[Job, list[PartRef]]
) -> None:
    assert not jobs.canceller.cancel(half_cancelled[0].id)
    assert nothing_is_held(redis, jobs)


def test_a_split_part_is_released_whole(jobs: JobRecords, redis: Redis) -> None:
    recovery = jobs.recovery
    job = open_job(jobs, 3)
    put(jobs, job, 0)
    _wear_out(jobs, recovery, ref(job, 0))
    single = PartRef(job.id, 0, 1, 1)
    commit(jobs, redis, single)
    assert backlog.of_lane(redis, LANE)[:2] == (2, 2)
    jobs.canceller.cancel(job.id)
    assert nothing_is_held(redis, jobs)
    assert commit(jobs, redis, PartRef(job.id, 0, 1, 0)) == 0
    assert jobs.parts.start(queued(redis), LANE) == []
    assert nothing_is_held(redis, jobs)


def test_an_image_of_a_cancelled_job_is_neither_buried_nor_tried_again(
    jobs: JobRecords, redis: Redis
) -> None:
    recovery = jobs.recovery
    job = open_job(jobs, 2)
    put(jobs, job, 0)
    _wear_out(jobs, recovery, ref(job, 0))
    first, second = (PartRef(job.id, 0, 1, k) for k in range(2))
    assert _wear_out(jobs, recovery, first) == Recovered(0, 0, 1)
    [letter] = jobs.dead_letters.all()
    for _ in range(MAX_ATTEMPTS):
        jobs.parts.start([second], LANE)
    jobs.parts.start([second], LANE)
    redis.hset(keys.job(job.id), "state", JobState.CANCELLED)  # and its canceller dies
    assert recovery.recover(LANE).buried == 0
    assert jobs.dead_letters.all() == [letter]
    assert nothing_is_held(redis, jobs)
    assert not jobs.dead_letters.retry(letter)
    assert jobs.reader.get(job.id).state is JobState.CANCELLED


def test_a_dead_letter_of_a_job_that_still_receives_leaves_it_open(
    jobs: JobRecords, redis: Redis
) -> None:
    recovery = jobs.recovery
    job = open_job(jobs, 33)
    put(jobs, job, 1)
    _wear_out(jobs, recovery, ref(job, 1))
    _wear_out(jobs, recovery, PartRef(job.id, 1, 1, 0))
    assert jobs.dead_letters.retry(jobs.dead_letters.all()[0])
    assert jobs.reader.get(job.id).state is JobState.RECEIVING
    assert put(jobs, job, 0).missing_parts == 0


def _wear_out(jobs: JobRecords, recovery: Recovery, ref: PartRef) -> Recovered:
    """Every worker dies on it, as often as it may be tried."""
    for _ in range(MAX_ATTEMPTS):
        assert jobs.parts.start([ref], LANE)
    assert jobs.parts.start([ref], LANE) == []
    return recovery.recover(LANE)


def test_a_half_stored_job_is_abandoned_with_its_claim(jobs: JobRecords, redis: Redis) -> None:
    claim = Claim("", "a key", "a request")
    job_id = new_job_id()
    jobs.submitter.open(OpenJob(id=job_id, lane=LANE, top_k=5, total=2 * PART_SIZE), claim)
    put(jobs, jobs.reader.get(job_id), 0)
    assert jobs.canceller.abandon(job_id, claim)
    assert jobs.reader.get(job_id).state is JobState.CANCELLED
    assert jobs.reader.claimed(claim) is None
    assert backlog.of_lane(redis, LANE) == (0, 0, None)
    # Another request came with the key since: its claim is not this job's to take away.
    again = new_job_id()
    jobs.submitter.open(OpenJob(id=again, lane=LANE, top_k=5, total=1), claim)
    jobs.canceller.abandon(job_id, claim)
    assert jobs.reader.claimed(claim) == again


def test_a_job_that_another_request_has_completed_is_not_abandoned(
    jobs: JobRecords, redis: Redis
) -> None:
    """Two requests with one key fill one job; the one that fails must not end what was accepted."""
    claim = Claim("", "a key", "a request")
    job_id = new_job_id()
    jobs.submitter.open(OpenJob(id=job_id, lane=LANE, top_k=5, total=PART_SIZE), claim)
    put(jobs, jobs.reader.get(job_id), 0)
    assert not jobs.canceller.abandon(job_id, claim)
    assert jobs.reader.get(job_id).state is JobState.QUEUED
    assert jobs.reader.claimed(claim) == job_id
    assert backlog.of_lane(redis, LANE).images == PART_SIZE
