"""Reserved room comes back, however a request ends."""

from __future__ import annotations

import hashlib
import io
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from flask_openapi import OpenAPI
from redis import Redis
from redis.exceptions import ConnectionError
from werkzeug.test import TestResponse

from shared import keys
from shared.jobs import ItemState, Lane, Outcome
from shared.records.load import backlog
from shared.records.job_records import JobRecords
from shared.result_cache import ResultCache
from tests.support.bodies import JPEG
from tests.support.stored_jobs import announce_model, new_job
from tests.web.submit.asking import submit, unread
from web.submit.admission import Admission

CLASSIFY = "/api/v1/classify"


def reserved(app: OpenAPI) -> tuple[int, int]:
    """Images and bytes that requests of this process have reserved at this moment."""
    admission: Admission = app.extensions["backend"].admission
    return admission._reserved_images.total(), admission._reserved_bytes


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.002)


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


def test_room_comes_back_in_an_outage(
    app: OpenAPI, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(redis: Redis) -> None:
        raise ConnectionError

    monkeypatch.setattr(backlog, "read", away)
    assert client.post(CLASSIFY, data=JPEG).json["code"] == "unavailable"
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
