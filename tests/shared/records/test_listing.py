"""The list of an owner's jobs."""

from __future__ import annotations

from dataclasses import replace

import pytest
from redis import Redis

from shared import keys
from shared.errors import InvalidRequest
from shared.jobs import Lane, OpenJob, new_job_id
from shared.records.job_records import JobRecords
from shared.records.listing import owned_jobs
from tests.conftest import Clock
from tests.support.stored_jobs import new_job


def accept(jobs: JobRecords, clock: Clock, owner: str = "alice") -> str:
    """Store a job, a second after the one before; gives its id."""
    clock.now += 1
    job = replace(new_job(), owner=owner)
    jobs.submitter.accept([job])
    return job.id


def open_job(jobs: JobRecords, clock: Clock, owner: str = "alice") -> str:
    clock.now += 1
    job = OpenJob(id=new_job_id(), lane=Lane.BULK, top_k=1, total=1, owner=owner)
    jobs.submitter.open(job)
    return job.id


def listed(jobs: JobRecords, owner: str = "alice", limit: int = 100) -> list[list[str]]:
    """The ids on each page."""
    pages: list[list[str]] = []
    before: str | None = ""
    while before is not None:
        page = jobs.reader.newest(owner, before=before, limit=limit)
        pages.append([job.id for job in page.jobs])
        before = page.next_before
    return pages


def test_the_newest_job_comes_first_however_it_was_made(jobs: JobRecords, clock: Clock) -> None:
    first, second, third = accept(jobs, clock), open_job(jobs, clock), accept(jobs, clock)
    assert listed(jobs) == [[third, second, first]]


def test_an_owner_sees_no_job_of_another(jobs: JobRecords, clock: Clock) -> None:
    mine, theirs = accept(jobs, clock), accept(jobs, clock, "bob")
    nobodys = open_job(jobs, clock, "")
    assert listed(jobs) == [[mine]]
    assert listed(jobs, "bob") == [[theirs]]
    assert listed(jobs, "") == [[nobodys]]


def test_pages_follow_each_other_also_when_jobs_come_in_between(
    jobs: JobRecords, clock: Clock
) -> None:
    ids = [accept(jobs, clock) for _ in range(5)][::-1]
    assert listed(jobs, limit=2) == [ids[:2], ids[2:4], ids[4:]]
    page = jobs.reader.newest("alice", limit=2)
    accept(jobs, clock)
    following = jobs.reader.newest("alice", before=str(page.next_before), limit=2)
    assert [job.id for job in following.jobs] == ids[2:4]


def test_jobs_that_are_accepted_together_are_all_listed(jobs: JobRecords) -> None:
    together = [replace(new_job(lane=Lane.INTERACTIVE), owner="alice") for _ in range(3)]
    jobs.submitter.accept([*together, replace(new_job(lane=Lane.INTERACTIVE), owner="bob")])
    [page] = listed(jobs)
    assert sorted(page) == sorted(job.id for job in together)


def test_a_job_that_is_not_to_be_listed_costs_no_command(jobs: JobRecords, redis: Redis) -> None:
    jobs.submitter.accept([replace(new_job(), listed=False)])
    assert not redis.keys("jobs:*")


def test_expired_jobs_leave_the_list(
    jobs: JobRecords, redis: Redis, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owned_jobs, "_EXAMINED", 3)
    oldest, *gone = (accept(jobs, clock) for _ in range(8))
    redis.delete(*map(keys.job, gone))
    page = jobs.reader.newest("alice", limit=2)
    assert [job.id for job in page.jobs] == [oldest] and page.next_before is None
    assert redis.zrange(keys.jobs_of("alice"), 0, -1) == [oldest.encode()]


def test_the_list_keeps_the_newest_jobs_and_expires_after_the_last(
    jobs: JobRecords, redis: Redis, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owned_jobs, "MOST_OF_OWNER", 3)
    ids = [accept(jobs, clock) for _ in range(4)]
    assert listed(jobs) == [ids[:0:-1]]
    assert redis.ttl(keys.jobs_of("alice")) == redis.ttl(keys.job(ids[-1])) == 7200


def test_a_job_that_was_given_up_is_not_listed(jobs: JobRecords, clock: Clock) -> None:
    kept, given_up = open_job(jobs, clock), open_job(jobs, clock)
    jobs.canceller.abandon(given_up, None)
    assert listed(jobs) == [[kept]]


def test_a_page_begins_after_a_job_that_has_left_the_list(
    jobs: JobRecords, redis: Redis, clock: Clock
) -> None:
    """A script that deletes each page of its jobs must come to the oldest one."""
    ids = [accept(jobs, clock) for _ in range(5)][::-1]
    page = jobs.reader.newest("alice", limit=2)
    redis.delete(*map(keys.job, ids[:2]))
    assert listed(jobs) == [ids[2:]]  # this takes them out of the list
    following = jobs.reader.newest("alice", before=str(page.next_before), limit=2)
    assert [job.id for job in following.jobs] == ids[2:4]


def test_a_page_may_begin_after_any_listed_job(jobs: JobRecords, clock: Clock) -> None:
    """It is what the release before gave as `next_before`."""
    ids = [accept(jobs, clock) for _ in range(3)][::-1]
    following = jobs.reader.newest("alice", before=ids[0], limit=2)
    assert [job.id for job in following.jobs] == ids[1:]


@pytest.mark.parametrize("before", ["nothing", "nan:a", "soon:a", ":a"])
def test_a_page_after_an_unknown_place_is_refused(
    jobs: JobRecords, clock: Clock, before: str
) -> None:
    accept(jobs, clock)
    with pytest.raises(InvalidRequest, match="next_before"):
        jobs.reader.newest("alice", before=before, limit=2)
