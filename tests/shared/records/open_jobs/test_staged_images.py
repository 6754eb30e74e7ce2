"""Images of many bytes are stored a few at a time, before their job is accepted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from redis import Redis
from redis.client import Pipeline
from redis.exceptions import ConnectionError, OutOfMemoryError, TimeoutError

from shared import keys
from shared.errors import Unavailable
from shared.jobs import JobState, NewItem, NewJob, OpenJob, PartRef, new_job_id
from shared.records import images
from shared.records.claims import AlreadyClaimed, Claim
from shared.records.images import stage, staged
from shared.records.job_records import JobRecords
from shared.records.load import backlog
from tests.shared.records.parts import CACHED, EMPTY, LANE, commit, nothing_is_held
from tests.support.servers.memory_limit import memory_limit

MEGABYTE = 2**20


def new_job(*sizes: int) -> NewJob:
    """A job of an image for each size; an image of no bytes was answered from the cache."""
    items = [
        NewItem(name="", digest=f"{k}", data=bytes([k]) * size, outcome=None if size else CACHED)
        for k, size in enumerate(sizes)
    ]
    return NewJob(id=new_job_id(), lane=LANE, top_k=1, items=items)


def images_of(jobs: JobRecords, job: NewJob, parts: Sequence[int]) -> list[dict[int, int]]:
    """The size of each image, by part and position, as a worker gets them."""
    refs = [PartRef(job.id, number, images) for number, images in enumerate(parts)]
    return [dict(work.sizes) for work in jobs.parts.start(refs, LANE)]


def test_staged_images_belong_to_the_job_once_it_is_accepted(
    jobs: JobRecords, redis: Redis
) -> None:
    job = stage(redis, new_job(MEGABYTE, 0, 2 * MEGABYTE))
    assert [item.data for item in job.items] == [b"", b"", b""]
    assert redis.ttl(keys.images(job.id, 0)) <= 120
    jobs.submitter.accept([job])
    assert redis.ttl(keys.images(job.id, 0)) > 120
    assert images_of(jobs, job, [2]) == [{0: MEGABYTE, 2: 2 * MEGABYTE}]
    assert backlog.read(redis).bytes_held == 3 * MEGABYTE
    commit(redis, jobs, PartRef(job.id, 0, 2), dict.fromkeys((0, 2), CACHED))
    assert jobs.reader.get(job.id).state is JobState.COMPLETED
    assert nothing_is_held(redis)


def test_images_of_few_bytes_are_not_staged(redis: Redis) -> None:
    job = new_job(*[MEGABYTE // 4] * 4)
    assert stage(redis, job) is job
    assert not redis.keys("*")


def test_each_round_trip_has_a_few_megabytes(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    assert images.BYTES_AT_ONCE == 2 * MEGABYTE
    monkeypatch.setattr(images, "BYTES_AT_ONCE", 800)
    monkeypatch.setattr(images, "_LEAST_BYTES", 100)
    with redis.monitor() as monitor:
        job = stage(redis, new_job(*[300] * 33))
        redis.echo("done")
        commands = list(iter(lambda: monitor.next_command()["command"], "ECHO done"))
    assert commands.count("EXEC") == 17, "two images at a time"
    assert redis.hlen(keys.images(job.id, 0)) == 32 and redis.hlen(keys.images(job.id, 1)) == 1


def test_a_job_whose_staged_images_have_expired_is_not_accepted(
    jobs: JobRecords, redis: Redis
) -> None:
    job = stage(redis, new_job(2 * MEGABYTE))
    redis.delete(keys.images(job.id, 0))  # as after two minutes
    with pytest.raises(Unavailable):
        jobs.submitter.accept([job])
    assert backlog.of_lane(redis, LANE) == EMPTY
    assert not redis.keys("job:*")


def test_jobs_are_accepted_together_if_some_are_staged(jobs: JobRecords, redis: Redis) -> None:
    large, small = stage(redis, new_job(2 * MEGABYTE)), new_job(1000)
    jobs.submitter.accept([small, large])
    assert images_of(jobs, large, [1]) == [{0: 2 * MEGABYTE}]
    assert images_of(jobs, small, [1]) == [{0: 1000}]


def test_a_claim_holds_for_a_staged_job(jobs: JobRecords, redis: Redis) -> None:
    claim = Claim("", "key", "fingerprint")
    first = stage(redis, new_job(2 * MEGABYTE))
    jobs.submitter.accept([first], claim)
    with pytest.raises(AlreadyClaimed) as raised:
        jobs.submitter.accept([stage(redis, replace(first, id=new_job_id()))], claim)
    assert raised.value.job_id == first.id


def test_the_images_of_a_refused_job_are_deleted_at_once(jobs: JobRecords, redis: Redis) -> None:
    claim = Claim("", "key", "fingerprint")
    first = new_job(2 * MEGABYTE)
    with staged(redis, first) as without_bytes:
        jobs.submitter.accept([without_bytes], claim)
    second = replace(first, id=new_job_id())
    with pytest.raises(AlreadyClaimed), staged(redis, second) as without_bytes:
        jobs.submitter.accept([without_bytes], claim)
    assert redis.keys("images:*") == [keys.images(first.id, 0).encode()]


def test_after_a_lost_connection_the_images_are_kept_for_a_while(redis: Redis) -> None:
    """The job may have been accepted."""
    job = new_job(2 * MEGABYTE)
    with pytest.raises(TimeoutError), staged(redis, job):
        raise TimeoutError
    assert redis.hlen(keys.images(job.id, 0)) == 1


@pytest.mark.parametrize("claim", [None, Claim("", "key", "fingerprint")])
def test_an_accepted_job_keeps_its_images_if_the_answer_of_redis_is_lost(
    jobs: JobRecords, redis: Redis, monkeypatch: pytest.MonkeyPatch, claim: Claim | None
) -> None:
    """redis-py then raises WatchError, as if another request had been faster."""
    parse = Pipeline.parse_response

    def lose_the_last_answer(pipe: Pipeline, *arguments: Any, **options: Any) -> Any:
        answer = parse(pipe, *arguments, **options)
        if isinstance(answer, list):  # to EXEC
            raise ConnectionError
        return answer

    job = new_job(2 * MEGABYTE)
    with pytest.raises((AlreadyClaimed, Unavailable)), staged(redis, job) as without_bytes:
        with monkeypatch.context() as patch:
            patch.setattr(Pipeline, "parse_response", lose_the_last_answer)
            jobs.submitter.accept([without_bytes], claim)
    assert images_of(jobs, job, [1]) == [{0: 2 * MEGABYTE}]


def test_a_full_redis_keeps_no_staged_images(
    jobs: JobRecords, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "BYTES_AT_ONCE", MEGABYTE)
    opened = OpenJob(id=new_job_id(), lane=LANE, top_k=1, total=8)
    jobs.submitter.open(opened)
    job = new_job(*[MEGABYTE] * 8)
    with memory_limit(redis, redis.info("memory")["used_memory"] + 4 * MEGABYTE):
        with pytest.raises(OutOfMemoryError), staged(redis, job):
            pass
        with pytest.raises(OutOfMemoryError):
            jobs.submitter.put_part(jobs.reader.get(opened.id), 0, job.items)
        assert not redis.keys("images:*") and not redis.keys("staged*")
