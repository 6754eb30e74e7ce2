"""Parts go to workers of the model version that their job was accepted for."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from redis import Redis

from shared import keys
from shared.jobs import PART_SIZE, Job, Lane, NewItem, OpenJob, PartRef, new_job_id
from shared.records.job_records import JobRecords
from shared.records.overdue.recovery import Recovered
from shared.records.submit import JobSubmitter
from shared.serving import model_versions
from tests.conftest import Clock
from tests.shared.records.parts import take_message, wear_out
from tests.shared.test_model_versions import current, worker
from tests.support.stored_jobs import commit, new_job

GRACE = 120


def accept(
    jobs: JobRecords, version: str, *, parts: int = 1, lane: Lane = Lane.BULK, client: str = ""
) -> str:
    job = replace(new_job(parts * PART_SIZE, lane), model_version=version, client=client)
    jobs.submitter.accept([job])
    return job.id


def take(redis: Redis, version: str, lane: Lane = Lane.BULK) -> list[PartRef]:
    """The parts of the next message in the queue of a version."""
    return take_message(redis, lane, version)


def drain(redis: Redis, jobs: JobRecords, version: str, lane: Lane = Lane.BULK) -> list[PartRef]:
    """Start all parts that a worker of this version can get; gives them in order."""
    started = []
    while refs := take(redis, version, lane) or take(redis, "", lane):
        started += [work.ref for work in jobs.parts.start(refs, lane, version)]
    return started


@pytest.mark.parametrize("lane", Lane)
def test_each_version_gets_the_parts_of_its_jobs(
    redis: Redis, jobs: JobRecords, lane: Lane
) -> None:
    ids = {version: accept(jobs, version, parts=12, lane=lane) for version in ("old", "new")}
    for version in ("new", "old"):
        refs = drain(redis, jobs, version, lane)
        assert [ref.job_id for ref in refs] == [ids[version]] * 12
        assert jobs.reader.get(ids[version]).model_version == version


def test_pictures_that_leave_together_part_where_the_model_was_changed(
    redis: Redis, jobs: JobRecords
) -> None:
    lane = Lane.INTERACTIVE
    single = [replace(new_job(1, lane), model_version=v) for v in ("old", "new", "old")]
    accepted = jobs.submitter.accept(single, at_once=True)
    assert accepted and accepted.images == 3
    assert len(take(redis, "old", lane)) == 2 and len(take(redis, "new", lane)) == 1


def test_a_job_without_a_version_gets_that_of_its_first_worker(
    redis: Redis, jobs: JobRecords
) -> None:
    worker(redis, "new")
    job_id = accept(jobs, "", parts=3)
    jobs.parts.start(take(redis, ""), Lane.BULK, "new")
    assert jobs.reader.get(job_id).model_version == "new"
    assert drain(redis, jobs, "old") == []
    assert len(drain(redis, jobs, "new")) == 2


def test_a_part_that_comes_to_the_wrong_worker_is_passed_on_unchanged(
    redis: Redis, jobs: JobRecords
) -> None:
    """A worker of an earlier release puts a part into the queue of all workers."""
    worker(redis, "old")
    job_id = accept(jobs, "old")
    refs = take(redis, "old")
    assert jobs.parts.start(refs, Lane.BULK, "new") == []
    assert not redis.hexists(keys.part(job_id, 0), "attempts")
    assert take(redis, "old") == refs
    [work] = jobs.parts.start(refs, Lane.BULK, "old")
    assert work.attempt == 1


def test_no_part_waits_for_a_version_that_no_worker_announces(
    redis: Redis, jobs: JobRecords
) -> None:
    """Workers of an earlier release name their version in records, and announce none."""
    worker(redis, "new")
    job_id = accept(jobs, "of an earlier release", parts=2)
    redis.rename(keys.queue(Lane.BULK, "of an earlier release"), keys.queue(Lane.BULK))
    assert len(drain(redis, jobs, "new")) == 2
    assert jobs.reader.get(job_id).model_version == "new"
    assert model_versions.waiting(redis, Lane.BULK).total() == 0


def test_a_cancelled_part_is_released_by_any_worker(redis: Redis, jobs: JobRecords) -> None:
    job_id = accept(jobs, "old")
    redis.hset(keys.job(job_id), "state", "cancelled")
    assert jobs.parts.start([PartRef(job_id, 0, PART_SIZE)], Lane.BULK, "new") == []
    assert not redis.exists(keys.images(job_id, 0), keys.queue(Lane.BULK, "new"))


def test_an_outcome_does_not_change_the_version_of_its_job(redis: Redis, jobs: JobRecords) -> None:
    job = replace(new_job(2), model_version="old")
    jobs.submitter.accept([job])
    commit(redis, jobs, job)  # by m-1
    assert jobs.reader.get(job.id).model_version == "old"


def opened(redis: Redis, jobs: JobRecords, version: str = "") -> Job:
    job = OpenJob(id=new_job_id(), lane=Lane.BULK, top_k=1, total=64, model_version=version)
    jobs.submitter.open(job)
    return jobs.reader.get(job.id)


def put(submitter: JobSubmitter, job: Job, number: int, version: str) -> None:
    items = [NewItem(name="", digest=f"{k}", data=b"x") for k in range(PART_SIZE)]
    submitter.put_part(job, number, items, version=version)


def test_the_parts_of_an_open_job_go_to_its_version(redis: Redis, jobs: JobRecords) -> None:
    job = opened(redis, jobs, "old")
    assert job.model_version == "old"
    put(jobs.submitter, job, 0, "old")
    assert take(redis, "old")
    later = opened(redis, jobs)
    put(jobs.submitter, later, 0, "new")
    assert jobs.reader.get(later.id).model_version == "new" and take(redis, "new")


def test_recovery_queues_a_lost_part_for_its_version_and_no_part_twice(
    redis: Redis, jobs: JobRecords, clock: Clock
) -> None:
    lane = Lane.INTERACTIVE
    lost = accept(jobs, "old", lane=lane)
    assert take(redis, "old", lane)
    clock.now += 1
    waits = accept(jobs, "old", lane=lane)
    clock.now += 61
    for version in ("old", "new"):
        worker(redis, version, lane)
    assert jobs.recovery.recover(lane) == Recovered(1, 0, 0)
    assert [ref.job_id for ref in drain(redis, jobs, "old", lane)] == [waits, lost]


@pytest.mark.parametrize("client", ["", "of an address"])
def test_the_jobs_of_a_version_that_is_gone_go_to_the_current_one(
    redis: Redis, jobs: JobRecords, clock: Clock, client: str
) -> None:
    old, new = worker(redis, "old", Lane.BULK), worker(redis, "new", Lane.BULK)
    model_versions.promote(redis, "new")
    ids = [accept(jobs, "old", parts=parts, client=client) for parts in (10, 2)]
    old.leave()
    clock.now += GRACE - 1
    new.tick()
    jobs.recovery.recover(Lane.BULK)
    assert jobs.reader.get(ids[0]).model_version == "old" and drain(redis, jobs, "new") == []
    clock.now += 62  # beyond the deadlines of the parts in the queue, too
    new.tick()
    started: list[PartRef] = []
    for _ in range(3):
        jobs.recovery.recover(Lane.BULK)
        started += drain(redis, jobs, "new")
        clock.now += 61
        new.tick()
    assert {ref.name for ref in started} == {f"{ids[0]}:{n}" for n in range(10)} | {
        f"{ids[1]}:{n}" for n in range(2)
    }
    assert [jobs.reader.get(each).model_version for each in ids] == ["new", "new"]
    assert not redis.exists(keys.queue(Lane.BULK, "old"), keys.waiting(Lane.BULK, "old"))


def test_parts_of_a_version_that_is_gone_keep_their_order_and_are_addressed_anew(
    redis: Redis, jobs: JobRecords, clock: Clock
) -> None:
    lane = Lane.BULK
    old, new = worker(redis, "old", lane), worker(redis, "new", lane)
    model_versions.promote(redis, "new")
    ids = [accept(jobs, "old", parts=12, client=client) for client in "aab"]
    for _ in range(9):
        jobs.parts.start(take(redis, "old"), lane, "old")
    assert int(redis.get(keys.current_round(lane, "old")) or 0) > 1
    members: Any = redis.zrange(keys.waiting(lane, "old"), 0, -1)
    waiting = {PartRef.from_member(member.decode()) for member in members}
    old.leave()
    clock.now += GRACE + 1
    new.tick()
    jobs.recovery.recover(lane)
    queue = keys.queue(lane, "new")
    messages = [json.loads(each) for each in redis.lrange(queue, 0, -1)]
    assert {each["properties"]["delivery_info"]["routing_key"] for each in messages} == {queue}
    started = [ref for ref in drain(redis, jobs, "new") if ref in waiting]
    assert {*started} == waiting and {ref.job_id for ref in started[:4]} == {*ids}
    for each in ids:
        numbers = [ref.number for ref in started if ref.job_id == each]
        assert numbers == sorted(numbers) and numbers[-1] == 11
    assert not redis.keys("waiting:*") and not redis.keys("clients:*")


def test_slow_parts_of_a_version_that_is_gone_go_to_another_one(
    redis: Redis, jobs: JobRecords, clock: Clock
) -> None:
    lane = Lane.BULK
    old, new = worker(redis, "old", lane), worker(redis, "new", lane)
    model_versions.promote(redis, "new")
    job_id = accept(jobs, "old", parts=3, client="slow")
    slow = [PartRef(job_id, n, PART_SIZE) for n in range(3)]
    assert drain(redis, jobs, "old") == slow
    jobs.parts.put_back(dict.fromkeys(slow, ()), lane, "old", alone=slow)
    first_round = jobs.reader.get(job_id).first_round
    old.leave()
    clock.now += GRACE + 1
    new.tick()
    started: list[PartRef] = []
    for _ in range(3):
        jobs.recovery.recover(lane)
        started += drain(redis, jobs, "new")
        clock.now += 61
        new.tick()
    assert {ref.number for ref in started} == {0, 1, 2}
    assert jobs.reader.get(job_id).first_round == first_round
    assert not redis.keys("waiting:*") and not redis.keys("clients:*")


def test_what_waits_is_counted_by_version(redis: Redis, jobs: JobRecords) -> None:
    worker(redis, "old")
    accept(jobs, "old", parts=7)
    accept(jobs, "", parts=2)
    assert model_versions.waiting(redis, Lane.BULK) == {"old": 7, "": 2}
    drain(redis, jobs, "old")
    assert not model_versions.waiting(redis, Lane.BULK).total()


def test_the_current_version_is_never_gone(redis: Redis, jobs: JobRecords, clock: Clock) -> None:
    """A scaler may have stopped the last worker of the lane, and starts one for these parts."""
    worker(redis, "old").leave()
    job_id = accept(jobs, "old")
    clock.now += 10 * GRACE
    jobs.recovery.recover(Lane.BULK)
    assert current(redis) == "old"
    assert [ref.job_id for ref in drain(redis, jobs, "old")] == [job_id]


def test_a_part_that_killed_its_workers_is_split_for_the_current_version(
    redis: Redis, jobs: JobRecords, clock: Clock
) -> None:
    old, new = worker(redis, "old", Lane.BULK), worker(redis, "new", Lane.BULK)
    model_versions.promote(redis, "new")
    job_id = accept(jobs, "old")
    take(redis, "old")
    old.leave()
    clock.now += GRACE + 1
    new.tick()
    assert wear_out(jobs, PartRef(job_id, 0, PART_SIZE)) == Recovered(0, 1, 0)
    assert jobs.reader.get(job_id).model_version == "new"
    assert len(drain(redis, jobs, "new")) == PART_SIZE


def test_rounds_of_a_new_version_go_on_from_those_of_the_lane(
    redis: Redis, jobs: JobRecords
) -> None:
    """A job whose first parts came before the upgrade must not wait for ever."""
    redis.set(keys.current_round(Lane.BULK), 5000)
    job = opened(redis, jobs)
    put(jobs.submitter, job, 0, "")
    put(jobs.submitter, jobs.reader.get(job.id), 1, "new")
    other = accept(jobs, "new", parts=6)
    started = [ref.job_id for ref in drain(redis, jobs, "new")]
    assert started.index(job.id) < 6 and started.count(other) == 6


def test_a_lane_without_workers_of_the_current_version_answers_with_its_own(
    redis: Redis, jobs: JobRecords, clock: Clock
) -> None:
    """The job was accepted while the lane had no worker at all."""
    worker(redis, "card")
    job_id = accept(jobs, "card", parts=2)
    clock.now += GRACE + 61
    worker(redis, "card")
    processor = worker(redis, "processor", Lane.BULK)
    for _ in range(2):
        processor.tick()
        jobs.recovery.recover(Lane.BULK)
    assert current(redis) == "card"
    assert len(drain(redis, jobs, "processor")) == 2
    assert jobs.reader.get(job_id).model_version == "processor"
