"""Jobs over HTTP, and what is left of them in Redis."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx

from shared.jobs import Lane
from shared.serving import model_versions
from tests.support.local_service import LocalService
from tests.support.waiting import wait_until


def submit(
    http: httpx.Client, pictures: Sequence[Path], *, tail: bytes = b"", **options: Any
) -> str:
    """Submit a job; gives its id. With another `tail` the bytes differ, so that none is cached."""
    files = [("files", (picture.name, picture.read_bytes() + tail)) for picture in pictures]
    answer = http.post("/jobs", files=files, data=options)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def ended(http: httpx.Client, job_id: str, seconds: float = 120) -> dict[str, Any]:
    """The job, once it is completed or cancelled."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        job: dict[str, Any] = http.get(f"/jobs/{job_id}?wait=10").json()
        if job["state"] in ("completed", "cancelled"):
            return job
    raise AssertionError(f"the job did not end: {job}")


def completed(http: httpx.Client, job_id: str) -> dict[str, Any]:
    job = ended(http, job_id)
    assert job["state"] == "completed", job
    return job


def results(http: httpx.Client, job_id: str) -> list[dict[str, Any]]:
    page = http.get(f"/jobs/{job_id}/results?limit=1000").json()
    assert page["next_offset"] is None
    items: list[dict[str, Any]] = page["items"]
    return items


def assert_nothing_is_left(
    service: LocalService, seconds: float = 20, *, besides: str = ""
) -> None:
    """Soon no part is outstanding, no message waits or is unacknowledged, no image is stored.

    `besides` is the name of a count that is not checked. Images of an upload that was cut off, in
    another test, expire two minutes later, and do not count.
    """
    redis = service.redis()

    def stored() -> int:
        images = redis.keys("images:*") + redis.keys("staged*")
        return sum(left == -1 or left > 120 for left in map(redis.ttl, images))

    def left() -> dict[str, int]:
        return {
            "outstanding": sum(redis.zcard(f"outstanding:{lane}") for lane in Lane),
            "images": sum(int(redis.get(f"outstanding_images:{lane}") or 0) for lane in Lane),
            "messages": sum(model_versions.waiting(redis, lane).total() for lane in Lane),
            "unacknowledged": redis.hlen("unacked"),
            "stored": stored(),
            "bytes held": int(redis.hget("held", "total") or 0),
        }

    wait_until(
        lambda: not any(n for name, n in left().items() if name != besides), seconds, problem=left
    )
    redis.close()
