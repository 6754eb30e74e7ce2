"""A submission without room is refused before its body is read, and reserved room comes back."""

from __future__ import annotations

import hashlib
import io
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

import gevent
import pytest
from flask.testing import FlaskClient
from flask_openapi import OpenAPI
from redis import Redis
from werkzeug.test import TestResponse

from shared import keys
from shared.jobs import ItemState, Lane, Outcome
from shared.records.job_records import JobRecords
from shared.result_cache import ResultCache
from tests.monitoring.scrapes import value
from tests.support.bodies import JPEG, Unreadable
from tests.support.stored_jobs import announce_model, new_job
from web.submit import early_refusals
from web.submit.admission import Admission
from web.submit.early_refusals import EarlyRefusals

CLASSIFY = "/api/v1/classify"


def submit(client: FlaskClient, images: int = 2, query: str = "") -> TestResponse:
    files = [(io.BytesIO(JPEG + b"%d" % k), f"{k}.jpg") for k in range(images)]
    return client.post(f"/jobs{query}", data={"files": files})


def unread(client: FlaskClient, path: str, length: int) -> TestResponse:
    return client.post(
        path,
        input_stream=Unreadable(bytes(length)),
        content_type="multipart/form-data; boundary=x",
    )


def reserved(app: OpenAPI) -> tuple[int, int]:
    """Images and bytes that requests of this process have reserved at this moment."""
    admission: Admission = app.extensions["backend"].admission
    return admission._reserved_images.total(), admission._reserved_bytes


# Refusals


def test_a_full_lane_is_503_with_a_time_to_return(make_app: Callable[..., OpenAPI]) -> None:
    client = make_app(max_outstanding_bulk=2).test_client()
    assert submit(client).status_code == 202
    response = submit(client)
    assert (response.status_code, response.json["code"]) == (503, "overloaded")
    assert int(response.headers["Retry-After"]) == 30
    assert submit(client, images=1).status_code == 202  # the interactive lane has room


def test_a_refused_request_leaves_nothing_behind(
    make_app: Callable[..., OpenAPI], redis: Redis
) -> None:
    client = make_app(max_outstanding_bulk=2).test_client()
    submit(client).close()
    before = set(redis.keys())
    submit(client).close()
    assert set(redis.keys()) == before


def test_a_full_lane_refuses_before_the_body_is_read(make_app: Callable[..., OpenAPI]) -> None:
    client = make_app(max_outstanding_bulk=2, max_outstanding_interactive=1).test_client()
    submit(client).close()
    # It is too long for one picture, so it is for bulk; or it is for bulk because it says so.
    assert unread(client, "/jobs", 1_000_000).status_code == 503
    assert unread(client, "/jobs?lane=bulk", 1000).status_code == 503
    submit(client, images=1).close()
    assert unread(client, "/jobs", 1000).status_code == 503
    assert unread(client, CLASSIFY, 1000).status_code == 503


