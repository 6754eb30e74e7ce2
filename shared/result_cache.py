"""The result cache: the same bytes and the same model version get the same result again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from redis import Redis
from redis.client import Pipeline

from shared import keys
from shared.jobs import Outcome
from shared.records.scripts import Script
from shared.spare_memory import SpareMemory

#: Digests in one round trip: a millisecond of Redis's time.
_AT_ONCE = 1000

#: The cache grows until Redis has filled this share of its memory. The rest is for jobs.
_MEMORY_SHARE = 0.5

_CACHED = Script("cached")


class ResultCache:
    """Outcomes by digest and model version, each with all of its MAX_TOP_K predictions."""

    def __init__(self, redis: Redis, *, ttl_seconds: int) -> None:
        self._redis = redis
        self._ttl_seconds = ttl_seconds
        self._memory = SpareMemory(redis, share=_MEMORY_SHARE)

    def get(
        self, model_version: str, digests: Sequence[str], *, embeddings: bool = False
    ) -> list[Outcome | None]:
        """The cached outcome of each digest, in order, or None; one round trip.

        With `embeddings`, an outcome whose embedding is not cached is None.
        """
        if not self._ttl_seconds or not digests:
            return [None] * len(digests)
        names = [keys.result(model_version, digest) for digest in digests]
        if embeddings:
            names += [keys.embedding(model_version, digest) for digest in digests]
        values: Any = self._redis.mget(names)
        texts, vectors = values[: len(digests)], values[len(digests) :] or [b""] * len(digests)
        return [
            _from_cache(text, vector) if text and vector is not None else None
            for text, vector in zip(texts, vectors, strict=True)
        ]

    def cached(
        self, model_version: str, digests: Sequence[str], *, embeddings: bool = False
    ) -> list[int]:
        """Positions of the digests that have an outcome; one round trip for each thousand.

        It does not read the outcomes, which are a kilobyte each. With `embeddings`: those that have
        an embedding. Its outcome was stored with it, or later.
        """
        key = keys.embedding if embeddings else keys.result
        if not self._ttl_seconds:
            return []
        cached: list[int] = []
        for start in range(0, len(digests), _AT_ONCE):
            some = digests[start : start + _AT_ONCE]
            positions = _CACHED(self._redis, [[key(model_version, each)] for each in some])
            cached += [start + k for k in positions]
        return cached

    def put(self, pipeline: Pipeline, outcomes: Mapping[str, Outcome]) -> None:
        """Add succeeded outcomes, by digest, to the pipeline of a commit, while there is room."""
        if not self._ttl_seconds or not self._memory.there_is():
            return
        for digest, outcome in outcomes.items():
            key = keys.result(outcome.model_version or "", digest)
            pipeline.set(key, outcome.to_json(), ex=self._ttl_seconds)
            if outcome.embedding:
                key = keys.embedding(outcome.model_version or "", digest)
                pipeline.set(key, outcome.embedding, ex=self._ttl_seconds)


def _from_cache(text: str | bytes, embedding: bytes) -> Outcome:
    return replace(Outcome.from_json(text), cache_hit=True, durations=None, embedding=embedding)
