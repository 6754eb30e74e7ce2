"""Bulk jobs take turns, with a real worker."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from PIL import Image

from shared.jobs import PART_SIZE

_PARTS = 80
_number = iter(range(10**9))


@pytest.fixture(scope="module")
def picture() -> bytes:
    """Small, so that the upload is far ahead of the workers."""
    file = io.BytesIO()
    Image.new("RGB", (64, 64), "peachpuff").save(file, "JPEG")
    return file.getvalue()


def tails(count: int) -> list[bytes]:
    """Bytes after a picture's end that nobody has sent before: no cache answers."""
    return [b"%d %d" % (time.time_ns(), next(_number)) for _ in range(count)]


def send_large(http: httpx.Client, picture: bytes) -> str:
    total = _PARTS * PART_SIZE
    job_id: str = http.post("/jobs", json={"total": total}).json()["job"]["id"]
    for number in range(_PARTS):
        files = [("files", ("a.jpg", picture + tail)) for tail in tails(PART_SIZE)]
        http.put(f"/jobs/{job_id}/parts/{number}", files=files).raise_for_status()
    return job_id


def done(http: httpx.Client, job_id: str) -> int:
    counts: dict[str, Any] = http.get(f"/jobs/{job_id}").json()["counts"]
    return int(counts["succeeded"])


@pytest.fixture
def large(http: httpx.Client, picture: bytes) -> Iterator[str]:
    """A job of some thousand pictures that has just begun."""
    job_id = send_large(http, picture)
    yield job_id
    http.delete(f"/jobs/{job_id}")


def test_ten_pictures_do_not_wait_for_thousands(
    http: httpx.Client, large: str, picture: bytes
) -> None:
    before = done(http, large)
    files = [("files", ("a.jpg", picture + tail)) for tail in tails(10)]
    small = http.post("/jobs?lane=bulk", files=files).json()["id"]
    job = http.get(f"/jobs/{small}?wait=30").json()
    moved = done(http, large) - before
    assert job["state"] == "completed"
    assert http.get(f"/jobs/{large}").json()["state"] != "completed"
    # What was in the queue, prefetched or under way, and a little.
    assert moved <= 16 * PART_SIZE


def test_two_large_jobs_progress_alike(http: httpx.Client, large: str, picture: bytes) -> None:
    other = send_large(http, picture)
    deadline = time.monotonic() + 60
    try:
        # What was queued or prefetched before it came is all the first one's.
        while not (behind := done(http, other)) and time.monotonic() < deadline:
            time.sleep(0.1)
        start = done(http, large), behind
        moved = (0, 0)
        while sum(moved) < 20 * PART_SIZE and time.monotonic() < deadline:
            time.sleep(0.1)
            moved = done(http, large) - start[0], done(http, other) - start[1]
        assert http.get(f"/jobs/{large}").json()["state"] != "completed"
        assert sum(moved) >= 20 * PART_SIZE, moved
        assert abs(moved[0] - moved[1]) <= 6 * PART_SIZE, moved
    finally:
        http.delete(f"/jobs/{other}")
