"""Fair scheduling between clients, in both lanes."""

from __future__ import annotations

import pytest
from redis import Redis

from shared import keys
from shared.jobs import PART_SIZE, Lane, NewItem, NewJob, PartRef, new_job_id
from shared.message import message
from shared.records.job_records import JobRecords
from shared.records.load import backlog
from tests.conftest import Clock
from tests.shared.records.parts import EMPTY, commit, queued, take_message

LANES = pytest.mark.parametrize("lane", Lane)

#: Full parts that are queued before the first start: those of rounds.lua.
READY = {Lane.BULK: 2, Lane.INTERACTIVE: 1}


def accept(
    jobs: JobRecords,
    client: str,
    *,
    lane: Lane = Lane.INTERACTIVE,
    images: int = PART_SIZE,
    weight: int = 1,
    at_once: bool = False,
) -> str:
    """Submit a job; gives its id, which begins with the client."""
    job = NewJob(
        id=client + new_job_id(),
        lane=lane,
        top_k=5,
        items=[NewItem(name="", digest="d", data=b"data")] * images,
        client=client,
        weight=weight,
    )
    jobs.submitter.accept([job], at_once=at_once)
    return job.id


def take(redis: Redis, lane: Lane) -> list[PartRef]:
    return take_message(redis, lane)


def work(redis: Redis, jobs: JobRecords, lane: Lane, parts: int) -> str:
    """Take, start and commit so many parts; gives the first letter of each part's job."""
    letters = ""
    for _ in range(parts):
        for ref in take(redis, lane):
            assert jobs.parts.start([ref], lane)
            commit(redis, jobs, ref, lane=lane)
            letters += ref.job_id[0]
    return letters


def work_later(redis: Redis, jobs: JobRecords, lane: Lane, parts: int) -> str:
    """As `work`, after the parts that were queued before the first start."""
    work(redis, jobs, lane, READY[lane])
    return work(redis, jobs, lane, parts)


@LANES
def test_a_client_with_many_jobs_gets_no_more_than_a_client_with_one(
    jobs: JobRecords, redis: Redis, lane: Lane
) -> None:
    for _ in range(30):
        accept(jobs, "many", lane=lane, images=3 * PART_SIZE)
    accept(jobs, "one", lane=lane, images=20 * PART_SIZE)
    assert set(work(redis, jobs, lane, READY[lane])) == {"m"}
    order = work(redis, jobs, lane, 20)
    for k in range(20):
        assert abs(order[:k].count("m") - order[:k].count("o")) <= 2, order


@LANES
def test_a_client_gets_as_many_parts_in_a_round_as_its_weight(
    jobs: JobRecords, redis: Redis, lane: Lane
) -> None:
    accept(jobs, "light", lane=lane, images=40 * PART_SIZE)
    accept(jobs, "heavy", lane=lane, images=40 * PART_SIZE, weight=3)
    order = work_later(redis, jobs, lane, 24)
    assert 17 <= order.count("h") <= 19, order


@LANES
def test_a_new_job_of_a_client_does_not_wait_for_its_large_one(
    jobs: JobRecords, redis: Redis, lane: Lane
) -> None:
    accept(jobs, "client", lane=lane, images=50 * PART_SIZE)
    small = accept(jobs, "client", lane=lane)
    work(redis, jobs, lane, READY[lane] + 2)
    assert jobs.reader.get(small).state == "completed"


@LANES
def test_a_stream_of_new_clients_does_not_stop_an_older_one(
    jobs: JobRecords, redis: Redis, lane: Lane
) -> None:
    accept(jobs, "old", lane=lane, images=50 * PART_SIZE)
    order = ""
    for k in range(40):
        accept(jobs, f"new{2 * k}", lane=lane)
        accept(jobs, f"new{2 * k + 1}", lane=lane)
        order += work(redis, jobs, lane, 2)
    assert order.count("o") >= 8, order
    assert "o" in order[-20:], order


def test_a_single_picture_finds_one_part_of_a_large_job_before_it(
    jobs: JobRecords, redis: Redis
) -> None:
    """Also if the worker has prefetched: what it has not started fills the limit."""
    lane = Lane.INTERACTIVE
    for _ in range(3):
        accept(jobs, "flood", images=500)
    prefetched = take(redis, lane)
    jobs.parts.feed(lane)
    accept(jobs, "flood", images=500)
    assert len(prefetched) == 1 and not take(redis, lane)
    single = accept(jobs, "single", images=1, at_once=True)
    assert jobs.parts.start(prefetched, lane)
    first, second = queued(redis, lane)
    assert [ref.job_id for ref in first] == [single] and second[0].images == PART_SIZE


