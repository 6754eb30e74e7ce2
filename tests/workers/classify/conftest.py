"""A classifier of batches with a decoder of the test."""

from __future__ import annotations

from pathlib import Path

import pytest
from redis import Redis

from shared.records.job_records import JobRecords
from tests.workers.engine.tiny_export import tiny_settings
from tests.workers.classify.new_classifier import new_classifier
from tests.workers.classify.scripted import (
    BUDGET,
    Make,
    ScriptedDecoder,
)
from workers.classify.budget import DecodeBudget
from workers.classify.tasks import BatchClassifier
from workers.engine import load_engine


@pytest.fixture
def classifier(redis: Redis, jobs: JobRecords, tmp_path: Path) -> Make:
    engine = load_engine(tiny_settings(tmp_path))

    def make(decoder: object = None, budget: DecodeBudget = BUDGET) -> BatchClassifier:
        scripted = decoder or ScriptedDecoder(engine.model.preset.crop_size)
        return new_classifier(engine, redis, jobs, decoder=scripted, budget=budget)

    return make
