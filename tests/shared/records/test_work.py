"""Starting on parts and committing outcomes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from redis import Redis

from shared import keys
from shared.jobs import PART_SIZE, JobState, NewItem, NewJob, Outcome, PartRef, new_job_id
from shared.records.job_records import JobRecords
from shared.records.load import backlog
from tests.shared.records.parts import EMPTY, LANE, REFUSED, SUCCESS, commit


def submit(jobs: JobRecords, images: int) -> tuple[str, list[PartRef]]:
    job_id = new_job_id()
    items = [
        NewItem(name=f"{k}.jpg", digest=f"digest of {k}", data=b"data %d" % k)
        for k in range(images)
    ]
    jobs.submitter.accept([NewJob(id=job_id, lane=LANE, top_k=5, items=items)])
    starts = range(0, images, PART_SIZE)
    refs = [PartRef(job_id, k // PART_SIZE, min(PART_SIZE, images - k)) for k in starts]
    return job_id, refs


def outcomes(jobs: JobRecords, job_id: str) -> list[Outcome | None]:
    items = jobs.reader.items(job_id, 0, jobs.reader.get(job_id).total)
    return [item.outcome for item in items]


def test_a_job_is_complete_when_its_last_part_is_committed(jobs: JobRecords, redis: Redis) -> None:
    job_id, refs = submit(jobs, 33)
    jobs.parts.start(refs, LANE)
    commit(redis, jobs, refs[0])
    assert backlog.of_lane(redis, LANE)[:2] == (1, 1)
    assert jobs.reader.get(job_id).state is JobState.RUNNING

    commit(redis, jobs, refs[1])
    job = jobs.reader.get(job_id)
    assert backlog.of_lane(redis, LANE) == EMPTY
    assert (job.state, job.succeeded, job.queued) == (JobState.COMPLETED, 33, 0)
    assert job.finished_at and job.finished_at >= job.created_at


def test_a_second_commit_changes_nothing(jobs: JobRecords, redis: Redis) -> None:
    job_id, [ref] = submit(jobs, 2)
    assert commit(redis, jobs, ref) == 2
    assert commit(redis, jobs, ref, {0: REFUSED, 1: REFUSED}) == 0
    job = jobs.reader.get(job_id)
    assert outcomes(jobs, job_id) == [SUCCESS, SUCCESS]
    assert (job.succeeded, job.failed) == (2, 0)
    assert backlog.of_lane(redis, LANE) == EMPTY


def test_a_part_can_be_committed_in_pieces(jobs: JobRecords, redis: Redis) -> None:
    job_id, [ref] = submit(jobs, 3)
    commit(redis, jobs, ref, {1: SUCCESS})
    assert backlog.of_lane(redis, LANE)[:2] == (1, 2)
    [work] = jobs.parts.start([ref], LANE)
    assert sorted(work.digests) == [0, 2]

    commit(redis, jobs, ref, {0: SUCCESS, 1: SUCCESS, 2: SUCCESS})
    assert backlog.of_lane(redis, LANE) == EMPTY
    assert jobs.reader.get(job_id).succeeded == 3


def test_a_start_counts_the_attempt_and_moves_the_deadline(jobs: JobRecords, redis: Redis) -> None:
    job_id, [ref] = submit(jobs, 1)
    redis.zadd(keys.outstanding(LANE), {ref.member: 1.0})
    assert [work.attempt for work in jobs.parts.start([ref], LANE)] == [1]
    assert [work.attempt for work in jobs.parts.start([ref], LANE)] == [2]
    assert (backlog.of_lane(redis, LANE).oldest_deadline or 0) > 1.0
    job = jobs.reader.get(job_id)
    assert job.state is JobState.RUNNING and job.started_at


def test_a_start_gives_the_bytes_of_each_image(jobs: JobRecords) -> None:
    _, [ref] = submit(jobs, 2)
    [work] = jobs.parts.start([ref], LANE)
    assert work.images == {0: b"data 0", 1: b"data 1"}
    assert work.digests == {0: "digest of 0", 1: "digest of 1"}


def test_a_committed_part_is_not_started_again(jobs: JobRecords, redis: Redis) -> None:
    _, [ref] = submit(jobs, 1)
    commit(redis, jobs, ref)
    assert jobs.parts.start([ref], LANE) == []


def test_a_commit_deletes_the_bytes(jobs: JobRecords, redis: Redis) -> None:
    job_id, [ref] = submit(jobs, 1)
    assert redis.exists(keys.images(job_id, 0))
    commit(redis, jobs, ref)
    assert not redis.exists(keys.images(job_id, 0))


def test_a_part_whose_records_have_expired_leaves_the_backlog(
    jobs: JobRecords, redis: Redis
) -> None:
    job_id, [ref] = submit(jobs, 3)
    redis.delete(keys.job(job_id), keys.part(job_id, 0))
    assert jobs.parts.start([ref], LANE) == []
    assert backlog.of_lane(redis, LANE) == EMPTY


def test_results_live_for_their_full_time_after_the_end(jobs: JobRecords, redis: Redis) -> None:
    job_id, refs = submit(jobs, 33)
    for ref in refs:
        redis.expire(keys.part(job_id, ref.number), 5)
        commit(redis, jobs, ref)
    job = jobs.reader.get(job_id)
    assert redis.ttl(keys.job(job_id)) == redis.ttl(keys.part(job_id, 0)) == 3600
    assert job.finished_at and job.expires_at == pytest.approx(job.finished_at + 3600)


def test_each_commit_is_published(
    jobs: JobRecords, redis: Redis, notices: Callable[[], list[str]]
) -> None:
    job_id, refs = submit(jobs, 33)
    for ref in refs:
        commit(redis, jobs, ref)
    assert notices() == [f"{job_id} running", f"{job_id} completed"]


def test_the_notice_of_a_single_picture_has_its_outcome(
    jobs: JobRecords, redis: Redis, notices: Callable[[], list[str]]
) -> None:
    job_id, [ref] = submit(jobs, 1)
    commit(redis, jobs, ref)
    assert notices() == [f"{job_id} completed {SUCCESS.to_json()}"]
