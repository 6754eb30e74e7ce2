"""Measurements of a running service, one function for each question."""

from __future__ import annotations

import itertools
import json
import re
import socket
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import httpx
import numpy as np

from loadtest.measure import load_client
from loadtest.measure.load_client import Answer, Report
from tests.support.local_service import LocalService
from loadtest.measure.request_stream import BULK, CLASSIFY, bulk
from shared.records.job_records import JobRecords
from shared.jobs import PART_SIZE, JobState, Lane, NewItem, OpenJob, new_job_id
from shared.redis_client import connect
from shared.settings import Settings
from workers.engine import Engine
from workers.decode.preprocessing import decode

T = TypeVar("T")

#: At the start all clients of a closed loop send at once. These answers are not counted.
_WARM_SECONDS = 1.0

_BETWEEN_PROBES_SECONDS = 0.01


@dataclass(frozen=True, kw_only=True)
class Level:
    """Results at one level of load. Times are in ms."""

    rate: float  #: Answers 200 per second.
    p50: float
    p95: float
    p99: float
    errors: int  #: Answers other than 200.
    client_core: float  #: Share of one core that the load generator used.


def level_of(report: Report, seconds: float) -> Level:
    counted = [
        answer for answer in report.of(CLASSIFY.kind) if _WARM_SECONDS < answer.ended <= seconds
    ]
    good = [answer for answer in counted if answer.status == 200]
    p50, p95, p99 = percentiles(good)
    return Level(
        rate=len(good) / (seconds - _WARM_SECONDS),
        p50=p50,
        p95=p95,
        p99=p99,
        errors=len(counted) - len(good) + report.unsent,
        client_core=report.cpu_seconds / report.seconds,
    )


def percentiles(answers: Sequence[Answer]) -> tuple[float, float, float]:
    """p50, p95 and p99 in ms."""
    assert answers, "there was no answer"
    p50, p95, p99 = np.percentile([1000 * answer.seconds for answer in answers], [50, 95, 99])
    return float(p50), float(p95), float(p99)


def closed_loop(
    service: LocalService, pictures: Sequence[bytes], *, clients: int, seconds: float
) -> Level:
    """`clients` send one picture per request and wait for each answer."""
    stream = replace(CLASSIFY, clients=clients)
    report = load_client.run(service.base_url, pictures, [stream], seconds=seconds)
    return level_of(report, seconds)


def open_loop(
    service: LocalService, pictures: Sequence[bytes], *, rate: float, seconds: float
) -> Level:
    """`rate` requests per second with one picture each, at random moments."""
    stream = replace(CLASSIFY, rate=rate)
    report = load_client.run(service.base_url, pictures, [stream], seconds=seconds)
    return level_of(report, seconds)


def probed_under_load(
    service: LocalService,
    pictures: Sequence[bytes],
    paths: Sequence[str],
    *,
    clients: int,
    seconds: float,
) -> list[float]:
    """The 99th percentile of each path in ms, while `clients` keep the service fully busy.

    This process sends the probes. The load generator is niced and busy, so it would measure its own
    delay.
    """
    crowd = replace(CLASSIFY, clients=clients)
    asked: dict[str, list[tuple[float, float]]] = {path: [] for path in paths}
    # The pause before each probe matters: right after an answer the web process is idle.
    next_path = itertools.cycle(paths)
    connection = _connect(service)
    with ThreadPoolExecutor(1) as beside:
        load = beside.submit(load_client.run, service.base_url, pictures, [crowd], seconds=seconds)
        while not load.done():
            at, path = time.time(), next(next_path)
            asked[path].append((at, _ms(partial(_get, connection), path)))
            time.sleep(_BETWEEN_PROBES_SECONDS)
    connection.close()
    first, last = load.result().began + _WARM_SECONDS, load.result().began + seconds
    counted = [[ms for at, ms in each if first < at < last] for each in asked.values()]
    return [float(np.percentile(each, 99)) for each in counted]


def beside_bulk(
    service: LocalService, pictures: Sequence[bytes], *, peak: float, seconds: float
) -> tuple[float, float]:
    """Send 5 single pictures per second beside a bulk lane that is never empty.

    Returns the p95 of the single pictures in ms, and the bulk images per second.
    """
    filling = bulk(pictures)
    filling = replace(filling, rate=1.5 * peak / filling.images)
    load_client.run(service.base_url, pictures, [filling], seconds=2)
    before = outstanding(service, Lane.BULK)
    began = time.monotonic()
    report = load_client.run(
        service.base_url, pictures, [replace(CLASSIFY, rate=5), filling], seconds=seconds
    )
    spent = time.monotonic() - began
    after = outstanding(service, Lane.BULK)
    assert after, "the bulk lane was empty, so this measured nothing"
    came = sum(len(answer.numbers) for answer in report.of(BULK) if answer.status == 202)
    good = [answer for answer in report.of(CLASSIFY.kind) if answer.status == 200]
    return percentiles(good)[1], (before + came - after) / spent


