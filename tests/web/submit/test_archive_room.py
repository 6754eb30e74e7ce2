"""An archive waits for room, and is cancelled if it finds none or meets an outage."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from flask_openapi import OpenAPI
from redis import Redis
from werkzeug.test import TestResponse

from quickstart import redis_server
from shared import keys
from shared.jobs import Lane
from tests.support.bodies import Unreadable
from tests.support.ports import free_port
from tests.web.intake.archive_files import zipped
from tests.web.submit.archive_posts import left_over, pictures, post_raw
from web.submit import archive_jobs


class Clock:
    """The clock of the archive jobs. A pause moves it on, and takes hardly any time."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.pauses = 0
        self.paused = threading.Event()

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.pauses += 1
        self.paused.set()
        time.sleep(0.005)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(archive_jobs, "time", clock)
    return clock


def test_an_archive_that_finds_no_room_in_time_is_cancelled(
    make_app: Callable[..., OpenAPI], redis: Redis, clock: Clock
) -> None:
    client = make_app(max_outstanding_bulk=40, max_wait_seconds=5).test_client()
    answer = post_raw(client, zipped(pictures(100)))
    assert (answer.status_code, answer.json["code"]) == (503, "overloaded")
    assert int(answer.headers["Retry-After"]) > 0
    assert clock.pauses == 10  # it asked twice a second
    assert not left_over(redis)
    [key] = redis.keys("job:*")
    assert redis.hget(key, "state") == b"cancelled"


def test_a_full_lane_refuses_an_archive_before_it_is_read(
    make_app: Callable[..., OpenAPI],
) -> None:
    client = make_app(max_outstanding_bulk=32, max_wait_seconds=30).test_client()
    assert post_raw(client, zipped(pictures(32)), "lane=bulk").status_code == 202
    answer = client.post(
        "/jobs?lane=bulk",
        input_stream=Unreadable(bytes(10_000)),
        content_type="application/zip",
    )
    assert (answer.status_code, answer.json["code"]) == (503, "overloaded")


def test_an_archive_waits_for_room_and_goes_on(
    make_app: Callable[..., OpenAPI], clock: Clock
) -> None:
    app = make_app(max_outstanding_bulk=64, max_wait_seconds=10_000)
    other = post_raw(app.test_client(), zipped(pictures(32))).json["id"]
    answers: list[TestResponse] = []
    upload = threading.Thread(
        target=lambda: answers.append(post_raw(app.test_client(), zipped(pictures(70))))
    )
    upload.start()
    assert clock.paused.wait(5) and not answers, "there was no room for it"
    assert app.test_client().delete(f"/jobs/{other}").status_code == 200
    # Its second part has room now. Its third part has none before the first two are done.
    job_id = running_job(app, other)
    assert app.test_client().get(f"/jobs/{job_id}").json["counts"]["received"] == 64
    assert app.test_client().delete(f"/jobs/{job_id}").status_code == 200
    upload.join(20)
    # Its job was cancelled during the upload, so it was not accepted.
    assert answers[0].status_code == 409


def running_job(app: OpenAPI, other: str) -> str:
    """The archive's job, once its second part is stored. No client knows it yet."""
    redis = app.extensions["backend"].redis
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        for key in redis.keys("job:*"):
            if other not in key.decode() and redis.hget(key, "received") == b"64":
                return str(key.decode().removeprefix("job:"))
        time.sleep(0.005)
    raise AssertionError("the archive did not go on")


def test_an_archive_that_meets_an_outage_is_not_accepted(
    make_app: Callable[..., OpenAPI], tmp_path: Path, clock: Clock
) -> None:
    with redis_server.running(tmp_path, free_port()) as url:
        app = make_app(redis_url=url, max_outstanding_bulk=40, max_wait_seconds=10_000)
        answers: list[TestResponse] = []
        upload = threading.Thread(
            target=lambda: answers.append(post_raw(app.test_client(), zipped(pictures(100))))
        )
        upload.start()
        redis = app.extensions["backend"].redis
        deadline = time.monotonic() + 10
        while not redis.get(keys.outstanding_images(Lane.BULK)):
            assert time.monotonic() < deadline
            time.sleep(0.005)
    upload.join(20)
    assert (answers[0].status_code, answers[0].json["code"]) == (503, "unavailable")
