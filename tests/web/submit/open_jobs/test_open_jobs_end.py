"""Jobs in parts: cancelled ones, those that find no room, and those of other clients."""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient
from flask_openapi import OpenAPI
from redis import Redis
from werkzeug.test import TestResponse

from shared import keys
from shared.jobs import Lane, PartRef
from shared.records.job_records import JobRecords
from shared.serving import model_versions
from tests.support.bodies import JPEG, Unreadable
from tests.support.servers.memory_limit import memory_limit
from tests.support.waiting import wait_until
from tests.web.submit.open_jobs.new_jobs import KNOWN, code, learn, open_id, put, until

# Cancelling


def test_a_job_is_cancelled_and_keeps_what_is_done(client: FlaskClient, redis: Redis) -> None:
    learn(redis, 0)
    job_id = open_id(client, 40)
    put(client, job_id, 0, range(32)).close()

    response = client.delete(f"/jobs/{job_id}")
    assert response.status_code == 200
    counts = response.json["counts"]
    assert (response.json["state"], counts["succeeded"], counts["cancelled"]) == (
        "cancelled",
        1,
        39,
    )
    items = client.get(f"/jobs/{job_id}/results").json["items"]
    assert [item["state"] for item in items] == ["succeeded"] + ["cancelled"] * 39
    assert client.delete(f"/jobs/{job_id}").json == response.json
    assert code(put(client, job_id, 1, range(8))) == (409, "job_closed")
    lane = client.get("/api/v1/health").json["lanes"]["bulk"]
    assert (lane["outstanding_parts"], lane["outstanding_images"]) == (0, 0)
    assert code(client.delete("/jobs/nothing")) == (404, "job_not_found")


def answer_while_waiting(app: OpenAPI, ask: Callable[[FlaskClient], TestResponse]) -> TestResponse:
    """The answer to a request that waits for a job, which is cancelled meanwhile."""
    answers: list[TestResponse] = []
    asking = threading.Thread(target=lambda: answers.append(ask(app.test_client())))
    asking.start()
    waiting = app.extensions["backend"].commits._waiting
    redis = app.extensions["backend"].redis
    until(lambda: waiting and redis.exists(keys.job(next(iter(waiting)))))
    app.test_client().delete(f"/jobs/{next(iter(waiting))}").close()
    asking.join(timeout=5)  # without a notice it would wait ten times as long
    assert answers, "it still waits"
    return answers[0]


def test_a_client_that_waits_for_a_job_hears_that_it_was_cancelled(
    make_app: Callable[..., OpenAPI],
) -> None:
    app = make_app()
    job_id = open_id(app.test_client(), 1)
    answer = answer_while_waiting(app, lambda client: client.get(f"/jobs/{job_id}?wait=50"))
    assert answer.json["state"] == "cancelled"


def test_a_client_that_waits_for_a_picture_hears_that_its_job_was_cancelled(
    make_app: Callable[..., OpenAPI],
) -> None:
    answer = answer_while_waiting(
        make_app(), lambda client: client.post("/api/v1/classify?wait=50", data=JPEG)
    )
    assert code(answer) == (409, "job_cancelled")


# Room


def test_a_full_lane_refuses_a_part_before_its_body_is_read(
    make_app: Callable[..., OpenAPI],
    redis: Redis,
    jobs: JobRecords,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = make_app(max_outstanding_bulk=2).test_client()
    job_id = open_id(client, 64)  # an open job needs no room
    put(client, job_id, 0, range(32)).close()
    response = client.put(
        f"/jobs/{job_id}/parts/1",
        input_stream=Unreadable(bytes(100_000)),
        content_type="multipart/form-data; boundary=x",
    )
    assert code(response) == (503, "overloaded")
    assert "Retry-After" in response.headers
    assert code(put(client, job_id, 1, range(32, 64))) == (503, "overloaded")
    assert open_id(client, 64)

    learn(redis, *range(32, 64))  # pictures that need no worker need no room
    monkeypatch.setattr(model_versions, "_FRESH_SECONDS", 0)
    assert put(client, job_id, 1, range(32, 64)).status_code == 201

    ref = PartRef(job_id, 0, 32)
    pipe = redis.pipeline(transaction=False)
    jobs.parts.commit(pipe, ref, Lane.BULK, dict.fromkeys(range(32), KNOWN))
    pipe.execute()
    assert client.get(f"/jobs/{job_id}").json["state"] == "completed"


def test_a_full_redis_is_503_and_keeps_nothing(client: FlaskClient, redis: Redis) -> None:
    job_id = open_id(client, 2)
    before = set(redis.keys())
    with memory_limit(redis, 1):
        assert code(put(client, job_id, 0, range(2))) == (503, "overloaded")
        assert code(client.post("/jobs", json={"total": 1})) == (503, "overloaded")
        assert set(redis.keys()) == before
    wait_until(lambda: put(client, job_id, 0, range(2)).status_code == 201)


def test_a_client_cannot_see_the_job_of_another_key(
    make_app: Callable[..., OpenAPI], tmp_path: Any
) -> None:
    file = tmp_path / "keys"
    file.write_text("".join(f"{n}:{hashlib.sha256(n.encode()).hexdigest()}\n" for n in "ab"))
    client = make_app(api_keys_file=file).test_client()
    mine, other = ({"Authorization": f"Bearer {name}"} for name in "ab")
    job_id = client.post("/jobs", json={"total": 1}, headers=mine).json["job"]["id"]
    files = {"files": (io.BytesIO(JPEG), "a.jpg")}
    for response in (
        client.put(f"/jobs/{job_id}/parts/0", data=files, headers=other),
        client.get(f"/jobs/{job_id}/parts", headers=other),
        client.delete(f"/jobs/{job_id}", headers=other),
    ):
        assert code(response) == (404, "job_not_found")
    assert client.get(f"/jobs/{job_id}", headers=mine).json["state"] == "receiving"
