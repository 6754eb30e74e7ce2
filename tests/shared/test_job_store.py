"""Records of jobs, against a real Redis."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping

import pytest
from redis import Redis
from redis.exceptions import RedisError

from shared import keys
from shared.errors import EmptyFile, JobNotFound
from shared.records.load import backlog
from shared.records.job_records import JobRecords
from shared.jobs import (
    PART_SIZE,
    Durations,
    ItemState,
    JobState,
    Lane,
    NewItem,
    NewJob,
    Outcome,
    PartRef,
    Prediction,
    new_job_id,
)

LANE = Lane.BULK


def new_item(name: str = "cat.jpg", outcome: Outcome | None = None) -> NewItem:
    return NewItem(name=name, digest=f"digest of {name}", data=name.encode(), outcome=outcome)


def success(label: str = "cat") -> Outcome:
    return Outcome(
        state=ItemState.SUCCEEDED,
        predictions=(Prediction(281, label, 0.9),),
        model_version="m-1",
        durations=Durations(queue_ms=1.0, preprocess_ms=2.0, inference_ms=3.0),
    )


def submit(jobs: JobRecords, items: int | list[NewItem]) -> tuple[str, list[PartRef]]:
    job_id = new_job_id()
    if isinstance(items, int):
        items = [new_item(f"{k}.jpg") for k in range(items)]
    jobs.submitter.accept([NewJob(id=job_id, lane=LANE, top_k=5, items=items)])
    starts = range(0, len(items), PART_SIZE)
    pending = [sum(item.outcome is None for item in items[k : k + PART_SIZE]) for k in starts]
    return job_id, [PartRef(job_id, n, images) for n, images in enumerate(pending) if images]


def commit(jobs: JobRecords, redis: Redis, ref: PartRef, outcomes: Mapping[int, Outcome]) -> int:
    pipe = redis.pipeline(transaction=False)
    jobs.parts.commit(pipe, ref, LANE, outcomes)
    [written] = pipe.execute()
    return int(written)


def test_a_new_job_is_outstanding_until_its_last_part_is_committed(
    jobs: JobRecords, redis: Redis
) -> None:
    job_id, refs = submit(jobs, 33)

    assert [ref.images for ref in refs] == [32, 1]
    assert backlog.of_lane(redis, LANE)[:2] == (2, 33)
    assert jobs.reader.get(job_id).state is JobState.QUEUED

    jobs.parts.start(refs, LANE)
    commit(jobs, redis, refs[0], {k: success() for k in range(32)})
    assert backlog.of_lane(redis, LANE)[:2] == (1, 1)
    assert jobs.reader.get(job_id).state is JobState.RUNNING

    commit(jobs, redis, refs[1], {0: success()})
    job = jobs.reader.get(job_id)
    assert backlog.of_lane(redis, LANE) == (0, 0, None)
    assert (job.state, job.succeeded, job.queued) == (JobState.COMPLETED, 33, 0)
    assert job.finished_at and job.finished_at >= job.created_at


def test_a_second_commit_changes_nothing(jobs: JobRecords, redis: Redis) -> None:
    job_id, [ref] = submit(jobs, 2)

    assert commit(jobs, redis, ref, {0: success("first"), 1: success("first")}) == 2
    assert commit(jobs, redis, ref, {0: success("second"), 1: success("second")}) == 0

    job = jobs.reader.get(job_id)
    labels = [
        item.outcome and item.outcome.predictions[0].class_name for item in _all(jobs, job_id)
    ]
    assert labels == ["first", "first"]
    assert (job.succeeded, job.failed) == (2, 0)
    assert backlog.of_lane(redis, LANE)[:2] == (0, 0)


def test_a_part_may_be_committed_in_pieces(jobs: JobRecords, redis: Redis) -> None:
    job_id, [ref] = submit(jobs, 3)
    commit(jobs, redis, ref, {1: success()})

    assert backlog.of_lane(redis, LANE)[:2] == (1, 2)
    [work] = jobs.parts.start([ref], LANE)
    assert sorted(work.digests) == [0, 2]

    commit(jobs, redis, ref, {0: success(), 1: success(), 2: success()})
    assert backlog.of_lane(redis, LANE)[:2] == (0, 0)
    assert jobs.reader.get(job_id).succeeded == 3


def test_starting_counts_the_attempt_and_pushes_the_deadline_out(
    jobs: JobRecords, redis: Redis
) -> None:
    job_id, [ref] = submit(jobs, 1)
    redis.zadd(keys.outstanding(LANE), {ref.member: 1.0})

    assert [work.attempt for work in jobs.parts.start([ref], LANE)] == [1]
    assert [work.attempt for work in jobs.parts.start([ref], LANE)] == [2]
    assert (backlog.of_lane(redis, LANE).oldest_deadline or 0) > 1.0
    job = jobs.reader.get(job_id)
    assert job.state is JobState.RUNNING and job.started_at


def test_work_brings_the_bytes_of_each_image(jobs: JobRecords) -> None:
    _, [ref] = submit(jobs, 2)
    [work] = jobs.parts.start([ref], LANE)
    assert work.images == {0: b"0.jpg", 1: b"1.jpg"}
    assert work.digests == {0: "digest of 0.jpg", 1: "digest of 1.jpg"}


def test_a_committed_part_is_not_started_again(jobs: JobRecords, redis: Redis) -> None:
    _, [ref] = submit(jobs, 1)
    commit(jobs, redis, ref, {0: success()})
    assert jobs.parts.start([ref], LANE) == []


def test_bytes_are_gone_at_commit(jobs: JobRecords, redis: Redis) -> None:
    job_id, [ref] = submit(jobs, 1)
    assert redis.exists(keys.images(job_id, 0))
    commit(jobs, redis, ref, {0: success()})
    assert not redis.exists(keys.images(job_id, 0))


def test_an_item_known_at_submission_never_waits(jobs: JobRecords) -> None:
    bad = Outcome.failure(EmptyFile())
    job_id, refs = submit(jobs, [new_item(outcome=success()), new_item(), new_item(outcome=bad)])

    assert [ref.images for ref in refs] == [1]
    [work] = jobs.parts.start(refs, LANE)
    assert list(work.images) == [1]
    job = jobs.reader.get(job_id)
    assert (job.total, job.succeeded, job.failed, job.cached, job.queued) == (3, 1, 1, 1, 1)


def test_a_job_whose_items_are_all_known_is_complete_at_once(
    jobs: JobRecords, redis: Redis
) -> None:
    job_id, refs = submit(jobs, [new_item(outcome=success())])
    assert refs == []
    assert jobs.reader.get(job_id).state is JobState.COMPLETED
    assert backlog.of_lane(redis, LANE)[:2] == (0, 0)
    assert not redis.llen(LANE)


def test_bad_pictures_leave_the_model_that_others_were_seen_by(
    jobs: JobRecords, redis: Redis
) -> None:
    job_id, [ref] = submit(jobs, [new_item(outcome=success()), new_item(), new_item()])
    for position in (1, 2):
        commit(jobs, redis, ref, {position: Outcome.failure(EmptyFile())})
        assert jobs.reader.get(job_id).model_version == "m-1"


def test_items_come_in_input_order_across_parts(jobs: JobRecords) -> None:
    job_id, _ = submit(jobs, 70)
    names = [item.name for item in jobs.reader.items(job_id, 30, 66)]
    assert names == [f"{k}.jpg" for k in range(30, 66)]


def test_an_unknown_job_is_not_found(jobs: JobRecords) -> None:
    with pytest.raises(JobNotFound):
        jobs.reader.get(new_job_id())


def test_a_part_whose_records_expired_leaves_outstanding(jobs: JobRecords, redis: Redis) -> None:
    job_id, [ref] = submit(jobs, 3)
    redis.delete(keys.job(job_id), keys.part(job_id, 0))
    assert jobs.parts.start([ref], LANE) == []
    assert backlog.of_lane(redis, LANE)[:2] == (0, 0)


def test_records_outlive_the_images(jobs: JobRecords, redis: Redis) -> None:
    job_id, _ = submit(jobs, 1)
    assert redis.ttl(keys.images(job_id, 0)) == 3600
    assert redis.ttl(keys.part(job_id, 0)) == redis.ttl(keys.job(job_id)) == 7200


def test_results_live_for_their_full_time_after_the_end(jobs: JobRecords, redis: Redis) -> None:
    job_id, refs = submit(jobs, 33)
    for ref in refs:
        redis.expire(keys.part(job_id, ref.number), 5)
        commit(jobs, redis, ref, {k: success() for k in range(ref.images)})
    job = jobs.reader.get(job_id)
    assert redis.ttl(keys.job(job_id)) == redis.ttl(keys.part(job_id, 0)) == 3600
    assert job.finished_at and job.expires_at == pytest.approx(job.finished_at + 3600)


def test_items_are_told_in_the_order_in_which_they_finished(jobs: JobRecords, redis: Redis) -> None:
    items = [new_item(f"{k}.jpg") for k in range(34)]
    items[3] = new_item("known.jpg", outcome=success())
    job_id, [first, second] = submit(jobs, items)
    assert jobs.reader.finished(job_id, 0, 9) == [3]

    commit(jobs, redis, second, {1: success()})
    commit(jobs, redis, first, {5: success()})
    commit(jobs, redis, second, {0: success(), 1: success()})
    assert jobs.reader.finished(job_id, 0, 9) == [3, 33, 5, 32]
    assert jobs.reader.finished(job_id, 1, 3) == [33, 5]
    told = jobs.reader.items_at(job_id, [33, 0, 3, 33])
    assert [(item.index, item.name, item.state) for item in told] == [
        (33, "33.jpg", ItemState.SUCCEEDED),
        (0, "0.jpg", ItemState.QUEUED),
        (3, "known.jpg", ItemState.SUCCEEDED),
        (33, "33.jpg", ItemState.SUCCEEDED),
    ]
    assert 7000 < redis.ttl(keys.finished(job_id)) <= 7200


def test_a_single_picture_is_told_without_a_list(jobs: JobRecords, redis: Redis) -> None:
    job_id, [ref] = submit(jobs, 1)
    assert jobs.reader.finished(job_id, 0, 9) == []
    commit(jobs, redis, ref, {0: success()})
    assert jobs.reader.finished(job_id, 0, 9) == [0]
    assert jobs.reader.finished(job_id, 1, 9) == []
    assert not redis.exists(keys.finished(job_id))


def test_each_commit_tells_those_who_wait(jobs: JobRecords, redis: Redis) -> None:
    pubsub = redis.pubsub(ignore_subscribe_messages=True)
    pubsub.subscribe(keys.COMMITTED)
    pubsub.get_message(timeout=1)
    job_id, refs = submit(jobs, 33)
    for ref in refs:
        commit(jobs, redis, ref, {k: success() for k in range(ref.images)})
    notices = [pubsub.get_message(timeout=1) for _ in refs]
    pubsub.close()
    assert [notice and notice["data"].decode() for notice in notices] == [
        f"{job_id} running",
        f"{job_id} completed",
    ]


def test_the_notice_of_a_single_picture_carries_its_outcome(jobs: JobRecords, redis: Redis) -> None:
    pubsub = redis.pubsub(ignore_subscribe_messages=True)
    pubsub.subscribe(keys.COMMITTED)
    pubsub.get_message(timeout=1)
    job_id, [ref] = submit(jobs, 1)
    commit(jobs, redis, ref, {0: success()})
    notice = pubsub.get_message(timeout=1)
    pubsub.close()
    assert notice and notice["data"].decode() == f"{job_id} completed {success().to_json()}"


def test_what_is_accepted_is_queued_in_the_same_breath(jobs: JobRecords, redis: Redis) -> None:
    job_id, refs = submit(jobs, 33)
    queued = [_parts(text) for text in redis.lrange(LANE, 0, -1)]
    assert queued[::-1] == [[list(ref)] for ref in refs]


def test_small_jobs_that_are_accepted_together_share_a_message(
    jobs: JobRecords, redis: Redis
) -> None:
    new = [
        NewJob(id=f"j{k}", lane=Lane.INTERACTIVE, top_k=5, items=[new_item() for _ in range(15)])
        for k in range(3)
    ]
    jobs.submitter.accept(new)
    queued = [_parts(text) for text in redis.lrange(Lane.INTERACTIVE, 0, -1)]
    assert queued[::-1] == [[["j0", 0, 15, None], ["j1", 0, 15, None]], [["j2", 0, 15, None]]]
    assert backlog.of_lane(redis, Lane.INTERACTIVE)[:2] == (3, 45)


def test_a_redis_that_is_full_stores_nothing_of_a_job(jobs: JobRecords, redis: Redis) -> None:
    used = redis.info("memory")["used_memory"]
    redis.config_set("maxmemory", used + 200_000)
    try:
        with pytest.raises(RedisError):
            for _ in range(100):
                submit(jobs, [NewItem(name="big", digest="d", data=bytes(20_000))])
        whole = len(redis.keys("job:*"))
        assert whole == len(redis.keys("part:*")) == len(redis.keys("images:*"))
        waiting = redis.llen(LANE) + redis.zcard(keys.waiting(LANE))
        assert whole == waiting == backlog.of_lane(redis, LANE).parts > 0
    finally:
        redis.config_set("maxmemory", 0)


def _parts(text: bytes) -> list[list[object]]:
    body = json.loads(base64.b64decode(json.loads(text)["body"]))
    parts: list[list[object]] = body[0][0]
    return parts


def _all(jobs: JobRecords, job_id: str) -> list:  # type: ignore[type-arg]
    return jobs.reader.items(job_id, 0, jobs.reader.get(job_id).total)
