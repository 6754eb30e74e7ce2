"""Recovery of parts that showed no life in time."""

from __future__ import annotations

import json
import time

import pytest
from redis import Redis

from shared import keys
from shared.jobs import ItemState, JobState, NewItem, NewJob, PartRef, new_job_id
from shared.records.job_records import JobRecords
from shared.records.load import backlog
from shared.records.overdue.recovery import Recovered
from tests.shared.records.parts import EMPTY, LANE, commit, take_message, wear_out
from tests.support.servers.memory_limit import memory_limit

NOTHING = Recovered(0, 0, 0)


def accept(jobs: JobRecords, images: int) -> PartRef:
    job_id = new_job_id()
    items = [NewItem(name=f"{k}.jpg", digest=str(k), data=b"data %d" % k) for k in range(images)]
    jobs.submitter.accept([NewJob(id=job_id, lane=LANE, top_k=5, items=items)])
    return PartRef(job_id, 0, images)


def make_overdue(redis: Redis, ref: PartRef) -> None:
    redis.zadd(keys.outstanding(LANE), {ref.member: time.time() - 1}, xx=True)


def test_a_lost_message_is_sent_again(jobs: JobRecords, redis: Redis) -> None:
    ref = accept(jobs, 2)
    take_message(redis)
    assert jobs.recovery.recover(LANE) == NOTHING

    make_overdue(redis, ref)
    assert jobs.recovery.recover(LANE) == Recovered(1, 0, 0)
    assert take_message(redis) == [ref]
    assert jobs.recovery.recover(LANE) == NOTHING


def test_a_part_that_waits_in_the_queue_is_left_there(jobs: JobRecords, redis: Redis) -> None:
    refs = [accept(jobs, 1) for _ in range(2)]
    for age, ref in zip((30, 20), refs, strict=True):
        redis.zadd(keys.outstanding(LANE), {ref.member: time.time() - age})
    assert jobs.recovery.recover(LANE) == NOTHING
    assert redis.llen(LANE) == 2

    take_message(redis)  # The oldest message is lost. The part behind it still waits.
    assert jobs.recovery.recover(LANE) == Recovered(1, 0, 0)
    assert redis.llen(LANE) == 2


def test_a_started_part_whose_worker_died_is_sent_again(jobs: JobRecords, redis: Redis) -> None:
    ref = accept(jobs, 1)
    take_message(redis)
    jobs.parts.start([ref], LANE)
    make_overdue(redis, ref)
    waiting = accept(jobs, 1)
    redis.zadd(keys.outstanding(LANE), {waiting.member: 1.0})
    assert jobs.recovery.recover(LANE) == Recovered(1, 0, 0)


def test_what_killed_workers_had_is_sent_again_at_once(jobs: JobRecords, redis: Redis) -> None:
    """The quick start knows that no worker runs when it begins, perhaps with a full Redis."""
    started, taken, waiting = (accept(jobs, 1) for _ in range(3))
    take_message(redis)
    jobs.parts.start([started], LANE)
    take_message(redis)
    assert jobs.recovery.recover(LANE) == NOTHING

    with memory_limit(redis, 1):
        jobs.recovery.expire_deadlines(LANE)
    assert jobs.recovery.recover(LANE) == Recovered(2, 0, 0)
    assert jobs.recovery.recover(LANE) == NOTHING
    queued = [take_message(redis) for _ in range(redis.llen(LANE))]
    assert sorted(queued) == sorted([[started], [taken], [waiting]])


def test_a_part_that_keeps_killing_its_worker_is_split_and_its_other_images_succeed(
    jobs: JobRecords, redis: Redis
) -> None:
    ref = accept(jobs, 3)
    take_message(redis)
    assert wear_out(jobs, ref) == Recovered(0, 1, 0)
    singles = [single for _ in range(3) for single in take_message(redis)]
    assert [single.only for single in singles] == [0, 1, 2]
    assert backlog.of_lane(redis, LANE)[:2] == (3, 3)
    for single in singles[1:]:
        [work] = jobs.parts.start([single], LANE)
        assert list(work.digests) == [single.only]
        commit(redis, jobs, single)

    assert wear_out(jobs, singles[0]) == Recovered(0, 0, 1)
    job = jobs.reader.get(ref.job_id)
    assert (job.state, job.succeeded, job.failed) == (JobState.COMPLETED, 2, 1)
    assert backlog.of_lane(redis, LANE) == EMPTY
    assert not redis.exists(keys.images(ref.job_id, 0))
    [first, *_] = jobs.reader.items(ref.job_id, 0, 3)
    assert first.outcome and first.outcome.error and first.outcome.error.code == "worker_lost"


def test_a_suspect_image_is_alone_in_its_batch(jobs: JobRecords, redis: Redis) -> None:
    ref = accept(jobs, 2)
    take_message(redis)
    wear_out(jobs, ref)
    sizes = [json.loads(text)["headers"]["images"] for text in redis.lrange(LANE, 0, -1)]
    assert min(sizes) > 1024  # the largest value of MAX_BATCH_SIZE


def test_a_slow_worker_can_still_commit_a_part_that_was_split(
    jobs: JobRecords, redis: Redis
) -> None:
    ref = accept(jobs, 2)
    take_message(redis)
    wear_out(jobs, ref)
    commit(redis, jobs, ref)

    singles = [single for _ in range(2) for single in take_message(redis)]
    assert jobs.parts.start(singles, LANE) == []
    assert backlog.of_lane(redis, LANE) == EMPTY
    assert jobs.reader.get(ref.job_id).succeeded == 2


@pytest.mark.parametrize("whole", [False, True])
def test_an_image_that_a_slow_worker_has_committed_is_not_buried(
    jobs: JobRecords, redis: Redis, whole: bool
) -> None:
    ref = accept(jobs, 2)
    suspect = _overdue_suspect(jobs, redis, ref)
    # It is committed and still in `outstanding`: recovery has read the set just before the commit,
    # or the slow worker had the whole part.
    commit(redis, jobs, ref if whole else suspect)
    redis.zadd(keys.outstanding(LANE), {suspect.member: 1.0})

    assert jobs.recovery.recover(LANE).buried == 0
    assert jobs.dead_letters.all() == []
    assert redis.zscore(keys.outstanding(LANE), suspect.member) is None
    [first, _] = jobs.reader.items(ref.job_id, 0, 2)
    assert first.outcome and first.outcome.state is ItemState.SUCCEEDED


def test_a_suspect_image_of_an_expired_job_leaves_the_backlog(
    jobs: JobRecords, redis: Redis
) -> None:
    ref = accept(jobs, 1)
    _overdue_suspect(jobs, redis, ref)
    redis.delete(keys.job(ref.job_id))
    assert jobs.recovery.recover(LANE).buried == 0
    assert jobs.parts.start(take_message(redis), LANE) == []
    assert backlog.of_lane(redis, LANE) == EMPTY


def _overdue_suspect(jobs: JobRecords, redis: Redis, ref: PartRef) -> PartRef:
    """The first image of a part, after workers died on it as often as allowed."""
    take_message(redis)
    wear_out(jobs, ref)
    singles = [single for _ in range(ref.images) for single in take_message(redis)]
    while jobs.parts.start([singles[0]], LANE):
        pass
    return singles[0]
