"""Fair scheduling between bulk jobs, with a real worker."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from itertools import count
from typing import Any

import httpx
import pytest
from PIL import Image

from shared.jobs import PART_SIZE
from tests.support.waiting import wait_until

pytestmark = pytest.mark.long

_PARTS = 40
_number = count()


@pytest.fixture(scope="module")
def picture() -> bytes:
    """A small JPEG, so that uploads are far ahead of the workers."""
    file = io.BytesIO()
    Image.new("RGB", (64, 64), "peachpuff").save(file, "JPEG")
    return file.getvalue()


def new_pictures(picture: bytes, number: int) -> list[tuple[str, tuple[str, bytes]]]:
    """Form fields of pictures with other bytes at their ends, so that none is cached."""
    tails = (b"%d %d" % (time.time_ns(), next(_number)) for _ in range(number))
    return [("files", ("a.jpg", picture + tail)) for tail in tails]


def send_large(http: httpx.Client, picture: bytes) -> str:
    total = _PARTS * PART_SIZE
    job_id: str = http.post("/jobs", json={"total": total}).json()["job"]["id"]
    for number in range(_PARTS):
        files = new_pictures(picture, PART_SIZE)
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
    small = http.post("/jobs?lane=bulk", files=new_pictures(picture, 10)).json()["id"]
    job = http.get(f"/jobs/{small}?wait=30").json()
    moved = done(http, large) - before
    assert job["state"] == "completed"
    assert http.get(f"/jobs/{large}").json()["state"] != "completed"
    # The parts that were queued, prefetched or being classified, and a few more.
    assert moved <= 16 * PART_SIZE


def test_two_large_jobs_progress_alike(http: httpx.Client, large: str, picture: bytes) -> None:
    other = send_large(http, picture)
    try:
        # All parts that were queued or prefetched before belong to the first job.
        wait_until(lambda: done(http, other), 120)
        start = done(http, large), done(http, other)
        moved = (0, 0)

        def have_moved() -> bool:
            nonlocal moved
            moved = done(http, large) - start[0], done(http, other) - start[1]
            return sum(moved) >= 12 * PART_SIZE

        wait_until(have_moved, 120, problem=lambda: moved)
        assert http.get(f"/jobs/{large}").json()["state"] != "completed"
        assert abs(moved[0] - moved[1]) <= 6 * PART_SIZE, moved
    finally:
        http.delete(f"/jobs/{other}")
