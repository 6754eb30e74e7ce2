"""What every client may know of the service. No worker is asked."""

from __future__ import annotations


import pytest
from flask.testing import FlaskClient
from redis import Redis

from shared import clock, keys
from shared.jobs import Lane
from shared.serving.presence import Presence
from web.submit import admission


def test_health_reports_workers_backlog_and_an_estimate(
    client: FlaskClient, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = clock.now(redis)  # the next second may begin in between, and the rate is rounded
    monkeypatch.setattr(clock, "now", lambda _: now)
    Presence(redis, Lane.BULK, "one").tick()
    redis.set(keys.outstanding_images(Lane.BULK), 120)
    redis.set(keys.drained(Lane.BULK, int(now)), 40)
    lanes = client.get("/api/v1/health").get_json()["lanes"]
    bulk, interactive = lanes["bulk"], lanes["interactive"]
    assert (bulk["workers"], bulk["outstanding_images"]) == (1, 120)
    assert bulk["images_per_second"] and bulk["estimated_seconds"]
    assert bulk["estimated_seconds"] * bulk["images_per_second"] == 120
    assert (interactive["workers"], interactive["estimated_seconds"]) == (0, 0)


def test_there_is_no_estimate_where_nothing_drains(client: FlaskClient, redis: Redis) -> None:
    redis.set(keys.outstanding_images(Lane.BULK), 120)
    bulk = client.get("/api/v1/health").get_json()["lanes"]["bulk"]
    assert (bulk["images_per_second"], bulk["estimated_seconds"]) == (0, None)


def test_within_a_second_health_does_not_read_the_load_again(
    client: FlaskClient, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    def outstanding() -> int:
        images: int = client.get("/api/v1/health").json["lanes"]["bulk"]["outstanding_images"]
        return images

    def reads() -> int:
        calls: int = redis.info("commandstats")["cmdstat_zcard"]["calls"]
        return calls

    # However long this machine stands still.
    monkeypatch.setattr(admission, "_FRESH_SECONDS", 60)
    assert outstanding() == 0
    redis.set(keys.outstanding_images(Lane.BULK), 120)
    before = reads()
    assert outstanding() == 0 and reads() == before
    monkeypatch.setattr(admission, "_FRESH_SECONDS", 0)
    monkeypatch.setattr(admission, "_FRESH_FOR_REFUSAL_SECONDS", 0)
    assert outstanding() == 120 and reads() > before
