"""A failover may lose a job between its storing and its answer."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient
from redis import Redis
from werkzeug.test import TestResponse

from shared.records.submit import JobSubmitter
from tests.support.bodies import JPEG
from tests.support.stored_jobs import announce_model


@pytest.fixture
def losing(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each job is lost as soon as it is stored."""
    announce_model(redis)

    def loses(store: Callable[..., Any]) -> Callable[..., Any]:
        def stored(*args: Any, **options: Any) -> Any:
            reply = store(*args, **options)
            redis.delete(*redis.scan_iter("*job:*"))
            return reply

        return stored

    for name in ("accept", "open"):
        monkeypatch.setattr(JobSubmitter, name, loses(getattr(JobSubmitter, name)))


def classify(client: FlaskClient) -> TestResponse:
    return client.post("/api/v1/classify?wait=0.3", data=JPEG)


def submit(client: FlaskClient) -> TestResponse:
    return client.post("/jobs", data={"files": [(io.BytesIO(JPEG), "a.jpg")]})


def open_job(client: FlaskClient) -> TestResponse:
    return client.post("/jobs", json={"total": 100})


@pytest.mark.parametrize("call", [classify, submit, open_job])
@pytest.mark.usefixtures("losing")
def test_the_client_is_told_to_try_again(
    client: FlaskClient, call: Callable[[FlaskClient], TestResponse]
) -> None:
    """404 would say that there was never such a job, and a client would give up."""
    answer = call(client)
    assert (answer.status_code, answer.json["code"]) == (503, "unavailable")
    assert answer.headers["Retry-After"]
