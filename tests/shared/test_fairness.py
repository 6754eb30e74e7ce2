"""Jobs of the bulk lane take turns, against a real Redis."""

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
from shared.jobs import (
    PART_SIZE,
    ItemState,
    Lane,
    NewItem,
    NewJob,
    OpenJob,
    Outcome,
    PartRef,
    new_job_id,
)
from shared.records.overdue.recovery import Recovered, Recovery

LANE = Lane.BULK
READY = 4  #: As in rounds.lua.
NOTHING = Recovered(0, 0, 0)
SUCCESS = Outcome(state=ItemState.SUCCEEDED, model_version="m-1")


def accept(jobs: JobRecords, parts: int, lane: Lane = LANE) -> str:
    items = [NewItem(name="", digest="d", data=b"data")] * (PART_SIZE * parts)
    job_id = new_job_id()
    jobs.submitter.accept([NewJob(id=job_id, lane=lane, top_k=5, items=items)])
    return job_id


def take(redis: Redis) -> PartRef | None:
    """As a worker's BRPOP does."""
    text: Any = redis.rpop(LANE)
    if text is None:
        return None
    body = json.loads(base64.b64decode(json.loads(text)["body"]))
    [part] = body[0][0]
    return PartRef(*part)


def work(redis: Redis, jobs: JobRecords, parts: int) -> str:
    """Take, start and commit so many parts; gives the first letter of each one's job."""
    done = ""
    for _ in range(parts):
        ref = take(redis)
        if ref is None:
            break
        assert jobs.parts.start([ref], LANE)
        pipe = redis.pipeline(transaction=False)
        jobs.parts.commit(pipe, ref, LANE, dict.fromkeys(range(ref.images), SUCCESS))
        pipe.execute()
        done += names.get(ref.job_id, "?")
    return done


names: dict[str, str] = {}


def named(name: str, job_id: str) -> str:
    names[job_id] = name
    return job_id


@pytest.fixture
def recovery(redis: Redis, jobs: JobRecords) -> Recovery:
    return jobs.recovery


def test_few_parts_are_in_the_queue_and_all_come_in_the_end(jobs: JobRecords, redis: Redis) -> None:
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
    named("L", accept(jobs, 300))
    work(redis, jobs, 20)
    named("s", accept(jobs, 1))
    assert "s" in work(redis, jobs, READY + 2)


def test_two_large_jobs_take_turns(jobs: JobRecords, redis: Redis) -> None:
    named("A", accept(jobs, 100))
    work(redis, jobs, 30)
    named("B", accept(jobs, 100))
    work(redis, jobs, READY)
    order = work(redis, jobs, 40)
    for k in range(40):  # at no time is one ahead of the other
        assert abs(order[:k].count("A") - order[:k].count("B")) <= 2, order


def test_a_stream_of_new_jobs_holds_nobody_up(jobs: JobRecords, redis: Redis) -> None:
    named("A", accept(jobs, 100))
    work(redis, jobs, 5)
    order = ""
    for _ in range(40):  # as much as the workers can do
        named("n", accept(jobs, 1))
        named("n", accept(jobs, 1))
        order += work(redis, jobs, 2)
    assert order.count("A") >= 10, order
    assert "A" in order[-15:]


def test_parts_that_come_one_by_one_take_their_jobs_turns(jobs: JobRecords, redis: Redis) -> None:
    def opened(name: str) -> Any:
        job_id = named(name, new_job_id())
        jobs.submitter.open(OpenJob(id=job_id, lane=LANE, top_k=5, total=PART_SIZE * 40))
        return jobs.reader.get(job_id)

    first, second = opened("A"), opened("B")
    items = [NewItem(name="", digest="d", data=b"data")] * PART_SIZE
    for number in range(30):
        jobs.submitter.put_part(first, number, items)
    for number in reversed(range(20, 40)):  # its first part is the last of all
        jobs.submitter.put_part(second, number, items)
    work(redis, jobs, READY)
    order = work(redis, jobs, 30)
    assert abs(order.count("A") - order.count("B")) <= 2


def test_who_takes_many_at_once_finds_more(jobs: JobRecords, redis: Redis) -> None:
    accept(jobs, 100)
    for expected in (8, 16, 32):
        refs = [ref for ref in (take(redis) for _ in range(expected // 2)) if ref]
        jobs.parts.start(refs, LANE)
        assert redis.llen(LANE) == expected


def test_the_interactive_lane_is_first_come_first_served(jobs: JobRecords, redis: Redis) -> None:
    accept(jobs, 10, lane=Lane.INTERACTIVE)
    assert redis.llen(Lane.INTERACTIVE) == 10
    assert not redis.exists(keys.waiting(Lane.INTERACTIVE), keys.current_round(Lane.INTERACTIVE))


def test_a_part_that_waits_its_turn_is_never_overdue(
    jobs: JobRecords, redis: Redis, recovery: Recovery
) -> None:
    accept(jobs, 10)
    late = time.time() + keys.WAITING_SECONDS / 2
    assert redis.zcount(keys.outstanding(LANE), late, "+inf") == 10 - READY
    assert recovery.recover(LANE) == NOTHING
    assert redis.llen(LANE) == READY


def test_the_age_of_a_lane_is_that_of_its_oldest_part(jobs: JobRecords, redis: Redis) -> None:
    before = time.time()
    accept(jobs, 10)
    first = backlog.of_lane(redis, LANE).oldest_deadline or 0
    assert before + 60 <= first <= time.time() + 60
    while ref := take(redis):
        redis.zadd(keys.outstanding(LANE), {ref.member: time.time() + 900})
    oldest = backlog.of_lane(redis, LANE).oldest_deadline or 0
    assert oldest == pytest.approx(first, abs=0.01)


def test_a_queue_that_was_lost_is_filled_again(
    jobs: JobRecords, redis: Redis, recovery: Recovery
) -> None:
    job_id = accept(jobs, 10)
    lost = [take(redis) for _ in range(READY)]
    assert recovery.recover(LANE) == NOTHING
    assert redis.llen(LANE) == READY

    redis.zadd(keys.outstanding(LANE), {ref.member: 1.0 for ref in lost if ref})
    assert recovery.recover(LANE).requeued == READY
    work(redis, jobs, 10)
    assert jobs.reader.get(job_id).succeeded == 320
    assert backlog.of_lane(redis, LANE) == (0, 0, None)


def test_a_cancelled_job_waits_for_no_turn(jobs: JobRecords, redis: Redis) -> None:
    job_id, other = accept(jobs, 10), named("o", accept(jobs, 10))
    jobs.canceller.cancel(job_id)
    assert not [m for m in redis.zrange(keys.waiting(LANE), 0, -1) if job_id.encode() in m]
    assert backlog.of_lane(redis, LANE)[:2] == (10, 320)
    for _ in range(READY):
        ref = take(redis)
        assert ref and jobs.parts.start([ref], LANE) == [] or ref.job_id == other
    work(redis, jobs, 20)
    assert not redis.zcard(keys.waiting(LANE)) and not redis.llen(LANE)


def test_a_part_that_expired_while_it_waited_is_given_up(jobs: JobRecords, redis: Redis) -> None:
    job_id = accept(jobs, 10)
    redis.delete(keys.job(job_id), *(keys.part(job_id, n) for n in range(10)))
    while ref := take(redis):
        assert jobs.parts.start([ref], LANE) == []
    assert backlog.of_lane(redis, LANE) == (0, 0, None)
    assert redis.hgetall(keys.HELD) == {b"total": b"0"}
    assert not redis.exists(keys.waiting(LANE))