def test_a_refusal_does_not_reach_flask(
    make_app: Callable[..., OpenAPI], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under overload web processes do little else."""
    app = make_app(max_outstanding_bulk=2, max_outstanding_interactive=1)
    client = app.test_client()
    submit(client).close()
    submit(client, images=1).close()
    monkeypatch.setattr(app, "full_dispatch_request", lambda: pytest.fail("Flask was asked"))
    for path in ("/jobs?lane=bulk", "/api/v1/jobs", CLASSIFY):
        assert unread(client, path, 1000).json["code"] == "overloaded"


def test_a_refusal_looks_like_every_other_answer(
    make_app: Callable[..., OpenAPI], client: FlaskClient
) -> None:
    full = make_app(max_outstanding_interactive=1).test_client()
    submit(full, images=1).close()
    headers = {"X-Request-Id": "r-1", "traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}
    early = full.post(CLASSIFY, data=JPEG, headers=headers)
    usual = client.post(CLASSIFY, data=b"no picture", headers=headers)
    assert (early.status_code, usual.status_code) == (503, 415)
    assert set(early.headers.keys()) == set(usual.headers.keys()) | {"Retry-After"}
    different = {"Content-Length", "traceparent", "Retry-After"}
    for name in set(early.headers.keys()) - different:
        assert early.headers[name] == usual.headers[name], name
    assert early.headers["traceparent"].startswith(f"00-{'a' * 32}-")
    assert early.headers["traceparent"].endswith("-01")
    assert set(early.json) == set(usual.json)


def test_the_refusals_of_a_second_share_one_log_line(
    make_app: Callable[..., OpenAPI],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    timers: list[Callable[[], None]] = []

    class Timer:
        daemon = False

        def __init__(self, seconds: float, call: Callable[[], None]) -> None:
            assert seconds == 1
            self.start = lambda: timers.append(call)

    client = make_app(max_outstanding_bulk=1).test_client()
    submit(client).close()
    capsys.readouterr()
    with monkeypatch.context() as patch:
        patch.setattr(early_refusals.threading, "Timer", Timer)
        for _ in range(20):
            unread(client, "/jobs?lane=bulk", 1000).close()
        [log] = timers
        log()
    [line] = [line for line in capsys.readouterr().out.splitlines() if "503" in line]
    assert "refused 20 requests: overloaded" in line


def test_a_body_with_too_many_bytes_is_not_read(make_app: Callable[..., OpenAPI]) -> None:
    client = make_app(max_bytes_held=100_000).test_client()
    submit(client, images=1).close()
    assert unread(client, CLASSIFY, 100_000).status_code == 503


def test_a_lane_may_be_named_twice_if_it_is_the_same(client: FlaskClient) -> None:
    assert submit(client, images=1, query="?lane=bulk").json["lane"] == "bulk"
    files = {"files": (io.BytesIO(JPEG), "a.jpg"), "lane": "interactive"}
    response = client.post("/jobs?lane=bulk", data=files)
    assert (response.status_code, response.json["code"]) == (422, "invalid_request")
    assert submit(client, query="?lane=fast").status_code == 422


def test_a_full_redis_is_503_and_keeps_no_half_of_a_job(client: FlaskClient, redis: Redis) -> None:
    submit(client).close()
    before = set(redis.keys())
    redis.config_set("maxmemory", 1)
    try:
        response = submit(client)
        assert (response.status_code, response.json["code"]) == (503, "overloaded")
        assert "Retry-After" in response.headers
        assert set(redis.keys()) == before
    finally:
        redis.config_set("maxmemory", 0)
    assert submit(client).status_code == 202


@pytest.mark.parametrize("path", ["/jobs", "/api/v1/jobs"])
def test_every_refusal_is_counted_by_one_route_whatever_path_was_asked(
    make_app: Callable[..., OpenAPI], path: str
) -> None:
    client = make_app(max_outstanding_bulk=1).test_client()
    submit(client).close()
    route = "/api/v1/jobs"

    def counted() -> list[float]:
        text = client.get("/metrics").text
        refused = value(text, "classifier_refusals_total", code="overloaded", route=route)
        answered = value(text, "classifier_http_requests_total", route=route, status="503")
        name = "classifier_http_request_duration_seconds_count"
        timed = value(text, name, route=route)
        return [each or 0 for each in (refused, answered, timed)]

    before = counted()
    for _ in range(3):
        unread(client, f"{path}?lane=bulk", 1000).close()
    assert counted() == [each + 3 for each in before]


# Room comes back


def cache_answer(redis: Redis, data: bytes) -> None:
    announce_model(redis)
    outcome = Outcome(state=ItemState.SUCCEEDED, model_version="m-1")
    pipe = redis.pipeline()
    ResultCache(redis, ttl_seconds=60).put(pipe, {hashlib.sha256(data).hexdigest(): outcome})
    pipe.execute()


@pytest.mark.parametrize(
    ("path", "options", "status"),
    [
        (CLASSIFY, {"data": JPEG}, 202),
        (CLASSIFY, {"data": JPEG, "headers": {"Idempotency-Key": "k"}}, 202),
        (CLASSIFY, {"data": b"no picture"}, 415),
        (CLASSIFY, {"data": b""}, 422),
        (CLASSIFY, {"data": {"image": (io.BytesIO(JPEG), "a.jpg")}}, 422),
        (CLASSIFY, {"data": JPEG + bytes(400_000)}, 413),
        (f"{CLASSIFY}?top_k=99", {"data": JPEG}, 422),
        ("/jobs", {"data": JPEG}, 422),
        ("/jobs", {"json": {"total": 3}}, 201),
        ("/jobs", {"data": b"PK\x05\x06" + bytes(18), "content_type": "application/zip"}, 422),
        ("/jobs", {"data": b"no archive", "content_type": "application/zip"}, 422),
    ],
)
def test_room_comes_back_from_every_answer(
    app: OpenAPI, client: FlaskClient, path: str, options: dict[str, Any], status: int
) -> None:
    separator = "&" if "?" in path else "?"
    waits = f"{separator}wait=0" if path.startswith(CLASSIFY) else ""
    assert client.post(path + waits, **options).status_code == status
    assert reserved(app) == (0, 0)


def test_room_comes_back_from_files_and_archives(app: OpenAPI, client: FlaskClient) -> None:
    assert submit(client, images=3).status_code == 202
    assert submit(client, images=1).status_code == 202
    assert reserved(app) == (0, 0)


def test_room_comes_back_when_the_cache_answers(
    app: OpenAPI, client: FlaskClient, redis: Redis
) -> None:
    cache_answer(redis, JPEG)
    assert client.post(CLASSIFY, data=JPEG).status_code == 200
    assert reserved(app) == (0, 0)


@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "k"}])
def test_a_client_that_waits_for_its_answer_holds_no_room(
    app: OpenAPI, redis: Redis, headers: dict[str, str]
) -> None:
    answers: list[TestResponse] = []

    def classify() -> None:
        answers.append(app.test_client().post(CLASSIFY, data=JPEG, headers=headers))

    for _ in range(2):  # with a key, the second finds the job of the first
        threading.Thread(target=classify).start()
    until(lambda: len(app.extensions["backend"].commits._waiting) >= (1 if headers else 2))
    until(lambda: redis.get(keys.outstanding_images(Lane.INTERACTIVE)) is not None)
    until(lambda: reserved(app) == (0, 0))
    assert not answers
    for key in redis.keys("job:*"):
        app.test_client().delete(f"/jobs/{key.decode().partition(':')[2]}").close()
    until(lambda: len(answers) == 2)


def test_room_comes_back_in_an_outage(make_app: Callable[..., OpenAPI]) -> None:
    app = make_app(redis_url="redis://127.0.0.1:1/0")
    assert app.test_client().post(CLASSIFY, data=JPEG).json["code"] == "unavailable"
    assert reserved(app) == (0, 0)


def test_room_comes_back_where_a_lane_fills_up_while_the_body_is_read(
    make_app: Callable[..., OpenAPI], jobs: JobRecords
) -> None:
    app = make_app(max_outstanding_bulk=2)
    admission: Admission = app.extensions["backend"].admission

    class Filling(io.BytesIO):
        """A body during which another request takes the last room."""

        def readinto(self, buffer: Any) -> int:
            if self.tell() == 0:
                admission.accept([new_job(1)])
            return super().readinto(buffer)

    data = b"".join(
        b'--x\r\nContent-Disposition: form-data; name="files"; filename="%d"\r\n\r\n%s\r\n'
        % (k, JPEG + b"%d" % k)
        for k in range(2)
    )
    response = app.test_client().post(
        "/jobs?lane=bulk",
        input_stream=Filling(data + b"--x--\r\n"),
        content_length=len(data) + 7,
        content_type="multipart/form-data; boundary=x",
    )
    assert response.json["code"] == "overloaded"
    assert reserved(app) == (0, 0)


def test_a_client_without_a_key_is_not_told_that_the_service_is_full(
    make_app: Callable[..., OpenAPI], tmp_path: Path
) -> None:
    file = tmp_path / "keys"
    file.write_text(f"a:{hashlib.sha256(b'a').hexdigest()}\n")
    app = make_app(api_keys_file=file, max_outstanding_interactive=1)
    app.extensions["backend"].admission.accept([new_job(1, lane=Lane.INTERACTIVE)])
    client = app.test_client()
    assert unread(client, CLASSIFY, 1000).status_code == 401
    mine = {"Authorization": "Bearer a"}
    assert client.post(CLASSIFY, data=JPEG, headers=mine).json["code"] == "overloaded"
    assert reserved(app) == (0, 0)


# The middleware alone


def answering(app: Callable[[WSGIEnvironment], None], admission: Admission) -> EarlyRefusals:
    """The middleware in front of `app`, with one place."""

    def wsgi(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        app(environ)
        return []

    reservations = early_refusals.reservations(largest_picture=1000, largest_body=10_000)
    return EarlyRefusals(
        wsgi, admission, reservations, has_access=lambda request: True, most_at_once=1
    )


def post(middleware: EarlyRefusals) -> list[str]:
    """Ask it once; gives the status line, if it answered itself."""
    statuses: list[str] = []
    environ = {"PATH_INFO": CLASSIFY, "REQUEST_METHOD": "POST", "CONTENT_LENGTH": "10"}

    def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Callable[[bytes], None]:
        statuses.append(status)
        return lambda data: None

    list(middleware(environ, start))
    return statuses


@pytest.fixture
def admission(redis: Redis, jobs: JobRecords) -> Admission:
    return Admission(redis, jobs.submitter, max_images=dict.fromkeys(Lane, 2), max_bytes=2**30)


@pytest.mark.parametrize("error", [KeyError(), gevent.GreenletExit()])
def test_room_and_place_come_back_when_the_application_raises_or_is_killed(
    admission: Admission, error: BaseException
) -> None:
    images: list[int] = []

    def app(environ: WSGIEnvironment) -> None:
        images.append(admission._reserved_images.total())
        raise error

    middleware = answering(app, admission)
    for _ in range(3):
        with pytest.raises(type(error)):
            post(middleware)
    assert images == [1, 1, 1]
    assert admission._reserved_images.total() == 0


def test_a_submission_beyond_the_places_of_the_process_is_refused(admission: Admission) -> None:
    statuses: list[list[str]] = []
    middleware = answering(lambda environ: statuses.append(post(middleware)), admission)
    assert post(middleware) == []
    assert statuses == [["503 Service Unavailable"]]
    assert post(middleware) == []  # the place is free again


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.002)
