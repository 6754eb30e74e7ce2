"""How long a job is told to take, and how long real workers take."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import httpx


def test_the_estimate_is_right_within_a_factor_of_two(
    http: httpx.Client, pictures: list[Path]
) -> None:
    # Some seconds of work: an estimate is asked for once the rate is known.
    job_ids = [_submit(http, pictures * 5, tail) for tail in (b"first", b"second")]
    waiting = http.get(f"/jobs/{job_ids[1]}").json()
    assert 0 < waiting["position"] <= 500

    started = time.monotonic()
    estimates = []
    while (job := http.get(f"/jobs/{job_ids[1]}").json())["state"] != "completed":
        estimates.append((time.monotonic(), job["estimated_seconds"]))
        time.sleep(0.2)
    ended = time.monotonic()
    assert (job["position"], job["estimated_seconds"]) == (None, None)
    late = [
        seconds / (ended - at)
        for at, seconds in estimates
        if at - started > 2 and ended - at > 1 and seconds is not None
    ]
    assert 0.5 < statistics.median(late) < 2, estimates


def _submit(http: httpx.Client, pictures: list[Path], tail: bytes) -> str:
    files = [
        ("files", (picture.name, picture.read_bytes() + tail + b"%d" % k))
        for k, picture in enumerate(pictures)
    ]
    return str(http.post("/jobs", files=files).raise_for_status().json()["id"])
