"""The estimate that a waiting job gives, and the time that real workers then take."""

from __future__ import annotations

import math
import os
import signal
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from shared.jobs import Lane
from tests.pipeline.jobs import completed
from tests.support.local_service import LocalService

pytestmark = [pytest.mark.long, pytest.mark.alone]


def test_the_estimate_is_right_within_a_factor_of_two(
    http: httpx.Client, pictures: list[Path], service: LocalService
) -> None:
    # Enough jobs for some seconds of work on any machine, after the service knows its rate.
    seconds = _seconds_of_work(http, pictures * 2)
    jobs = math.ceil(8 / (1.5 * seconds)) + 1
    with _paused(service, Lane.BULK):  # or the first jobs could end before the last is submitted
        *ahead, last = [_submit(http, pictures * 3, b"job %d" % k) for k in range(jobs)]
        waiting = http.get(f"/jobs/{last}").json()
    assert 0 < waiting["position"] <= 300 * len(ahead)

    started = time.monotonic()
    estimates = []
    while (job := http.get(f"/jobs/{last}").json())["state"] != "completed":
        estimates.append((time.monotonic(), job["estimated_seconds"]))
        time.sleep(0.2)
    ended = time.monotonic()
    assert (job["position"], job["estimated_seconds"]) == (None, None)
    ratios = [
        seconds / (ended - at)
        for at, seconds in estimates
        if at - started > 2 and ended - at > 1 and seconds is not None
    ]
    assert 0.5 < statistics.median(ratios) < 2, estimates


@contextmanager
def _paused(service: LocalService, lane: Lane) -> Iterator[None]:
    group = service.processes[lane].pid
    os.killpg(group, signal.SIGSTOP)
    try:
        yield
    finally:
        os.killpg(group, signal.SIGCONT)


def _seconds_of_work(http: httpx.Client, pictures: list[Path]) -> float:
    """How long the workers take for these pictures, without the upload."""
    job = completed(http, _submit(http, pictures, b"alone"))
    return float(job["finished_at"] - job["started_at"])


def _submit(http: httpx.Client, pictures: list[Path], tail: bytes) -> str:
    files = [
        ("files", (picture.name, picture.read_bytes() + tail + b"%d" % k))
        for k, picture in enumerate(pictures)
    ]
    return str(http.post("/jobs", files=files).raise_for_status().json()["id"])
