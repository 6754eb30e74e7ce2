"""Same bytes and same model: the same answer, without a worker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from redis import Redis
from redis.client import Pipeline

from shared import keys
from shared.jobs import Outcome
from shared.records.scripts import Script

#: Digests of a manifest in one round trip: a millisecond of Redis's time.
_ASKED_AT_ONCE = 1000

_CACHED = Script("cached")


class ResultCache:
    """Outcomes with all of MAX_TOP_K predictions, by digest and model version."""

    def __init__(self, redis: Redis, *, ttl_seconds: int) -> None:
        self._redis = redis
        self._ttl_seconds = ttl_seconds

    def get(self, model_version: str, digests: Sequence[str]) -> list[Outcome | None]:
        """The known outcome of each digest, in order; one round trip."""
        if not self._ttl_seconds or not digests:
            return [None] * len(digests)
        found = self._redis.mget([keys.result(model_version, digest) for digest in digests])
        return [_from_cache(text) if text else None for text in found]

    def known(self, model_version: str, digests: Sequence[str]) -> list[int]:
        """Positions of the digests that have an outcome; a round trip for each thousand.

        Without the outcomes themselves, a kilobyte each.
        """
        if not self._ttl_seconds:
            return []
        known: list[int] = []
        for start in range(0, len(digests), _ASKED_AT_ONCE):
            asked = digests[start : start + _ASKED_AT_ONCE]
            found = _CACHED(self._redis, [[keys.result(model_version, each)] for each in asked])
            known += [start + k for k in found]
        return known

    def put(self, pipeline: Pipeline, outcomes: Mapping[str, Outcome]) -> None:
        """Add succeeded outcomes, by digest, to the round trip of a commit."""
        if not self._ttl_seconds:
            return
        for digest, outcome in outcomes.items():
            key = keys.result(outcome.model_version or "", digest)
            pipeline.set(key, outcome.to_json(), ex=self._ttl_seconds)


def _from_cache(text: str | bytes) -> Outcome:
    return replace(Outcome.from_json(text), cache_hit=True, durations=None)
