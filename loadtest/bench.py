"""How near the service comes to the limit, all in one run.

    python -m loadtest.bench PICTURES --rounds 3

PICTURES is a folder of JPEGs. The model is what MODEL and MODEL_WEIGHTS say. Prints a table in
Markdown: of every figure the median of the rounds, and their range.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from loadtest.limit import measure_limit, read_pictures
from loadtest.local_service import LocalService, local_service
from shared.job_store import JobStore, new_job_id
from shared.jobs import JobState, Lane, NewItem, NewJob
from shared.redis_client import connect
from shared.settings import Settings
from workers.engine import Engine, load_engine
from workers.preprocessing import decode

_BULK_IMAGES = 1000
_PROCESSES = 2

Figures = dict[str, list[float]]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("pictures", type=Path)
    arguments.add_argument("--rounds", type=int, default=3)
    options = arguments.parse_args()
    pictures = read_pictures(options.pictures)
    settings = Settings()
    subprocess.run([sys.executable, "-m", "workers.export"], check=True, stdout=sys.stderr)
    figures: Figures = defaultdict(list)
    for number in range(options.rounds):
        print(f"round {number + 1} of {options.rounds}", file=sys.stderr)
        with tempfile.TemporaryDirectory() as folder:
            _round(Path(folder), pictures, settings, figures)
    _print_table(figures)


def _round(folder: Path, pictures: list[bytes], settings: Settings, figures: Figures) -> None:
    environment = os.environ | {"WORKER_PROCESSES": str(_PROCESSES), "WEB_PROCESSES": "1"}
    with local_service(folder, environment) as service:
        before = _limit(pictures, settings)
        drained = drain(service, pictures, settings)
        after = _limit(pictures, settings)
        limit = (before + after) / 2
        figures["limit, two processes (images/s)"].append(limit)
        figures["drained from the queue (images/s)"].append(drained)
        figures["drained / limit"].append(drained / limit)
        figures["resident memory of a pool process, highest (MB)"].append(_memory(service))
        service.stop(Lane.BULK)

        figures["worker: start to first result (s)"].append(_cold_start(service, pictures[0]))
        idle, bare, shared = idle_latency(service, pictures, load_engine(settings), settings)
        figures["one picture, idle, through HTTP (ms)"].append(idle)
        figures["decode + batch-1 inference (ms)"].append(bare)
        figures["the same, its inference with every core (ms)"].append(shared)
        figures["idle / bare"].append(idle / bare)
        hits = sorted(cache_hits(service, pictures[0]))
        figures["cache hit, median (ms)"].append(statistics.median(hits))
        figures["cache hit, p99 (ms)"].append(hits[int(0.99 * len(hits))])


def _limit(pictures: list[bytes], settings: Settings) -> float:
    return measure_limit(pictures, images=_BULK_IMAGES, processes=_PROCESSES, settings=settings)


def drain(service: LocalService, pictures: Sequence[bytes], settings: Settings) -> float:
    """Images per second from the first start of a part to the last commit.

    Everything is enqueued while no worker runs, so that nothing but the drain is measured.
    """
    redis = connect(service.redis_url, max_connections=2)
    jobs = JobStore(
        redis,
        result_ttl_seconds=settings.result_ttl_seconds,
        part_deadline_seconds=settings.part_deadline_seconds,
    )
    job_id = new_job_id()
    items = [
        NewItem(name=f"{k}.jpg", digest=f"{job_id}-{k}", data=pictures[k % len(pictures)])
        for k in range(_BULK_IMAGES)
    ]
    jobs.accept([NewJob(id=job_id, lane=Lane.BULK, top_k=5, items=items)])
    service.start_worker(Lane.BULK)
    while (job := jobs.get(job_id)).state is not JobState.COMPLETED:
        time.sleep(0.1)
    assert job.succeeded == _BULK_IMAGES, job
    assert job.started_at and job.finished_at
    return _BULK_IMAGES / (job.finished_at - job.started_at)


def _memory(service: LocalService) -> float:
    """Highest resident memory that a pool process has had, in MB."""
    status = [Path(f"/proc/{pid}/status").read_text() for pid in service.pool_processes(Lane.BULK)]
    peaks = [line.split()[1] for text in status for line in text.splitlines() if "VmHWM" in line]
    return max(int(kilobytes) for kilobytes in peaks) / 1024


def _cold_start(service: LocalService, picture: bytes) -> float:
    """Seconds from the start of a worker's process to the result of a picture that waits."""
    service.start_web()
    service.await_ready()
    with httpx.Client(base_url=service.base_url, timeout=60) as http:
        answer = http.post("/jobs", files={"files": picture + b"cold"})
        started = time.perf_counter()
        service.start_worker(Lane.INTERACTIVE)
        job = http.get(f"/jobs/{answer.json()['id']}?wait=50").raise_for_status().json()
        assert job["state"] == "completed", job
        return time.perf_counter() - started


def idle_latency(
    service: LocalService, pictures: Sequence[bytes], engine: Engine, settings: Settings
) -> tuple[float, float, float]:
    """Median milliseconds through HTTP, of the bare work on one core, and of it on all of them.

    Taken in turn, picture by picture. A worker with nothing else to do uses all of them.
    """

    def bare(picture: bytes, alone: bool = False) -> None:
        pixels = decode(picture, engine.model.preset, max_pixels=settings.max_image_pixels)
        engine.predict(np.stack([pixels]), alone=alone)

    def asked(picture: bytes) -> None:
        assert not _classify(connection, picture)["cache_hit"]

    connection = _connect(service)
    for k in range(10):  # pool processes and caches warm up
        asked(pictures[k] + b"warm")
        bare(pictures[k])
    shared = partial(bare, alone=True)
    times = [(_ms(asked, each + b"idle"), _ms(bare, each), _ms(shared, each)) for each in pictures]
    connection.close()
    served, one_core, all_cores = (statistics.median(each) for each in zip(*times, strict=True))
    return served, one_core, all_cores


def cache_hits(service: LocalService, picture: bytes) -> list[float]:
    """Milliseconds of each of 300 requests for the same bytes."""

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
    """One request on a bare socket: what a client library costs is no time of the service."""
    head = f"POST /api/v1/classify HTTP/1.1\r\nHost: test\r\nContent-Length: {len(picture)}\r\n\r\n"
    connection.sendall(head.encode() + picture)
    received = b""
    while b"\r\n\r\n" not in received:
        received += connection.recv(65536)
    head_received, _, body = received.partition(b"\r\n\r\n")
    [length] = re.findall(rb"(?i)content-length: (\d+)", head_received)
    while len(body) < int(length):
        body += connection.recv(65536)
    answer: dict[str, Any] = json.loads(body)
    assert b" 200 OK" in head_received, answer
    return answer


def _ms(act: Callable[[bytes], None], picture: bytes) -> float:
    started = time.perf_counter()
    act(picture)
    return 1000 * (time.perf_counter() - started)


def _print_table(figures: Figures) -> None:
    print("| measured | median | range |")
    print("|---|--:|--:|")
    for name, values in figures.items():
        low, middle, high = min(values), statistics.median(values), max(values)
        print(f"| {name} | {middle:.3g} | {low:.3g} to {high:.3g} |")


if __name__ == "__main__":
    main()
