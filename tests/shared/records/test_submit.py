"""Submitting jobs with all their pictures."""

from __future__ import annotations

import pytest
from redis import Redis
from redis.exceptions import RedisError

from shared import keys
from shared.jobs import PART_SIZE, JobState, Lane, NewItem, NewJob, Outcome, PartRef, new_job_id
from shared.records.job_records import JobRecords
from shared.records.load import backlog
from tests.shared.records.parts import CACHED, EMPTY, LANE, REFUSED, commit, queued
from tests.support.servers.memory_limit import memory_limit


def new_item(name: str = "cat.jpg", outcome: Outcome | None = None) -> NewItem:
    return NewItem(name=name, digest=f"digest of {name}", data=name.encode(), outcome=outcome)


def submit(jobs: JobRecords, *items: NewItem) -> tuple[str, list[PartRef]]:
    """Submit a job; gives its id and the parts that need a worker."""
    job_id = new_job_id()
    jobs.submitter.accept([NewJob(id=job_id, lane=LANE, top_k=5, items=items)])
    starts = range(0, len(items), PART_SIZE)
    pending = [sum(item.outcome is None for item in items[k : k + PART_SIZE]) for k in starts]
    return job_id, [PartRef(job_id, n, images) for n, images in enumerate(pending) if images]


def test_the_parts_of_an_accepted_job_are_outstanding_and_in_the_queue(
    jobs: JobRecords, redis: Redis
) -> None:
    job_id, refs = submit(jobs, *(new_item() for _ in range(33)))
    assert [ref.images for ref in refs] == [32, 1]
    assert backlog.of_lane(redis, LANE)[:2] == (2, 33)
    assert queued(redis) == [[ref] for ref in refs]
    assert jobs.reader.get(job_id).state is JobState.QUEUED


def test_small_jobs_that_are_accepted_together_share_a_message(
    jobs: JobRecords, redis: Redis
) -> None:
    new = [
        NewJob(id=f"j{k}", lane=Lane.INTERACTIVE, top_k=5, items=[new_item() for _ in range(15)])
        for k in range(3)
    ]
    jobs.submitter.accept(new, at_once=True)
    first, second, third = (PartRef(f"j{k}", 0, 15) for k in range(3))
    assert queued(redis, Lane.INTERACTIVE) == [[first, second], [third]]
    assert backlog.of_lane(redis, Lane.INTERACTIVE)[:2] == (3, 45)


def test_an_item_with_an_outcome_waits_for_no_worker(jobs: JobRecords) -> None:
    job_id, refs = submit(jobs, new_item(outcome=CACHED), new_item(), new_item(outcome=REFUSED))
    assert [ref.images for ref in refs] == [1]
    [work] = jobs.parts.start(refs, LANE)
    assert list(work.images) == [1]
    job = jobs.reader.get(job_id)
    assert (job.total, job.succeeded, job.failed, job.cached, job.queued) == (3, 1, 1, 1, 1)


def test_a_job_whose_items_all_have_outcomes_is_complete_at_once(
    jobs: JobRecords, redis: Redis
) -> None:
    job_id, refs = submit(jobs, new_item(outcome=CACHED))
    assert refs == []
    assert jobs.reader.get(job_id).state is JobState.COMPLETED
    assert backlog.of_lane(redis, LANE) == EMPTY
    assert not redis.llen(LANE)


def test_refused_pictures_do_not_change_the_model_version_of_a_job(
    jobs: JobRecords, redis: Redis
) -> None:
    job_id, [ref] = submit(jobs, new_item(outcome=CACHED), new_item(), new_item())
    for position in (1, 2):
        commit(redis, jobs, ref, {position: REFUSED})
        assert jobs.reader.get(job_id).model_version == "m-1"


def test_records_live_twice_as_long_as_images(jobs: JobRecords, redis: Redis) -> None:
    job_id, _ = submit(jobs, new_item())
    assert redis.ttl(keys.images(job_id, 0)) == 3600
    assert redis.ttl(keys.part(job_id, 0)) == redis.ttl(keys.job(job_id)) == 7200


def test_a_full_redis_stores_nothing_of_a_job(jobs: JobRecords, redis: Redis) -> None:
    used = redis.info("memory")["used_memory"]
    with memory_limit(redis, used + 200_000):
        with pytest.raises(RedisError):
            for _ in range(100):
                submit(jobs, NewItem(name="big", digest="d", data=bytes(20_000)))
        complete = len(redis.keys("job:*"))
        assert complete == len(redis.keys("part:*")) == len(redis.keys("images:*"))
        waiting = redis.llen(LANE) + redis.zcard(keys.waiting(LANE))
        assert complete == waiting == backlog.of_lane(redis, LANE).parts > 0
