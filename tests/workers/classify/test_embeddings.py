"""Pictures whose job asks get an embedding. The others of their micro-batch get none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from redis import Redis

from shared import keys
from shared.jobs import ItemState, Lane, NewItem, NewJob, PartRef, new_job_id
from shared.records.job_records import JobRecords
from shared.result_cache import ResultCache
from tests.workers.classify.new_classifier import new_classifier
from tests.workers.engine.tiny_export import tiny_settings
from workers.engine import Engine, load_engine

SIZE = 6


class EmbeddingEngine:
    """The engine of the tiny export, with an embedding that comes from its scores."""

    def __init__(self, engine: Engine, size: int = SIZE) -> None:
        self.name, self.precision = engine.name, engine.precision
        self.model = replace(engine.model, embedding=size)
        self.pictures_at_once = engine.pictures_at_once
        self.calls: list[str] = []
        self._engine = engine

    def predict(self, pixels: NDArray[np.uint8], *, alone: bool = False) -> NDArray[np.float32]:
        self.calls.append("predict")
        return self._engine.predict(pixels, alone=alone)

    def predict_and_embed(self, pixels: NDArray[np.uint8], *, alone: bool = False) -> Any:
        self.calls.append("embed")
        scores = self._engine.predict(pixels, alone=alone)
        return scores, np.tile(1000 * scores, 2)[:, : self.model.embedding]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return load_engine(tiny_settings(tmp_path_factory.mktemp("tiny")))


def submit(jobs: JobRecords, files: Sequence[Path], embeddings: int) -> PartRef:
    items = [NewItem(name="", digest=each.name, data=each.read_bytes()) for each in files]
    job = NewJob(
        id=new_job_id(), lane=Lane.INTERACTIVE, top_k=1, items=items, embeddings=embeddings
    )
    jobs.submitter.accept([job])
    assert jobs.reader.get(job.id).embeddings == embeddings
    return PartRef(job.id, 0, len(items))


def embeddings(jobs: JobRecords, ref: PartRef) -> list[bytes]:
    items = jobs.reader.items(ref.job_id, 0, ref.images)
    return [item.outcome.embedding if item.outcome else b"" for item in items]


def test_only_those_that_ask_get_one(
    tiny: Engine, redis: Redis, jobs: JobRecords, pictures: list[Path]
) -> None:
    engine = EmbeddingEngine(tiny)
    asking, other = submit(jobs, pictures[:3], SIZE), submit(jobs, pictures[3:5], 0)
    assert embeddings(jobs, asking) == [b""] * 3, "nothing is written yet"
    new_classifier(engine, redis, jobs).classify([asking, other])
    assert engine.calls == ["embed"]
    assert embeddings(jobs, other) == [b"", b""]
    assert not any(name.startswith(b"e") for name in redis.hkeys(keys.part(other.job_id, 0)))
    for ref, item in enumerate(jobs.reader.items(asking.job_id, 0, 3)):
        assert item.outcome and item.outcome.state is ItemState.SUCCEEDED, ref
        numbers = np.frombuffer(item.outcome.embedding, "<f2")
        assert len(numbers) == SIZE
        best = item.outcome.predictions[0]
        assert numbers[best.class_id] == np.float16(1000 * best.probability)


def test_nothing_is_computed_if_nobody_asks(
    tiny: Engine, redis: Redis, jobs: JobRecords, pictures: list[Path]
) -> None:
    engine = EmbeddingEngine(tiny)
    new_classifier(engine, redis, jobs).classify([submit(jobs, pictures[:3], 0)])
    assert engine.calls == ["predict"]
    assert not redis.keys("embedding:*")


def test_the_cache_answers_those_that_ask_only_with_an_embedding(
    tiny: Engine, redis: Redis, jobs: JobRecords, pictures: list[Path]
) -> None:
    engine = EmbeddingEngine(tiny)
    cache = ResultCache(redis, ttl_seconds=60)
    version, digest = engine.model.version, pictures[0].name

    def answers(asked: bool) -> bool:
        [outcome] = cache.get(version, [digest], embeddings=asked)
        assert (outcome is not None) == (cache.cached(version, [digest], embeddings=asked) == [0])
        if outcome and asked:
            assert len(outcome.embedding) == 2 * SIZE
        return outcome is not None

    new_classifier(engine, redis, jobs).classify([submit(jobs, pictures[:1], 0)])
    assert answers(False) and not answers(True)
    new_classifier(engine, redis, jobs).classify([submit(jobs, pictures[:1], SIZE)])
    assert answers(False) and answers(True)
    new_classifier(engine, redis, jobs).classify([submit(jobs, pictures[:1], 0)])
    assert answers(True), "a job that does not ask leaves the embedding there"


def test_a_model_without_the_embedding_never_answers_without_a_word(
    tiny: Engine, redis: Redis, jobs: JobRecords, pictures: list[Path]
) -> None:
    """That of the job may be gone, and then another model answers it."""
    for engine in (tiny, EmbeddingEngine(tiny, size=3)):
        asking, other = submit(jobs, pictures[:2], SIZE), submit(jobs, pictures[:1], 0)
        new_classifier(engine, redis, jobs).classify([asking, other])
        for item in jobs.reader.items(asking.job_id, 0, 2):
            assert item.outcome and item.outcome.error
            assert item.outcome.error.code == "no_embedding"
        [item] = jobs.reader.items(other.job_id, 0, 1)
        assert item.state is ItemState.SUCCEEDED


def test_the_memory_is_taken_when_a_picture_is_accepted(
    tiny: Engine, redis: Redis, jobs: JobRecords, pictures: list[Path]
) -> None:
    ref = submit(jobs, pictures[:4], 1280)
    key = keys.part(ref.job_id, 0)
    before = redis.memory_usage(key, samples=0)
    assert before and before > 4 * 2 * 1280
    engine = EmbeddingEngine(tiny, size=1280)
    engine.predict_and_embed = lambda pixels, alone=False: (  # type: ignore[method-assign]
        tiny.predict(pixels),
        np.ones((len(pixels), 1280), np.float32),
    )
    new_classifier(engine, redis, jobs).classify([ref])
    after = redis.memory_usage(key, samples=0)
    assert after and after - before < 4 * 1000, "only the labels came"
