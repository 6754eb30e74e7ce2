"""The estimate of what records take is compared with what a real Redis then uses."""

from __future__ import annotations

from dataclasses import replace

import pytest
from redis import Redis

from shared.jobs import (
    MAX_TOP_K,
    Durations,
    ItemState,
    Lane,
    NewItem,
    NewJob,
    OpenJob,
    Outcome,
    PartRef,
    Prediction,
    new_job_id,
)
from shared.records import footprint
from shared.records.claims import Claim
from shared.records.job_records import JobRecords
from shared.result_cache import ResultCache

#: Jobs with one image. So many that buffers and tables of a fixed size do not matter.
COUNT = 1000


def outcome() -> Outcome:
    """A long one: long labels, and probabilities with all their digits."""
    label = "a label that is a little longer than most others"
    return Outcome(
        state=ItemState.SUCCEEDED,
        predictions=tuple(Prediction(k, label, 0.12345678901234567) for k in range(MAX_TOP_K)),
        model_version="mobilenet_v3_large-5c1a4163aaaa-p2",
        durations=Durations(queue_ms=12345.678, preprocess_ms=123.456, inference_ms=123.456),
    )


@pytest.mark.parametrize("images", [1, 32])
@pytest.mark.parametrize(
    "name, embeddings", [("photo.jpg", 0), ("a" * 512, 0), ("猫" * 512, 0), ("photo.jpg", 1280)]
)
def test_results_and_records_take_no_more_than_is_reserved(
    redis: Redis, jobs: JobRecords, images: int, name: str, embeddings: int
) -> None:
    result = replace(outcome(), embedding=bytes(2 * embeddings))
    cache = ResultCache(redis, ttl_seconds=60)
    before = redis.info("memory")["used_memory"]
    reserved = 0
    for _ in range(COUNT // images + 100):
        digests = [f"{new_job_id()}{new_job_id()}" for _ in range(images)]
        items = [
            NewItem(name=name, digest=each, data=b".", custom_id="i" * 128) for each in digests
        ]
        job = NewJob(
            id=new_job_id(),
            lane=Lane.BULK,
            top_k=10,
            items=items,
            webhook="https://a.b/" + "c" * 512,
            embeddings=embeddings,
        )
        jobs.submitter.accept([job], Claim("somebody", job.id * 8, job.id * 2))
        pipe = redis.pipeline(transaction=False)
        cache.put(pipe, dict.fromkeys(digests, result))
        ref = PartRef(job.id, 0, images)
        jobs.parts.commit(pipe, ref, job.lane, dict.fromkeys(range(images), result))
        pipe.execute()
        reserved += footprint.of_items(items, embeddings=embeddings)
    used = redis.info("memory")["used_memory"] - before
    assert reserved / 8 < used < reserved


def test_open_jobs_take_no_more_than_is_reserved(redis: Redis, jobs: JobRecords) -> None:
    before = redis.info("memory")["used_memory"]
    for k in range(COUNT):
        job = OpenJob(id=new_job_id(), lane=Lane.BULK, top_k=5, total=500_000, client=f"{k}")
        jobs.submitter.open(job)
    used = redis.info("memory")["used_memory"] - before
    assert COUNT * footprint.of_open_job(500_000) / 8 < used
    assert used < COUNT * footprint.of_open_job(500_000)


@pytest.mark.parametrize("size", [40_000, 100_000, 2**20, 5_000_000, 17 * 2**20, 20 * 2**20])
def test_an_image_takes_what_is_reserved(redis: Redis, size: int) -> None:
    redis.hset("images", "first", bytes(size))  # and Redis has a buffer for such commands
    before = redis.info("memory")["used_memory"]
    number = max(4, 2**24 // size)
    for k in range(number):
        redis.hset("images", str(k), bytes(size))
    each = (redis.info("memory")["used_memory"] - before) / number
    assert footprint.of_image(size) == pytest.approx(each, rel=0.02)
