"""Lost messages, deadly pictures and stalled workers, in a service of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.local_service import LocalService, local_service
from shared.jobs import Lane

_HERE = Path(__file__).parent
_ROOT = _HERE.parents[2]


@pytest.fixture(scope="module")
def hasty(
    model_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LocalService]:
    """Deadlines of two seconds, a look every half second, and a decoder that can be killed."""
    environment = model_environment | {
        "PART_DEADLINE_SECONDS": "2",
        "BATCH_TIME_LIMIT_SECONDS": "1",
        "RECONCILE_SECONDS": "0.5",
        "STALL_SECONDS": "2",
        "PYTHONPATH": f"{_ROOT}:{_HERE}",
    }
    with local_service(tmp_path_factory.mktemp("hasty"), environment) as service:
        service.start_worker(Lane.BULK, app="poison_app")
        service.start_web()
        service.await_ready()
        yield service


def submit(service: LocalService, pictures: list[bytes]) -> str:
    files = [("files", (f"{k}.jpg", data)) for k, data in enumerate(pictures)]
    answer = httpx.post(f"{service.base_url}/jobs", files=files, data={"lane": "bulk"})
    return str(answer.raise_for_status().json()["id"])


def finish(service: LocalService, job_id: str) -> dict[str, int]:
    job = httpx.get(f"{service.base_url}/jobs/{job_id}?wait=40", timeout=60).json()
    assert job["state"] == "completed", job
    counts: dict[str, int] = job["counts"]
    return counts


def test_a_message_that_a_dying_worker_took_is_sent_again(
    hasty: LocalService, pictures: list[Path]
) -> None:
    hasty.stop(Lane.BULK)
    job_id = submit(hasty, [picture.read_bytes() + b"lost" for picture in pictures[:5]])
    assert hasty.redis().rpop(Lane.BULK)  # popped, and not yet noted anywhere
    hasty.start_worker(Lane.BULK, app="poison_app")
    assert finish(hasty, job_id)["succeeded"] == 5


def test_a_deadly_picture_fails_alone_and_becomes_a_dead_letter(
    hasty: LocalService, pictures: list[Path]
) -> None:
    job_id = submit(
        hasty,
        [picture.read_bytes() + (b"poison" if k == 3 else b"fine") for k, picture in
         enumerate(pictures[:8])],
    )  # fmt: skip
    counts = finish(hasty, job_id)
    assert (counts["succeeded"], counts["failed"]) == (7, 1)
    page = httpx.get(f"{hasty.base_url}/jobs/{job_id}/results").json()
    assert page["items"][3]["error"]["code"] == "worker_lost"
    redis = hasty.redis()
    [letter] = httpx.get(f"{hasty.base_url}/api/v1/dead-letters").json()["dead_letters"]
    assert (letter["job_id"], letter["index"], letter["name"]) == (job_id, 3, "3.jpg")
    assert not redis.zcard("outstanding:bulk") and not redis.keys("images:*")
    assert int(redis.get("outstanding_images:bulk") or 0) == 0


def test_a_dead_letter_is_tried_again_where_the_fault_is_mended(
    hasty: LocalService, pictures: list[Path]
) -> None:
    job_id = submit(hasty, [pictures[9].read_bytes() + b"poison"])
    assert finish(hasty, job_id)["failed"] == 1
    letters = httpx.get(f"{hasty.base_url}/api/v1/dead-letters").json()["dead_letters"]
    [letter] = [each for each in letters if each["job_id"] == job_id]

    hasty.stop(Lane.BULK)
    hasty.start_worker(Lane.BULK)  # without the deadly decoder
    address = f"{hasty.base_url}/api/v1/dead-letters/{letter['id']}/retry"
    assert httpx.post(address).json()["state"] == "running"
    assert finish(hasty, job_id)["succeeded"] == 1
    again = httpx.post(address)
    assert (again.status_code, again.json()["code"]) == (404, "dead_letter_not_found")
    hasty.stop(Lane.BULK)
    hasty.start_worker(Lane.BULK, app="poison_app")


def test_a_worker_that_no_longer_consumes_ends_and_says_why(
    hasty: LocalService, pictures: list[Path]
) -> None:
    process = hasty.processes[Lane.BULK]
    # Alive and connected, but told to consume nothing: what users report after reconnects.
    environment = {**hasty.environment, "LANE": "bulk"}
    command = "celery -A workers.app control --timeout 2 cancel_consumer bulk".split()
    for _ in range(10):  # nobody answers before the worker is up
        told = subprocess.run(
            [sys.executable, "-m", *command],
            env=environment,
            cwd=_ROOT,
            check=False,
            capture_output=True,
        )
        if told.returncode == 0:
            break
    assert told.returncode == 0, told.stderr
    job_id = submit(hasty, [pictures[0].read_bytes() + b"stalled"])
    assert process.wait(timeout=30) == 70
    assert "stalled: messages wait" in hasty.log("bulk")
    del hasty.processes[Lane.BULK]
    hasty.start_worker(Lane.BULK, app="poison_app")
    assert finish(hasty, job_id)["succeeded"] == 1


def test_the_heartbeat_tells_a_living_worker_from_a_frozen_one(hasty: LocalService) -> None:
    environment = {**hasty.environment, "LANE": "bulk"}
    command = [sys.executable, "-m", "workers.upkeep.health"]
    alive = subprocess.run(command, env=environment, cwd=_ROOT, check=False)
    assert alive.returncode == 0

    beat = Path(environment["DATA_DIR"]) / "heartbeat-bulk"
    beats = beat.stat().st_mtime
    deadline = time.monotonic() + 10
    while beat.stat().st_mtime == beats:
        assert time.monotonic() < deadline, "the heart has stopped"
        time.sleep(0.1)

    environment["DATA_DIR"] = str(hasty.logs)  # no worker ever ran there
    dead = subprocess.run(command, env=environment, cwd=_ROOT, check=False, capture_output=True)
    assert dead.returncode == 1 and b"no heartbeat" in dead.stderr


def test_a_settings_error_is_told_before_anything_starts() -> None:
    environment = os.environ | {"PART_DEADLINE_SECONDS": "10"}
    command = [sys.executable, "-c", "from shared.settings import Settings; Settings()"]
    refused = subprocess.run(command, env=environment, cwd=_ROOT, check=False, capture_output=True)
    assert refused.returncode == 1 and b"PART_DEADLINE_SECONDS" in refused.stderr
