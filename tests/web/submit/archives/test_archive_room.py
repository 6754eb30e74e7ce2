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
from shared.jobs import Job, Lane
from tests.support.bodies import Unreadable
from tests.support.ports import free_port
from tests.web.intake.archive_files import zipped
from tests.web.submit.archives.archive_posts import left_over, pictures, post_raw, post_with_key
from web.submit import archive_jobs


class Clock:
    """The clock of the archive jobs. A pause moves it on, and takes hardly any time."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.pauses = 0
        self.at_first_pause: Callable[[], object] = lambda: None
        self.paused = threading.Event()

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.pauses += 1
        if self.pauses == 1:
            self.at_first_pause()
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
    [key] = redis.scan_iter("job:*")
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
    # A client may have as much as it leaves free.
    app = make_app(max_outstanding_bulk=96, max_wait_seconds=10_000)
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


def test_two_requests_with_one_key_both_find_no_room_if_one_of_them_gives_up(
    make_app: Callable[..., OpenAPI], redis: Redis, clock: Clock
) -> None:
    """They store the same job. The one that gives up closes it for the other."""
    patient = make_app(max_outstanding_bulk=40, max_wait_seconds=10_000).test_client()
    hasty = make_app(max_outstanding_bulk=40, max_wait_seconds=0).test_client()
    archive = zipped(pictures(100))
    answers: list[TestResponse] = []
    clock.at_first_pause = lambda: answers.append(post_with_key(hasty, archive))
    answers.append(post_with_key(patient, archive))
    received = [(each.status_code, each.json["code"]) for each in answers]
    assert received == [(503, "overloaded")] * 2
    assert all(int(each.headers["Retry-After"]) > 0 for each in answers)
    assert not left_over(redis) and len(redis.keys("job:*")) == 1


def test_a_job_that_is_given_up_before_it_is_read_is_no_accepted_job(
    make_app: Callable[..., OpenAPI], redis: Redis, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    app = make_app(max_outstanding_bulk=40, max_wait_seconds=10_000)
    hasty = make_app(max_outstanding_bulk=40, max_wait_seconds=0).test_client()
    archive = zipped(pictures(100))
    jobs = app.extensions["backend"].jobs
    read_job = jobs.get

    def give_up_then_read(job_id: str) -> Job:
        monkeypatch.setattr(jobs, "get", read_job)
        assert post_with_key(hasty, archive).status_code == 503
        return read_job(job_id)

    monkeypatch.setattr(jobs, "get", give_up_then_read)
    answer = post_with_key(app.test_client(), archive)
    assert (answer.status_code, answer.json["code"]) == (503, "overloaded")


def test_a_job_that_its_owner_cancels_during_the_upload_is_closed(
    make_app: Callable[..., OpenAPI], redis: Redis, clock: Clock
) -> None:
    client = make_app(max_outstanding_bulk=40, max_wait_seconds=10_000).test_client()

    def cancel() -> None:
        [key] = redis.scan_iter("job:*")
        assert client.delete(f"/jobs/{key.decode().removeprefix('job:')}").status_code == 200

    clock.at_first_pause = cancel
    answer = post_with_key(client, zipped(pictures(100)))
    assert (answer.status_code, answer.json["code"]) == (409, "job_closed")


def running_job(app: OpenAPI, other: str) -> str:
    """The archive's job, once its second part is stored. No client knows it yet."""
    redis = app.extensions["backend"].redis
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        for key in redis.scan_iter("job:*"):
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
