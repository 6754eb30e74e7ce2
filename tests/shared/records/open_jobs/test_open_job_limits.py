"""How many jobs one client may have open."""

from __future__ import annotations

import pytest
from redis import Redis

from shared import keys
from shared.errors import TooManyOpenJobs
from shared.jobs import Lane, NewItem, OpenJob, new_job_id
from shared.records.job_records import JobRecords


@pytest.fixture
def jobs(redis: Redis) -> JobRecords:
    return JobRecords(
        redis,
        result_ttl_seconds=3600,
        part_deadline_seconds=60,
        max_open_jobs=2,
        max_open_images=100,
    )


def open_job(jobs: JobRecords, total: int = 1, client: str = "one") -> str:
    job = OpenJob(id=new_job_id(), lane=Lane.BULK, top_k=5, total=total, client=client)
    jobs.submitter.open(job)
    return job.id


def test_a_client_has_a_limit_of_open_jobs_of_its_own(jobs: JobRecords, redis: Redis) -> None:
    open_job(jobs), open_job(jobs)
    before = redis.keys()
    with pytest.raises(TooManyOpenJobs):
        open_job(jobs)
    assert redis.keys() == before, "nothing is stored"
    open_job(jobs, client="other")


def test_the_pictures_of_open_jobs_have_a_limit_together(jobs: JobRecords) -> None:
    open_job(jobs, 60)
    with pytest.raises(TooManyOpenJobs):
        open_job(jobs, 41)
    open_job(jobs, 40)


def test_a_single_job_may_be_of_any_size(jobs: JobRecords) -> None:
    open_job(jobs, 1000)
    with pytest.raises(TooManyOpenJobs):
        open_job(jobs)


def test_a_job_counts_until_it_has_all_its_parts_or_ends(jobs: JobRecords, redis: Redis) -> None:
    filled, cancelled = open_job(jobs), open_job(jobs)
    item = NewItem(name="", digest="d", data=b"picture")
    jobs.submitter.put_part(jobs.reader.get(filled), 0, [item])
    jobs.canceller.cancel(cancelled)
    expired, _ = open_job(jobs), open_job(jobs)
    redis.delete(keys.job(expired))
    open_job(jobs)
    with pytest.raises(TooManyOpenJobs):
        open_job(jobs)


def test_the_list_of_open_jobs_expires(jobs: JobRecords, redis: Redis) -> None:
    open_job(jobs)
    assert 0 < redis.ttl(keys.open_jobs("one")) <= 2 * 3600
