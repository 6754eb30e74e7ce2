"""A submission without room is refused before its body is read."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

import gevent
import pytest
from flask.testing import FlaskClient
from flask_openapi import OpenAPI
from redis import Redis

from shared.jobs import Lane
from shared.records.job_records import JobRecords
from shared.settings import Settings
from tests.monitoring.scrapes import value
from tests.support.bodies import JPEG
from tests.support.servers.memory_limit import memory_limit
from tests.web.submit.asking import submit, unread
from web.submit import bodies, early_refusals, refusals
from web.submit.admission import Admission
from web.submit.bodies import Bodies
from web.submit.early_refusals import EarlyRefusals

CLASSIFY = "/api/v1/classify"


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
        patch.setattr(refusals.threading, "Timer", Timer)
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
    with memory_limit(redis, 1):
        response = submit(client)
        assert (response.status_code, response.json["code"]) == (503, "overloaded")
        assert "Retry-After" in response.headers
        assert set(redis.keys()) == before
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


# The middleware alone


def answering(app: Callable[[WSGIEnvironment], None], admission: Admission) -> EarlyRefusals:
    """The middleware in front of `app`, with one place."""

    def wsgi(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        app(environ)
        return []

    return EarlyRefusals(
        wsgi,
        admission,
        Bodies(most=1, memory=1000, disk=1000),
        early_refusals.reservations(largest_picture=1000, largest_body=10_000),
        bodies.sizes(Settings()),
        owner_of=lambda request: "",
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
