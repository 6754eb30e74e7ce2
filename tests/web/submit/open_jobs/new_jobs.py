"""Opening jobs and sending their parts."""

from __future__ import annotations

import hashlib
import io
import json
import time
from collections.abc import Callable
from typing import Any

from flask.testing import FlaskClient
from redis import Redis
from werkzeug.test import TestResponse

from shared.jobs import ItemState, Outcome, Prediction
from shared.result_cache import ResultCache
from tests.support.bodies import JPEG
from tests.support.stored_jobs import announce_model

KNOWN = Outcome(
    state=ItemState.SUCCEEDED,
    predictions=tuple(Prediction(k, f"label {k}", 0.1) for k in range(10)),
    model_version="m-1",
)


def picture(index: int) -> bytes:
    return JPEG + b"%d" % index


def digest(index: int) -> str:
    return hashlib.sha256(picture(index)).hexdigest()


def learn(redis: Redis, *indexes: int) -> None:
    """Put answers for these pictures into the result cache."""
    announce_model(redis)
    pipe = redis.pipeline()
    ResultCache(redis, ttl_seconds=60).put(pipe, {digest(k): KNOWN for k in indexes})
    pipe.execute()


def open_job(client: FlaskClient, **fields: Any) -> dict[str, Any]:
    response = client.post("/jobs", json=fields)
    assert response.status_code == 201, response.text
    opened: dict[str, Any] = response.json
    assert response.headers["Location"] == f"/api/v1/jobs/{opened['job']['id']}"
    return opened


def open_id(client: FlaskClient, total: int, **fields: Any) -> str:
    return str(open_job(client, total=total, **fields)["job"]["id"])


def put(
    client: FlaskClient,
    job_id: str,
    number: int,
    indexes: range | list[int],
    items: object = None,
) -> TestResponse:
    data: dict[str, Any] = {
        "files": [(io.BytesIO(picture(k)), f"{k}.jpg") for k in indexes],
    }
    if items is not None:
        data["items"] = items if isinstance(items, str) else json.dumps(items)
    return client.put(f"/jobs/{job_id}/parts/{number}", data=data)


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.002)


def code(response: TestResponse) -> tuple[int, str]:
    return response.status_code, response.json["code"]