@pytest.mark.parametrize("images", [PART_SIZE - 2, PART_SIZE // 2 + 1, 5])
def test_the_parts_before_a_single_picture_fit_into_a_batch(
    jobs: JobRecords, redis: Redis, images: int
) -> None:
    lane = Lane.INTERACTIVE
    for _ in range(20):
        accept(jobs, "flood", images=images)
    seen = 0
    while ready := queued(redis, lane):
        assert sum(ref.images for message in ready for ref in message) <= PART_SIZE
        [ref] = take(redis, lane)
        assert jobs.parts.start([ref], lane)
        seen += 1
    assert seen == 20


def test_a_cancelled_part_keeps_its_room_until_a_worker_takes_it(
    jobs: JobRecords, redis: Redis
) -> None:
    """Hundreds of cancelled messages stood before the picture of another client."""
    lane = Lane.INTERACTIVE
    for _ in range(20):
        jobs.canceller.cancel(accept(jobs, "flood"))
    accept(jobs, "other")
    [message] = queued(redis, lane)
    assert not jobs.parts.start(take(redis, lane), lane)
    [[ref]] = queued(redis, lane)
    assert ref.job_id.startswith("other") and message[0].job_id.startswith("flood")


def test_a_part_that_does_not_fit_is_not_overtaken(jobs: JobRecords, redis: Redis) -> None:
    lane = Lane.INTERACTIVE
    accept(jobs, "first", images=5)
    accept(jobs, "large", images=PART_SIZE)
    accept(jobs, "small", images=1)
    assert work(redis, jobs, lane, 3) == "fls"


def test_each_worker_of_the_interactive_lane_finds_a_part(jobs: JobRecords, redis: Redis) -> None:
    redis.zadd(keys.workers(Lane.INTERACTIVE), {"a": 1, "b": 1, "c": 1})
    redis.zadd(keys.serving(Lane.INTERACTIVE), {"m-1 a": 1})
    accept(jobs, "client", images=10 * PART_SIZE)
    assert len(queued(redis, Lane.INTERACTIVE)) == 3


def test_no_part_waits_in_the_interactive_lane_for_workers_of_an_earlier_release(
    jobs: JobRecords, redis: Redis
) -> None:
    """They give a sign of life, name no model, and take no part from the set `waiting`."""
    redis.zadd(keys.workers(Lane.INTERACTIVE), {"old": 1})
    accept(jobs, "client", images=10 * PART_SIZE)
    assert len(queued(redis, Lane.INTERACTIVE)) == 10
    assert not redis.exists(keys.waiting(Lane.INTERACTIVE))


def test_single_pictures_of_a_flood_fill_a_batch_and_no_more(
    jobs: JobRecords, redis: Redis
) -> None:
    lane = Lane.INTERACTIVE
    for _ in range(100):
        accept(jobs, "flood", images=1)
    assert len(queued(redis, lane)) == PART_SIZE
    batch = [ref for _ in range(PART_SIZE) for ref in take(redis, lane)]
    assert len(jobs.parts.start(batch, lane)) == PART_SIZE
    assert len(queued(redis, lane)) == PART_SIZE
    # Pictures that the worker puts back wait for their round, and take the place of others.
    jobs.parts.put_back({ref: () for ref in batch}, lane)
    assert len(queued(redis, lane)) == PART_SIZE
    assert redis.zcard(keys.waiting(lane)) == 100 - PART_SIZE


def test_slow_pictures_take_no_place_in_the_queue(jobs: JobRecords, redis: Redis) -> None:
    """Each of them may take seconds, and one process of the worker takes none of them."""
    lane = Lane.INTERACTIVE
    slow = [PartRef(accept(jobs, "slow", images=1), 0, 1) for _ in range(PART_SIZE)]
    assert len(queued(redis, lane)) == PART_SIZE
    for ref in slow:
        take(redis, lane)
        jobs.parts.start([ref], lane)
        jobs.parts.put_back({ref: {0}}, lane)
    accept(jobs, "other")
    assert [ref.job_id[:5] for refs in queued(redis, lane) for ref in refs].count("other") == 1


@LANES
def test_parts_that_are_put_back_again_and_again_leave_room_for_others(
    jobs: JobRecords, redis: Redis, lane: Lane
) -> None:
    """A batch ends before its pictures if each of them takes seconds."""
    accept(jobs, "long", lane=lane, images=20 * PART_SIZE)
    for _ in range(3):
        for ref in [ref for _ in range(READY[lane]) for ref in take(redis, lane)]:
            jobs.parts.start([ref], lane)
            jobs.parts.put_back({ref: ()}, lane)
    accept(jobs, "other", lane=lane, images=2 * PART_SIZE)
    started = ""
    for _ in range(READY[lane] + 6):
        [ref] = take(redis, lane)
        started += ref.job_id[0]
        jobs.parts.start([ref], lane)
        if ref.job_id.startswith("long"):
            jobs.parts.put_back({ref: ()}, lane)
    assert started[READY[lane] :].count("o") == 2, started


def test_a_part_that_is_put_back_goes_on_before_the_next_one(
    jobs: JobRecords, redis: Redis
) -> None:
    lane = Lane.BULK
    accept(jobs, "long", lane=lane, images=9 * PART_SIZE)
    started = []
    for _ in range(20):
        [ref] = take(redis, lane)
        started.append(ref.number)
        jobs.parts.start([ref], lane)
        jobs.parts.put_back({ref: ()}, lane)
    assert max(started) <= READY[lane] + 1, started


@pytest.mark.parametrize("again", [False, True])
def test_what_counts_as_queued_is_forgotten_soon(
    jobs: JobRecords, redis: Redis, again: bool
) -> None:
    """A lost message leaves its part in `ready`. Nobody else removes the set of a quiet lane."""
    lane = Lane.INTERACTIVE
    accept(jobs, "a", lane=lane)
    if again:
        [work] = jobs.parts.start(take(redis, lane), lane)
        assert not redis.exists(keys.ready(lane))
        jobs.parts.put_back({work.ref: ()}, lane)
    assert redis.zcard(keys.ready(lane)) == 1
    assert 0 < redis.ttl(keys.ready(lane)) <= 60


def test_a_lost_message_does_not_keep_the_next_parts_from_the_queue(
    jobs: JobRecords, redis: Redis, clock: Clock
) -> None:
    accept(jobs, "client", images=3 * PART_SIZE)
    take(redis, Lane.INTERACTIVE)
    jobs.parts.feed(Lane.INTERACTIVE)
    assert not queued(redis, Lane.INTERACTIVE)
    clock.now += 11
    jobs.parts.feed(Lane.INTERACTIVE)
    assert queued(redis, Lane.INTERACTIVE)


@LANES
def test_a_cancelled_job_leaves_the_lane_to_others_at_once(
    jobs: JobRecords, redis: Redis, lane: Lane
) -> None:
    cancelled = accept(jobs, "gone", lane=lane, images=20 * PART_SIZE)
    other = accept(jobs, "other", lane=lane, images=20 * PART_SIZE)
    jobs.canceller.cancel(cancelled)
    assert not redis.exists(keys.waiting_of(lane, "gone"))
    for _ in queued(redis, lane):
        assert not jobs.parts.start(take(redis, lane), lane)
    jobs.parts.feed(lane)
    assert {ref.job_id for [ref] in queued(redis, lane)} == {other}
    work(redis, jobs, lane, 20)
    assert backlog.of_lane(redis, lane) == EMPTY
    jobs.parts.feed(lane)
    assert not redis.exists(keys.clients(lane), keys.waiting(lane))


def test_parts_that_an_earlier_release_has_stored_share_the_lane(
    jobs: JobRecords, redis: Redis
) -> None:
    """They name no client, and their rounds are in `waiting:<lane>`."""
    lane = Lane.BULK
    accept(jobs, "new", lane=lane, images=20 * PART_SIZE)
    old = accept(jobs, "", lane=lane, images=20 * PART_SIZE)
    redis.zrem(keys.clients(lane), "")
    assert redis.hget(keys.job(old), "client") is None
    order = work_later(redis, jobs, lane, 20)
    assert 9 <= order.count("n") <= 11, order


@LANES
def test_what_a_worker_of_an_earlier_release_has_queued_is_queued_once(
    jobs: JobRecords, redis: Redis, lane: Lane
) -> None:
    """Such a worker takes parts from `waiting:<lane>` alone."""
    job_id = accept(jobs, "client", lane=lane, images=10 * PART_SIZE)
    while popped := redis.zpopmin(keys.waiting(lane)):
        ref = PartRef.from_member(popped[0][0].decode())
        redis.hdel(keys.part(ref.job_id, ref.number), "message")
        redis.zadd(keys.outstanding(lane), {ref.member: 2_000_000_000})
        redis.lpush(lane, message(lane, [ref]))
    assert len(work(redis, jobs, lane, 20)) == 10
    jobs.parts.feed(lane)
    assert jobs.reader.get(job_id).state == "completed"
    assert not redis.exists(keys.clients(lane), keys.waiting_of(lane, "client"))
