"""Lost messages, pictures that kill their process, and workers that no longer consume."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from shared import keys
from shared.jobs import Lane, PartRef
from shared.message import message
from shared.settings import Settings
from tests.pipeline.jobs import completed
from tests.support.local_service import LocalService, local_service
from tests.support.waiting import wait_until
from workers.celery_app import make_celery

pytestmark = pytest.mark.long

_HERE = Path(__file__).parent
_ROOT = _HERE.parents[2]


@pytest.fixture(scope="module")
def hasty(
    model_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LocalService]:
    """A service with short deadlines, and a decoder that dies at the bytes `poison`."""
    environment = model_environment | {
        "PART_DEADLINE_SECONDS": "3",
        "BATCH_TIME_LIMIT_SECONDS": "2",
        "RECONCILE_SECONDS": "0.5",
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
    """The counts of a job that has completed."""
    with httpx.Client(base_url=service.base_url, timeout=60) as http:
        counts: dict[str, int] = completed(http, job_id)["counts"]
    return counts


def test_a_message_that_a_dying_worker_took_is_sent_again(
    hasty: LocalService, pictures: list[Path]
) -> None:
    hasty.stop(Lane.BULK)
    job_id = submit(hasty, [picture.read_bytes() + b"lost" for picture in pictures[:5]])
    # The worker had taken the message from the queue and had not yet noted it anywhere.
    assert hasty.redis().rpop(Lane.BULK)
    hasty.start_worker(Lane.BULK, app="poison_app")
    assert finish(hasty, job_id)["succeeded"] == 5


@pytest.fixture(scope="module")
def poisoned(hasty: LocalService, pictures: list[Path]) -> tuple[str, dict[str, int]]:
    """The id and the counts of a job of eight pictures, the fourth of which kills its process."""
    tails = [b"poison" if k == 3 else b"fine" for k in range(8)]
    files = [pictures[k].read_bytes() + tail for k, tail in enumerate(tails)]
    with hasty.may_die(Lane.BULK):
        job_id = submit(hasty, files)
        return job_id, finish(hasty, job_id)


def test_a_picture_that_kills_its_process_fails_alone_and_becomes_a_dead_letter(
    hasty: LocalService, poisoned: tuple[str, dict[str, int]]
) -> None:
    job_id, counts = poisoned
    assert (counts["succeeded"], counts["failed"]) == (7, 1)
    page = httpx.get(f"{hasty.base_url}/jobs/{job_id}/results").json()
    assert page["items"][3]["error"]["code"] == "worker_lost"
    redis = hasty.redis()
    [letter] = httpx.get(f"{hasty.base_url}/api/v1/dead-letters").json()["dead_letters"]
    assert (letter["job_id"], letter["index"], letter["name"]) == (job_id, 3, "3.jpg")
    assert not redis.zcard("outstanding:bulk") and not redis.keys("images:*")
    assert int(redis.get("outstanding_images:bulk") or 0) == 0


def test_a_dead_letter_is_tried_again_after_the_fault_is_fixed(
    hasty: LocalService, poisoned: tuple[str, dict[str, int]]
) -> None:
    job_id, _ = poisoned
    [letter] = httpx.get(f"{hasty.base_url}/api/v1/dead-letters").json()["dead_letters"]
    hasty.stop(Lane.BULK)
    hasty.start_worker(Lane.BULK)  # with the right decoder
    address = f"{hasty.base_url}/api/v1/dead-letters/{letter['id']}/retry"
    assert httpx.post(address).json()["state"] == "running"
    assert finish(hasty, job_id)["succeeded"] == 8
    again = httpx.post(address)
    assert (again.status_code, again.json()["code"]) == (404, "dead_letter_not_found")


def test_a_worker_that_no_longer_consumes_ends_and_says_why(
    hasty: LocalService, pictures: list[Path]
) -> None:
    """A worker may lose its consumer after it reconnects, and otherwise live on."""
    hasty.stop(Lane.BULK)
    hasty.start_worker(Lane.BULK, STALL_SECONDS="2")
    process = hasty.processes[Lane.BULK]
    with hasty.may_die(Lane.BULK):
        wait_until(lambda: _cancel_consumer(hasty), 40, problem="the worker does not answer")
        with closing(hasty.redis()) as redis:
            # A message of an earlier release, which knows no queues of model versions.
            redis.lpush(keys.queue(Lane.BULK), message(Lane.BULK, [PartRef("expired", 0, 1)]))
        assert process.wait(timeout=30) == 70
    assert "stalled: messages wait" in hasty.log("bulk")
    hasty.start_worker(Lane.BULK)
    job_id = submit(hasty, [pictures[0].read_bytes() + b"stalled"])
    assert finish(hasty, job_id)["succeeded"] == 1


def test_a_worker_that_was_frozen_goes_on_when_it_wakes(
    hasty: LocalService, pictures: list[Path]
) -> None:
    hasty.stop(Lane.BULK)
    patient = {"BATCH_TIME_LIMIT_SECONDS": "20", "PART_DEADLINE_SECONDS": "30"}
    hasty.start_worker(Lane.BULK, STALL_SECONDS="2", **patient)
    hasty.await_ready()
    group = hasty.processes[Lane.BULK].pid
    os.killpg(group, signal.SIGSTOP)
    try:
        # Redis hands the first message to the worker. The others wait in the queue.
        job_ids = [submit(hasty, [pictures[0].read_bytes() + b"%d" % k]) for k in range(3)]
        time.sleep(5)  # longer than a worker may stand still
    finally:
        os.killpg(group, signal.SIGCONT)
    assert [finish(hasty, job_id)["succeeded"] for job_id in job_ids] == [1, 1, 1]
    assert hasty.processes[Lane.BULK].pid == group and not hasty.deaths()
    assert "stalled" not in hasty.log("bulk").rpartition("ready")[2]


def _cancel_consumer(service: LocalService) -> bool:
    """Whether a worker was there and has stopped to consume."""
    with make_celery(Settings(redis_url=service.redis_url)) as app:
        return bool(app.control.cancel_consumer("bulk", reply=True, timeout=2, limit=1))


def test_the_heartbeat_shows_whether_a_worker_lives(hasty: LocalService) -> None:
    alive = _run(hasty, ["workers.upkeep.health"])
    assert alive.returncode == 0

    beat = Path(hasty.environment["DATA_DIR"]) / "heartbeat-bulk"
    before = beat.stat().st_mtime
    wait_until(lambda: beat.stat().st_mtime != before, problem="no heartbeat was written")

    no_worker_ran_there = str(hasty.logs)
    dead = _run(hasty, ["workers.upkeep.health"], DATA_DIR=no_worker_ran_there)
    assert dead.returncode == 1 and b"no heartbeat" in dead.stderr


def test_a_wrong_setting_stops_a_program_before_it_starts(hasty: LocalService) -> None:
    refused = _run(hasty, ["workers.upkeep.health"], PART_DEADLINE_SECONDS="1")
    assert refused.returncode == 1 and b"PART_DEADLINE_SECONDS" in refused.stderr


def _run(
    service: LocalService, module: list[str], **environment: str
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", *module],
        env={**service.environment, "LANE": "bulk", **environment},
        cwd=_ROOT,
        capture_output=True,
        check=False,
    )
