"""A classifier of batches, as a worker of the lane `interactive` has it."""

from __future__ import annotations

from typing import Any

from redis import Redis

from shared.jobs import Lane
from shared.records.job_records import JobRecords
from shared.result_cache import ResultCache
from shared.thumbnails import Thumbnails
from workers.classify.budget import DecodeBudget
from workers.classify.tasks import BatchClassifier
from workers.decode.decoder import Decoder
from workers.decode.limits import DecodeLimits


def new_classifier(
    engine: Any,
    redis: Redis,
    jobs: JobRecords,
    *,
    decoder: Any = None,
    budget: DecodeBudget | None = None,
    patience: float = 20,
) -> BatchClassifier:
    """Without a decoder of the test it decodes for real, with wide limits."""
    limits = DecodeLimits(pixels=10**8, cpu_seconds=10, memory_bytes=2**30)
    return BatchClassifier(
        decoder or Decoder(engine.model.preset, limits),
        engine,
        redis,
        jobs.parts,
        ResultCache(redis, ttl_seconds=60),
        Thumbnails(redis, ttl_seconds=60),
        lane=Lane.INTERACTIVE,
        budget=budget or DecodeBudget(batch=60),
        patience=patience,
    )
