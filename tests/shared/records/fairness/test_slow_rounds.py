"""Parts that are slow to decode wait apart from the others."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from redis import Redis

from shared import keys
from shared.jobs import PART_SIZE, JobState, Lane, PartRef
from shared.message import ALONE, CLIENT, IMAGES
from shared.records.job_records import JobRecords
from tests.conftest import Clock
from tests.shared.records.fairness.test_client_rounds import LANES, accept, take, work
from tests.shared.records.parts import commit


def put_back(jobs: JobRecords, redis: Redis, lane: Lane, *clients: str) -> list[PartRef]:
    """Parts that a worker has started, and put back because they are slow."""
    refs = []
    for client in clients:
        refs.append(PartRef(accept(jobs, client, lane=lane), 0, PART_SIZE))
        assert jobs.parts.start(refs[-1:], lane)
        redis.delete(keys.queue(lane))
    owners = dict(zip(refs, clients, strict=True))
    jobs.parts.put_back(dict.fromkeys(refs, ()), lane, clients=owners, alone=refs)
    return refs


def queued(redis: Redis, lane: Lane) -> Counter[str]:
    """The clients of the slow parts in the queue."""
    texts: Any = redis.lrange(keys.queue(lane), 0, -1)
    headers = [json.loads(text)["headers"] for text in texts]
    return Counter(each[CLIENT] for each in headers if each[IMAGES] == ALONE)


@LANES
def test_a_client_has_one_slow_part_in_the_queue(
    jobs: JobRecords, redis: Redis, lane: Lane
) -> None:
    refs = put_back(jobs, redis, lane, "slow", "slow", "slow")
    for _ in refs:
        assert queued(redis, lane) == {"slow": 1}
        [started] = jobs.parts.start(take(redis, lane), lane)
        commit(redis, jobs, started.ref, lane=lane)
    assert not queued(redis, lane)
    assert {jobs.reader.get(ref.job_id).state for ref in refs} == {JobState.COMPLETED}


@LANES
def test_clients_have_a_slow_part_in_the_queue_each(
    jobs: JobRecords, redis: Redis, lane: Lane
) -> None:
    put_back(jobs, redis, lane, *(["slow"] * 9), "other", "third", "other")
    assert queued(redis, lane) == {"slow": 1, "other": 1, "third": 1}


@LANES
def test_each_worker_finds_a_slow_part_of_a_client(
    jobs: JobRecords, redis: Redis, lane: Lane
) -> None:
    redis.zadd(keys.workers(lane), {"a": 1, "b": 1, "c": 1})
    put_back(jobs, redis, lane, *["slow"] * 5)
    assert queued(redis, lane) == {"slow": 3}


@LANES
def test_all_slow_parts_are_done_in_the_end(jobs: JobRecords, redis: Redis, lane: Lane) -> None:
    refs = put_back(jobs, redis, lane, *"aaaabbbb", "", "")
    while work(redis, jobs, lane, 1):
        pass
    assert {jobs.reader.get(ref.job_id).state for ref in refs} == {JobState.COMPLETED}
    assert not redis.exists(keys.clients(lane), keys.waiting(lane))
    assert not redis.keys("ready:*")


@LANES
def test_the_jobs_of_a_client_share_the_slow_rounds(
    jobs: JobRecords, redis: Redis, lane: Lane
) -> None:
    images = {"a": 9 * PART_SIZE, "b": 9 * PART_SIZE, "c": PART_SIZE}
    names = {accept(jobs, "client", lane=lane, images=n): name for name, n in images.items()}
    tried: list[PartRef] = []
    while len(tried) < 19:
        refs = take(redis, lane)
        assert jobs.parts.start(refs, lane)
        tried += refs
    owners = dict.fromkeys(tried, "client")
    jobs.parts.put_back(dict.fromkeys(tried[::-1], ()), lane, clients=owners, alone=tried)
    done = ""
    for _ in tried:
        [work] = jobs.parts.start(take(redis, lane), lane)
        commit(redis, jobs, work.ref, lane=lane)
        done += names[work.ref.job_id]
    assert "c" in done[:6] and abs(done[:12].count("a") - done[:12].count("b")) <= 4, done
    assert {jobs.reader.get(each).state for each in names} == {JobState.COMPLETED}


@LANES
def test_a_lost_message_does_not_keep_the_next_slow_part_from_the_queue(
    jobs: JobRecords, redis: Redis, lane: Lane, clock: Clock
) -> None:
    put_back(jobs, redis, lane, "slow", "slow")
    redis.delete(keys.queue(lane))
    jobs.parts.feed(lane)
    assert not queued(redis, lane)
    clock.now += 61
    jobs.parts.feed(lane)
    assert queued(redis, lane) == {"slow": 1}


@LANES
def test_a_cancelled_job_with_slow_parts_waits_no_longer(
    jobs: JobRecords, redis: Redis, lane: Lane
) -> None:
    for ref in put_back(jobs, redis, lane, "slow", "slow"):
        jobs.canceller.cancel(ref.job_id)
    assert not redis.exists(keys.waiting(lane), keys.waiting_of(lane, keys.slow("slow")))
    jobs.parts.feed(lane)
    assert not redis.exists(keys.clients(lane))


@LANES
def test_a_worker_of_an_earlier_release_takes_slow_parts_last(
    jobs: JobRecords, redis: Redis, lane: Lane
) -> None:
    """It takes the client with the lowest place, whatever its name is."""
    put_back(jobs, redis, lane, *["slow"] * 3)
    accept(jobs, "usual", lane=lane, images=20 * PART_SIZE)
    assert redis.zrange(keys.clients(lane), 0, -1) == [b"usual", b"slow:slow"]
    member = redis.zrange(keys.waiting_of(lane, keys.slow("slow")), 0, 0)[0]  # type: ignore[index]
    assert redis.zscore(keys.waiting(lane), member) == 0
