"""Reading jobs and their items."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from redis import Redis

from shared import keys
from shared.errors import JobNotFound
from shared.jobs import ItemState, NewItem, NewJob, Outcome, PartRef, new_job_id
from shared.records.job_records import JobRecords
from tests.shared.records.parts import CACHED, LANE, SUCCESS, commit


def submit(jobs: JobRecords, images: int, outcomes: Mapping[int, Outcome] | None = None) -> str:
    job_id = new_job_id()
    items = [
        NewItem(name=f"{k}.jpg", digest=str(k), data=b"data", outcome=(outcomes or {}).get(k))
        for k in range(images)
    ]
    jobs.submitter.accept([NewJob(id=job_id, lane=LANE, top_k=5, items=items)])
    return job_id


def test_an_unknown_job_is_not_found(jobs: JobRecords) -> None:
    with pytest.raises(JobNotFound):
        jobs.reader.get(new_job_id())


def test_items_are_in_input_order_across_parts(jobs: JobRecords) -> None:
    job_id = submit(jobs, 70)
    names = [item.name for item in jobs.reader.items(job_id, 30, 66)]
    assert names == [f"{k}.jpg" for k in range(30, 66)]


def test_items_are_listed_in_the_order_in_which_they_finish(jobs: JobRecords, redis: Redis) -> None:
    job_id = submit(jobs, 34, {3: CACHED})
    first, second = PartRef(job_id, 0, 31), PartRef(job_id, 1, 2)
    assert jobs.reader.finished(job_id, 0, 9) == [3]

    commit(redis, jobs, second, {1: SUCCESS})
    commit(redis, jobs, first, {5: SUCCESS})
    commit(redis, jobs, second, {0: SUCCESS, 1: SUCCESS})
    assert jobs.reader.finished(job_id, 0, 9) == [3, 33, 5, 32]
    assert jobs.reader.finished(job_id, 1, 3) == [33, 5]
    assert 7000 < redis.ttl(keys.finished(job_id)) <= 7200


def test_items_can_be_read_by_index(jobs: JobRecords, redis: Redis) -> None:
    job_id = submit(jobs, 34, {3: CACHED})
    commit(redis, jobs, PartRef(job_id, 1, 2), {1: SUCCESS})
    items = jobs.reader.items_at(job_id, [33, 0, 3, 33])
    assert [(item.index, item.name, item.state) for item in items] == [
        (33, "33.jpg", ItemState.SUCCEEDED),
        (0, "0.jpg", ItemState.QUEUED),
        (3, "3.jpg", ItemState.SUCCEEDED),
        (33, "33.jpg", ItemState.SUCCEEDED),
    ]


def test_a_job_of_one_picture_needs_no_list(jobs: JobRecords, redis: Redis) -> None:
    job_id = submit(jobs, 1)
    assert jobs.reader.finished(job_id, 0, 9) == []
    commit(redis, jobs, PartRef(job_id, 0, 1))
    assert jobs.reader.finished(job_id, 0, 9) == [0]
    assert jobs.reader.finished(job_id, 1, 9) == []
    assert not redis.exists(keys.finished(job_id))
