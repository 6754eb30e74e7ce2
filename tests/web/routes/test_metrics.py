"""What a scrape of the web process tells of the lanes; no worker."""

from __future__ import annotations

from flask.testing import FlaskClient

from shared.jobs import Lane
from tests.monitoring.scrapes import value, wait_until


def test_a_scrape_tells_each_lane_before_anything_has_come(client: FlaskClient) -> None:
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


def test_a_waiting_picture_grows_older(client: FlaskClient) -> None:
    client.post("/api/v1/classify?wait=0", data=b"\xff\xd8\xff picture").close()

    def age() -> float:
        text = client.get("/metrics").text
        found = value(text, "classifier_oldest_waiting_seconds", lane="interactive")
        assert found is not None
        return found

    first = age()
    assert 0 < first < 5
    wait_until(lambda: age() > first)
    text = client.get("/metrics").text
    assert value(text, "classifier_estimated_wait_seconds", lane="interactive") == float("inf")
