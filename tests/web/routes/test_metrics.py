"""What a scrape of the web process says about the lanes, without a worker."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient
from redis import Redis

from shared.jobs import Lane
from tests.conftest import Clock
from tests.monitoring.scrapes import value
from tests.support.servers.memory_limit import memory_limit


def test_a_scrape_reports_each_lane_before_any_picture_has_come(client: FlaskClient) -> None:
    text = client.get("/metrics").text
    for lane in Lane:
        for name in (
            "workers",
            "outstanding_images",
            "oldest_waiting_seconds",
            "estimated_wait_seconds",
        ):
            assert value(text, f"classifier_{name}", lane=lane) == 0, name
        assert value(text, "classifier_outstanding_images_limit", lane=lane)
    assert value(text, "classifier_dead_letters") == 0
    assert value(text, "classifier_redis_up") == 1


def test_a_small_redis_lowers_the_limit_of_outstanding_pictures(
    client: FlaskClient, redis: Redis
) -> None:
    with memory_limit(redis, 100_000_000):  # a quarter of 90 MB, at 3,000 bytes for each
        text = client.get("/metrics").text
    assert value(text, "classifier_outstanding_images_limit", lane=Lane.BULK) == 7_500


def test_a_waiting_picture_grows_older(client: FlaskClient, clock: Clock) -> None:
    client.post("/api/v1/classify?wait=0", data=b"\xff\xd8\xff picture").close()

    def age() -> float:
        text = client.get("/metrics").text
        seconds = value(text, "classifier_oldest_waiting_seconds", lane="interactive")
        assert seconds is not None
        return seconds

    assert age() == 0
    clock.now += 3
    assert age() == pytest.approx(3)
    text = client.get("/metrics").text
    assert value(text, "classifier_estimated_wait_seconds", lane="interactive") == float("inf")
