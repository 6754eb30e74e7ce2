"""The result cache leaves Redis's memory to jobs."""

from __future__ import annotations

import pytest
from redis import Redis

from shared import spare_memory
from shared.jobs import ItemState, Outcome
from shared.result_cache import ResultCache
from tests.support.servers.memory_limit import memory_limit

KNOWN = Outcome(state=ItemState.SUCCEEDED, model_version="m-1")


def learn(redis: Redis, cache: ResultCache, digest: str) -> bool:
    pipe = redis.pipeline()
    cache.put(pipe, {digest: KNOWN})
    pipe.execute()
    return cache.get("m-1", [digest]) != [None]


def test_the_cache_grows_only_while_redis_has_half_of_its_memory_free(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spare_memory, "_FRESH_SECONDS", 0)
    cache = ResultCache(redis, ttl_seconds=60)
    used = redis.info("memory")["used_memory"]
    assert learn(redis, cache, "without a limit")
    with memory_limit(redis, 3 * used):
        assert learn(redis, cache, "two thirds free")
    with memory_limit(redis, int(1.5 * used)):
        assert not learn(redis, cache, "a third free")
        assert cache.get("m-1", ["two thirds free"]) != [None], "what is there is still used"


def test_how_full_redis_is_is_read_every_few_seconds(redis: Redis) -> None:
    cache = ResultCache(redis, ttl_seconds=60)
    before = redis.info("commandstats")["cmdstat_info"]["calls"]
    for number in range(50):
        learn(redis, cache, f"{number}")
    assert redis.info("commandstats")["cmdstat_info"]["calls"] - before == 2  # and this one
