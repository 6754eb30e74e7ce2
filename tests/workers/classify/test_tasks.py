"""A micro-batch is processed in runs of the engine, and each run is committed at its end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from redis import Redis

from shared.records.load import backlog
from shared.records.job_records import JobRecords
from shared.jobs import JobState, Lane, NewItem, NewJob, PartRef, new_job_id
from shared.thumbnails import Thumbnails
from tests.support.servers.memory_limit import memory_limit
from tests.workers.classify.new_classifier import new_classifier
from tests.workers.engine.tiny_export import tiny_settings
from workers.engine import Engine, load_engine
from workers.classify.tasks import BatchClassifier


class MortalEngine:
    """An engine that stops after `last` runs, as if its process were killed."""

    def __init__(self, engine: Engine) -> None:
        self.name = engine.name
        self.model = engine.model
        self.pictures_at_once = engine.pictures_at_once
        self.runs: list[int] = []
        self.last = 1000
        self._engine = engine

    def predict(self, pixels: NDArray[np.uint8], *, alone: bool = False) -> NDArray[np.float32]:
        if len(self.runs) == self.last:
            raise KeyboardInterrupt
        self.runs.append(len(pixels))
        return self._engine.predict(pixels, alone=alone)


@pytest.fixture
def engine(tmp_path: Path) -> MortalEngine:
    return MortalEngine(load_engine(tiny_settings(tmp_path)))


@pytest.fixture
def classifier(engine: MortalEngine, redis: Redis, jobs: JobRecords) -> BatchClassifier:
    return new_classifier(engine, redis, jobs)


def submit(jobs: JobRecords, pictures: Sequence[Path], sizes: Sequence[int]) -> list[PartRef]:
    """A job of one part for each size."""
    refs = []
    for size in sizes:
        items = [
            NewItem(name=path.name, digest=path.name, data=path.read_bytes())
            for path in pictures[:size]
        ]
        job_id = new_job_id()
        jobs.submitter.accept([NewJob(id=job_id, lane=Lane.INTERACTIVE, top_k=1, items=items)])
        refs.append(PartRef(job_id, 0, size))
    return refs


def states(jobs: JobRecords, refs: Sequence[PartRef]) -> list[JobState]:
    return [jobs.reader.get(ref.job_id).state for ref in refs]


def test_whole_parts_run_together_until_the_engine_has_enough_images(
    classifier: BatchClassifier, engine: MortalEngine, jobs: JobRecords, pictures: list[Path]
) -> None:
    assert engine.pictures_at_once == 8
    refs = submit(jobs, pictures, [1] * 10 + [5, 32, 1])
    assert classifier.classify(refs) == 48
    assert engine.runs == [8, 39, 1]
    assert set(states(jobs, refs)) == {JobState.COMPLETED}


def test_the_cache_is_written_before_the_end_is_published(
    classifier: BatchClassifier, jobs: JobRecords, redis: Redis, pictures: list[Path]
) -> None:
    refs = submit(jobs, pictures, [2])
    with redis.monitor() as monitor:
        classifier.classify(refs)
        redis.echo("done")
        commands = list(iter(lambda: monitor.next_command()["command"], "ECHO done"))
    cached = [k for k, command in enumerate(commands) if command.startswith("SET result:")]
    [end] = [k for k, command in enumerate(commands) if command.lower().startswith("publish")]
    assert len(cached) == 2 and max(cached) < end


def test_an_earlier_run_stays_committed_if_a_later_one_fails(
    classifier: BatchClassifier,
    engine: MortalEngine,
    jobs: JobRecords,
    redis: Redis,
    pictures: list[Path],
) -> None:
    refs = submit(jobs, pictures, [8, 8])
    engine.last = 1
    with pytest.raises(KeyboardInterrupt):
        classifier.classify(refs)
    assert states(jobs, refs) == [JobState.COMPLETED, JobState.RUNNING]
    assert int(redis.get("outstanding_images:interactive") or 0) == 8

    engine.last = 1000
    assert classifier.classify(refs) == 8, "pictures with an outcome are not classified again"
    assert states(jobs, refs) == [JobState.COMPLETED] * 2
    assert int(redis.get("outstanding_images:interactive") or 0) == 0
    assert backlog.of_lane(redis, Lane.INTERACTIVE) == (0, 0, None)


def test_a_job_that_asks_for_thumbnails_gets_them(
    classifier: BatchClassifier, redis: Redis, jobs: JobRecords, pictures: list[Path]
) -> None:
    thumbnails = Thumbnails(redis, ttl_seconds=60)
    for asked in (False, True):
        items = [NewItem(name="", digest="d", data=pictures[0].read_bytes())]
        job = NewJob(id=new_job_id(), lane=Lane.INTERACTIVE, top_k=1, items=items, thumbnails=asked)
        jobs.submitter.accept([job])
        assert jobs.reader.get(job.id).thumbnails is asked
        classifier.classify([PartRef(job.id, 0, 1)])
        jpeg = thumbnails.get("d")
        assert bool(jpeg) is asked
        assert jpeg is None or jpeg.startswith(b"\xff\xd8")
    assert 60 < redis.ttl("thumbnail:d") <= 120


def test_a_full_redis_gets_the_results_of_a_job_and_no_thumbnails(
    classifier: BatchClassifier, redis: Redis, jobs: JobRecords, pictures: list[Path]
) -> None:
    """A refused thumbnail would make its commit look as if it had failed."""
    items = [NewItem(name="", digest="d", data=pictures[0].read_bytes())]
    job = NewJob(id=new_job_id(), lane=Lane.INTERACTIVE, top_k=1, items=items, thumbnails=True)
    jobs.submitter.accept([job])
    with memory_limit(redis, 1):
        assert classifier.classify([PartRef(job.id, 0, 1)]) == 1
    assert jobs.reader.get(job.id).succeeded == 1
    assert not redis.exists("thumbnail:d")


def test_pictures_of_many_bytes_are_classified_as_others(
    classifier: BatchClassifier, engine: MortalEngine, jobs: JobRecords, pictures: list[Path]
) -> None:
    items = [
        NewItem(name="", digest=f"{k}", data=pictures[0].read_bytes().ljust(2**21, b"\0"))
        for k in range(10)
    ]
    job_id = new_job_id()
    jobs.submitter.accept([NewJob(id=job_id, lane=Lane.INTERACTIVE, top_k=1, items=items)])
    assert classifier.classify([PartRef(job_id, 0, 10)]) == 10
    assert engine.runs == [10], "reading a few at a time does not split the run"
    assert jobs.reader.get(job_id).succeeded == 10
