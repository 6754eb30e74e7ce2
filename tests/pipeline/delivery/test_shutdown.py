"""SIGTERM to gunicorn: who waits gets an answer, what only stays open is ended, then it exits."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.support.local_service import LocalService, local_service
from shared.records.job_records import JobRecords
from shared.jobs import ItemState, Lane, Outcome, PartRef
from shared.redis_client import connect

PICTURE = b"\xff\xd8\xff\xe0 not a whole picture"


@pytest.fixture
def web(tmp_path: Path) -> Iterator[LocalService]:
    """No worker: a test ends its jobs itself, when it wants to."""
    environment = os.environ | {"WEB_PROCESSES": "1", "DATA_DIR": str(tmp_path)}
    environment["HOME"] = "/dev/null"  # in a container there is none that it may write to
    with local_service(tmp_path, environment) as running:
        running.start_web()
        running.await_web()
        yield running


def test_clients_that_wait_are_answered_before_the_process_exits(web: LocalService) -> None:
    picture = {"files": ("cat.jpg", PICTURE)}
    waited_for = httpx.post(f"{web.base_url}/jobs", files=picture).json()["id"]
    with ThreadPoolExecutor() as clients:
        classify = f"{web.base_url}/api/v1/classify?wait=30"
        classified = clients.submit(httpx.post, classify, content=PICTURE + b"!", timeout=40)
        read = f"{web.base_url}/jobs/{waited_for}?wait=30"
        waiting = clients.submit(httpx.get, read, timeout=40)
        job_ids = _outstanding(web, 2)

        process = web.processes["web"]
        process.send_signal(signal.SIGTERM)
        time.sleep(2)
        assert process.poll() is None and not classified.done() and not waiting.done()
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{web.base_url}/livez")

        _commit(web, job_ids)
        assert classified.result().json()["predictions"] == []
        assert (waiting.result().status_code, waiting.result().json()["state"]) == (
            200,
            "completed",
        )
        assert process.wait(timeout=5) == 0
    assert "rror" not in web.log("web")


def test_a_connection_that_is_only_kept_alive_holds_nothing_up(web: LocalService) -> None:
    with httpx.Client(base_url=web.base_url) as http, _idle_connection(web):
        assert http.get("/livez").is_success  # and keeps its connection
        started = time.monotonic()
        process = web.processes["web"]
        process.send_signal(signal.SIGTERM)
        # A client that does not know yet is answered, and told to come no more.
        time.sleep(0.3)
        last = http.get("/livez")
        assert (last.status_code, last.headers["Connection"]) == (200, "close")
        assert process.wait(timeout=10) == 0
        assert time.monotonic() - started < 5
    assert "rror" not in web.log("web")


def test_streams_of_events_end_and_hold_nothing_up(web: LocalService) -> None:
    job = httpx.post(f"{web.base_url}/jobs", files={"files": ("cat.jpg", PICTURE)}).json()
    process = web.processes["web"]
    with httpx.stream("GET", f"{web.base_url}/jobs/{job['id']}/events", timeout=20) as stream:
        lines = stream.iter_lines()
        assert next(lines) == "retry: 2000"
        started = time.monotonic()
        process.send_signal(signal.SIGTERM)
        told = list(lines)  # to a proper end: a cut would raise
        assert "event: progress" in told and "event: end" not in told
        assert time.monotonic() - started < 2
    assert process.wait(timeout=10) == 0
    assert time.monotonic() - started < 5
    assert "rror" not in web.log("web")


def test_a_process_that_is_still_loading_ends_without_an_error(tmp_path: Path) -> None:
    with local_service(tmp_path, os.environ | {"DATA_DIR": str(tmp_path)}) as starting:
        application = "tests.pipeline.delivery.ended_app:create_app()"
        starting.start("web", ["gunicorn", "-c", "web/server/gunicorn.conf.py", application], {})
        assert starting.processes["web"].wait(timeout=30) == 0
        assert "rror" not in starting.log("web")


def _idle_connection(web: LocalService) -> socket.socket:
    port = int(web.base_url.rpartition(":")[2])
    return socket.create_connection(("127.0.0.1", port))


def _outstanding(web: LocalService, count: int) -> list[str]:
    """Ids of the jobs that wait, once there are so many."""
    redis = web.redis()
    give_up = time.monotonic() + 10
    while len(members := redis.zrange("outstanding:interactive", 0, -1)) < count:
        assert time.monotonic() < give_up
        time.sleep(0.05)
    return [PartRef.from_member(member.decode()).job_id for member in members]


def _commit(web: LocalService, job_ids: list[str]) -> None:
    """As a worker does."""
    redis = connect(web.redis_url, max_connections=1)
    jobs = JobRecords(redis, result_ttl_seconds=3600, part_deadline_seconds=60)
    pipe = redis.pipeline(transaction=False)
    done = Outcome(state=ItemState.SUCCEEDED, model_version="m-1")
    for job_id in job_ids:
        jobs.parts.commit(pipe, PartRef(job_id, 0, 1), Lane.INTERACTIVE, {0: done})
    pipe.execute()
    redis.connection_pool.disconnect()
