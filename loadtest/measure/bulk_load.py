"""Many pictures through HTTP, as forms or without forms."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import replace

import httpx

from loadtest.measure import load_client
from loadtest.measure.load_client import Answer
from loadtest.measure.request_stream import Stream, bulk, parts
from shared.jobs import Lane
from tests.support.local_service import LocalService


def as_forms(service: LocalService, pictures: Sequence[bytes], *, images: int) -> float:
    """Images per second, from the first byte of a client to the last result that it reads."""
    stream = bulk(pictures)
    stream = replace(stream, clients=2, most=max(2, images // stream.images))
    answers, seconds = _sent(service, pictures, stream)
    jobs = [json.loads(answer.body)["id"] for answer in answers if answer.status == 202]
    assert len(jobs) == stream.most, "not every part was accepted"
    return len(jobs) * stream.images / (seconds + _read(service, jobs))


def as_parts(service: LocalService, pictures: Sequence[bytes], *, images: int) -> float:
    """The same without forms: jobs of one part are opened, and each part is sent as its bytes.

    The command does so with photos. Of small pictures, it puts many parts into a job.
    """
    stream = replace(bulk(pictures), clients=2)
    opening = {"total": stream.images, "lane": Lane.BULK}
    began = time.monotonic()
    with httpx.Client(base_url=service.base_url, timeout=60, trust_env=False) as http:
        answers = [http.post("/jobs", json=opening) for _ in range(max(2, images // stream.images))]
    jobs = [answer.raise_for_status().json()["job"]["id"] for answer in answers]
    opened = time.monotonic() - began
    sent, seconds = _sent(service, pictures, parts(stream, jobs))
    assert [answer.status for answer in sent] == [201] * len(jobs), "not every part was accepted"
    return len(jobs) * stream.images / (opened + seconds + _read(service, jobs))


def _sent(
    service: LocalService, pictures: Sequence[bytes], stream: Stream
) -> tuple[list[Answer], float]:
    """The answers to a stream, and seconds. The start of the load generator is no part of them."""
    report = load_client.run(service.base_url, pictures, [stream], seconds=0)
    return report.answers, report.seconds


def _read(service: LocalService, jobs: Sequence[str]) -> float:
    """Read the results of jobs. Returns the seconds until all have ended and are read."""
    began = time.monotonic()
    with httpx.Client(base_url=service.base_url, timeout=60, trust_env=False) as http:
        for job in jobs:
            http.get(f"/jobs/{job}?wait=50").raise_for_status()
            page = http.get(f"/jobs/{job}/results?limit=1000").raise_for_status().json()
            assert all(item["state"] == "succeeded" for item in page["items"])
    return time.monotonic() - began
