"""A classifier of batches with a decoder of the test."""

from __future__ import annotations

from pathlib import Path

import pytest
from redis import Redis

from shared.jobs import Lane
from shared.records.job_records import JobRecords
from shared.result_cache import ResultCache
from shared.thumbnails import Thumbnails
from tests.workers.engine.tiny_export import tiny_settings
from tests.workers.classify.scripted import (
    BUDGET,
    Make,
    ScriptedDecoder,
)
from workers.classify.decoding import DecodeBudget
from workers.classify.tasks import BatchClassifier
from workers.engine import load_engine


@pytest.fixture
def classifier(redis: Redis, jobs: JobRecords, tmp_path: Path) -> Make:
    engine = load_engine(tiny_settings(tmp_path))

    def make(decoder: object = None, budget: DecodeBudget = BUDGET) -> BatchClassifier:
        return BatchClassifier(
            decoder or ScriptedDecoder(engine.model.preset.crop_size),  # type: ignore[arg-type]
            engine,
            redis,
            jobs.parts,
            ResultCache(redis, ttl_seconds=60),
            Thumbnails(redis, ttl_seconds=60),
            lane=Lane.INTERACTIVE,
            budget=budget,
        )

    return make
