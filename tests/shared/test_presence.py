"""Counting the workers that accept parts."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from redis import Redis

from shared import keys
from shared.jobs import Lane
from shared.records.load import backlog
from shared.redis_client import connect
from shared.serving import model_info, presence
from shared.serving.presence import Presence
from tests.support.stored_jobs import new_model

MODEL = new_model()


def test_workers_are_counted_by_lane(redis: Redis) -> None:
    for lane, name in ((Lane.BULK, "one"), (Lane.BULK, "two"), (Lane.INTERACTIVE, "one")):
        Presence(redis, lane, name).tick()
    assert backlog.read(redis).workers == {Lane.INTERACTIVE: 1, Lane.BULK: 2}


def test_a_worker_that_leaves_is_not_counted(redis: Redis) -> None:
    worker = Presence(redis, Lane.BULK, "one")
    worker.tick()
    worker.leave()
    assert backlog.read(redis).workers[Lane.BULK] == 0


def test_a_silent_worker_is_not_counted_and_is_removed(redis: Redis) -> None:
    redis.zadd(keys.workers(Lane.BULK), {"gone": time.time() - 5 * presence.SECONDS})
    assert backlog.read(redis).workers[Lane.BULK] == 0
    Presence(redis, Lane.BULK, "here").tick()
    assert redis.zrange(keys.workers(Lane.BULK), 0, -1) == [b"here"]


def test_a_redis_that_came_back_empty_gets_the_model_with_the_next_sign_of_life(
    redis: Redis,
) -> None:
    announcements = ["", model_info.to_json(MODEL)]
    worker = Presence(redis, Lane.BULK, "one", lambda: announcements[-1])
    model_info.announce(redis, MODEL)
    redis.flushall()
    worker.tick()
    assert model_info.read(redis) == MODEL
    announcements.pop()
    redis.flushall()
    worker.tick()
    assert not redis.exists(keys.MODEL), "it has not loaded its model yet"


def test_labels_are_announced_again_and_live_on_with_their_worker(redis: Redis) -> None:
    model, labels = model_info.to_json(MODEL), model_info.labels_to_json(["a", "b"])
    worker = Presence(redis, Lane.BULK, "one", lambda: model, lambda: labels)
    worker.tick()
    assert model_info.read_labels(redis, MODEL.version) == ["a", "b"]
    redis.expire(keys.labels(MODEL.version), 10)
    worker.tick()
    assert redis.ttl(keys.labels(MODEL.version)) > 10


def test_a_sign_of_life_does_not_replace_the_model_of_another_worker(redis: Redis) -> None:
    newer = replace(MODEL, version="m-2")
    Presence(redis, Lane.INTERACTIVE, "other", lambda: model_info.to_json(newer)).tick()
    worker = Presence(redis, Lane.BULK, "one", lambda: model_info.to_json(MODEL))
    for _ in range(2):
        worker.tick()
        assert model_info.read(redis) == newer


def test_the_queue_of_a_version_expires_after_its_last_worker_and_stays_with_a_next_one(
    redis: Redis,
) -> None:
    queue = keys.queue(Lane.BULK, MODEL.version)
    redis.lpush(queue, "message")
    one, two = (
        Presence(redis, Lane.BULK, name, lambda: model_info.to_json(MODEL)) for name in ("1", "2")
    )
    one.tick()
    two.tick()
    one.leave()
    assert redis.ttl(queue) == -1
    two.leave()
    assert 0 < redis.ttl(queue) <= model_info.TTL_SECONDS
    one.tick()
    assert redis.ttl(queue) == -1


def test_an_outage_does_not_end_the_worker(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("WARNING")  # an application of another test may have set another level
    away = connect("redis://127.0.0.1:1/0", max_connections=1)
    worker = Presence(away, Lane.BULK, "one")
    worker.tick()
    worker.leave()
    assert "sign of life" in caplog.text