def outstanding(service: LocalService, lane: Lane) -> int:
    """Images that are accepted and not yet done."""
    redis = service.redis()
    images = int(redis.get(f"outstanding_images:{lane}") or 0)
    redis.close()
    return images


def await_drained(service: LocalService, seconds: float = 120) -> None:
    """Return when nothing is left to do, so that one measurement does not slow the next."""
    give_up = time.monotonic() + seconds
    while any(outstanding(service, lane) for lane in Lane):
        assert time.monotonic() < give_up, "the service does not drain"
        time.sleep(0.1)


def drain(
    service: LocalService,
    pictures: Sequence[bytes],
    settings: Settings,
    *,
    images: int,
    app: str = "workers.app",
    **environment: str,
) -> float:
    """Images per second, from the start of the first part to the last commit.

    Everything is in the queue before a bulk worker starts, so that only the worker is measured.
    """
    redis = connect(service.redis_url, max_connections=2)
    records = JobRecords.from_settings(redis, settings)
    job_id = new_job_id()
    records.submitter.open(OpenJob(id=job_id, lane=Lane.BULK, top_k=5, total=images))
    items = [
        NewItem(name=f"{k}.jpg", digest=f"{job_id}-{k}", data=pictures[k % len(pictures)])
        for k in range(images)
    ]
    opened = records.reader.get(job_id)
    for first in range(0, images, PART_SIZE):
        records.submitter.put_part(opened, first // PART_SIZE, items[first : first + PART_SIZE])
    service.start_worker(Lane.BULK, app, **environment)
    while (job := records.reader.get(job_id)).state is not JobState.COMPLETED:
        time.sleep(0.1)
    assert job.succeeded == images, job
    assert job.started_at and job.finished_at
    return images / (job.finished_at - job.started_at)


def cold_start(service: LocalService, picture: bytes) -> float:
    """Seconds from the start of a worker to the result of a picture that waits for it."""
    with httpx.Client(base_url=service.base_url, timeout=60, trust_env=False) as http:
        answer = http.post("/jobs", files={"files": picture + b"cold"}).raise_for_status()
        started = time.perf_counter()
        service.start_worker(Lane.INTERACTIVE)
        job = http.get(f"/jobs/{answer.json()['id']}?wait=50").raise_for_status().json()
        assert job["state"] == "completed", job
        return time.perf_counter() - started


def idle_latency(
    service: LocalService, pictures: Sequence[bytes], engine: Engine, settings: Settings
) -> tuple[float, float, float]:
    """Three medians in ms: through HTTP, the bare work on one core, the bare work on all cores.

    The three alternate, picture by picture. A worker that has nothing else to do uses all cores.
    """

    def bare(picture: bytes, alone: bool = False) -> None:
        pixels = decode(picture, engine.model.preset, max_pixels=settings.max_image_pixels)
        engine.predict(np.stack([pixels]), alone=alone)

    def asked(picture: bytes) -> None:
        assert not _classify(connection, picture)["cache_hit"]

    connection = _connect(service)
    for picture in pictures[:10]:  # Pool processes and caches warm up.
        asked(picture + b"warm")
        bare(picture)
    shared = partial(bare, alone=True)
    times = [(_ms(asked, each + b"idle"), _ms(bare, each), _ms(shared, each)) for each in pictures]
    connection.close()
    served, one_core, all_cores = (statistics.median(each) for each in zip(*times, strict=True))
    return served, one_core, all_cores


def cache_hits(service: LocalService, picture: bytes) -> list[float]:
    """Times in ms of 300 requests with the same bytes."""

    def hit(data: bytes) -> None:
        assert _classify(connection, data)["cache_hit"]

    connection = _connect(service)
    _classify(connection, picture)
    times = [_ms(hit, picture) for _ in range(300)]
    connection.close()
    return times


def _connect(service: LocalService) -> socket.socket:
    host, port = service.base_url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)), timeout=60)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _classify(connection: socket.socket, picture: bytes) -> dict[str, Any]:
    head = "POST /api/v1/classify HTTP/1.1\r\nHost: localhost\r\n"
    head += f"Content-Length: {len(picture)}\r\n\r\n"
    return _ask(connection, head.encode() + picture)


def _get(connection: socket.socket, path: str) -> None:
    _ask(connection, f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())


def _ask(connection: socket.socket, request: bytes) -> dict[str, Any]:
    """Send one request on a bare socket, because a client library would add its own time."""
    connection.sendall(request)
    received = b""
    while b"\r\n\r\n" not in received:
        received += connection.recv(65536)
    head, _, body = received.partition(b"\r\n\r\n")
    [length] = re.findall(rb"(?i)content-length: (\d+)", head)
    while len(body) < int(length):
        body += connection.recv(65536)
    answer: dict[str, Any] = json.loads(body)
    assert b" 200 OK" in head, answer
    return answer


def _ms(act: Callable[[T], object], what: T) -> float:
    started = time.perf_counter()
    act(what)
    return 1000 * (time.perf_counter() - started)
