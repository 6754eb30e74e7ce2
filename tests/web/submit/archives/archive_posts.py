"""Submitting archives."""

from __future__ import annotations

import io
from typing import Any

from flask.testing import FlaskClient
from redis import Redis
from werkzeug.datastructures import FileStorage
from werkzeug.test import TestResponse

from shared import keys
from shared.jobs import Lane
from tests.support.bodies import JPEG


def pictures(count: int) -> list[tuple[str, bytes]]:
    return [(f"cats/{k}.jpg", JPEG + b"%d" % k) for k in range(count)]


def post_form(client: FlaskClient, data: bytes, **fields: Any) -> TestResponse:
    files = FileStorage(io.BytesIO(data), "holiday.zip")
    return client.post("/jobs", data={"files": files, **fields}, content_type="multipart/form-data")


def post_raw(client: FlaskClient, data: bytes, query: str = "", kind: str = "zip") -> TestResponse:
    return client.post(f"/jobs?{query}", data=data, content_type=f"application/{kind}")


def post_with_key(client: FlaskClient, data: bytes, query: str = "") -> TestResponse:
    return client.post(
        f"/jobs?{query}",
        data=data,
        content_type="application/zip",
        headers={"Idempotency-Key": "key"},
    )


def items(client: FlaskClient, job_id: str) -> list[dict[str, Any]]:
    page = client.get(f"/jobs/{job_id}/results?limit=1000").json
    listed: list[dict[str, Any]] = page["items"]
    return listed


def left_over(redis: Redis) -> dict[str, int]:
    """What Redis holds for parts that wait."""
    counts = {
        "parts": redis.zcard(keys.outstanding(Lane.BULK)),
        "images": int(redis.get(keys.outstanding_images(Lane.BULK)) or 0),
        "bytes": int(redis.hget(keys.HELD, "total") or 0),
        "image keys": len(redis.keys("images:*")) + len(redis.keys("staged*")),
    }
    return {name: count for name, count in counts.items() if count}
