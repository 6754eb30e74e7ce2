"""A model is exchanged while the service runs: workers of two versions side by side.

Each item of a job is answered by the version that the job was accepted for. Both versions are the
same model here, with other labels.
"""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from PIL import Image

from shared.jobs import PART_SIZE, Lane
from tests.pipeline.jobs import completed, results
from tests.support.local_service import LocalService, local_service
from tests.support.waiting import wait_until

#: A job takes three parts before the exchange and three after it.
HALF = 3 * PART_SIZE

pytestmark = pytest.mark.long


class Exchange:
    """The service with old workers, and with new ones beside them."""

    def __init__(self, service: LocalService, folder: Path) -> None:
        self.service = service
        self.http = httpx.Client(base_url=service.base_url, timeout=60, trust_env=False)
        self._labels = folder / "labels.txt"
        self._labels.write_text("".join(f"new {n}\n" for n in range(10)))
        service.start_all()
        self.old = self.current()
        self.start_new()
        names = self.promote().stdout.split("\n")
        [self.new] = [line.split()[0] for line in names if line.startswith("  ")]
        assert self.current() == self.old, "new workers alone change nothing"

    def start_new(self) -> None:
        labels = {"MODEL_LABELS": str(self._labels)}
        for lane in Lane:
            self.service.start_worker(lane, name=f"{lane}-new", **labels)
        wait_until(lambda: all(self.promote().stdout.count(f"{lane} 1") == 2 for lane in Lane), 60)

    def promote(self, *version: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "workers.promote", *version]
        environment = self.service.environment
        return subprocess.run(command, env=environment, check=False, capture_output=True, text=True)

    def switch(self, version: str) -> None:
        """Promote, and wait until web knows it."""
        assert self.promote(version).returncode == 0
        wait_until(lambda: self.current() == version)

    def current(self) -> str:
        return str(self.http.get("/api/v1/model/info").json()["version"])

    def open(self) -> str:
        return str(self.http.post("/jobs", json={"total": 2 * HALF}).json()["job"]["id"])

    def put(self, job: str, *numbers: int, tail: str) -> None:
        for number in numbers:
            files = [("files", picture(number * PART_SIZE + k, tail)) for k in range(PART_SIZE)]
            answer = self.http.put(f"/jobs/{job}/parts/{number}", files=files)
            assert answer.is_success, answer.text

    def versions_of(self, job: str) -> set[str]:
        record = completed(self.http, job)
        versions = {item["model_version"] for item in results(self.http, job)}
        assert record["model_version"] in versions
        return versions

    def classify(self, tail: str) -> str:
        answer = self.http.post("/api/v1/classify", files={"file": picture(0, tail)})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["model_version"])


def picture(number: int, tail: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 64), (number % 256, number // 256, 99)).save(file, "JPEG")
    return file.getvalue() + tail.encode()


@pytest.fixture
def exchange(tmp_path: Path, model_environment: dict[str, str]) -> Iterator[Exchange]:
    environment = model_environment | {
        "DATA_DIR": str(tmp_path),
        "WORKER_PROCESSES": "1",
        "MODEL_WEIGHTS": "demonstration",
        "MODEL_GRACE_SECONDS": "20",
        "PART_DEADLINE_SECONDS": "10",
        "BATCH_TIME_LIMIT_SECONDS": "8",
        "RECONCILE_SECONDS": "0.5",
    }
    command = [sys.executable, "-m", "workers.engine.export"]
    subprocess.run(command, env=environment, check=True)
    with local_service(tmp_path, environment) as service:
        running = Exchange(service, tmp_path)
        with closing(running.http):
            yield running


def test_each_job_is_answered_by_one_version_through_an_exchange_and_the_way_back(
    exchange: Exchange,
) -> None:
    before = exchange.open()
    exchange.put(before, 0, 1, 2, tail="a")
    assert exchange.classify("one") == exchange.old

    exchange.switch(exchange.new)
    after = exchange.open()
    exchange.put(after, 0, 1, 2, tail="a")  # the cache has answers of the old version
    exchange.put(before, 3, 4, 5, tail="a")
    exchange.put(after, 3, 4, 5, tail="a")
    assert exchange.versions_of(before) == {exchange.old}
    assert exchange.versions_of(after) == {exchange.new}
    assert exchange.classify("one") == exchange.new

    exchange.switch(exchange.old)
    again = exchange.open()
    exchange.put(again, *range(6), tail="a")
    assert exchange.versions_of(again) == {exchange.old}
    assert completed(exchange.http, again)["counts"]["cached"] == 2 * HALF
    assert exchange.classify("two") == exchange.old
    assert exchange.promote("no-such").returncode == 1


def test_what_waits_for_workers_that_were_removed_is_answered_by_the_current_version(
    exchange: Exchange,
) -> None:
    job = exchange.open()
    exchange.put(job, 0, 1, 2, tail="b")
    wait_until(lambda: exchange.http.get(f"/jobs/{job}").json()["counts"]["succeeded"] == HALF, 60)
    exchange.switch(exchange.new)
    for lane in Lane:
        exchange.service.stop(lane)
    exchange.put(job, 3, 4, 5, tail="b")
    assert exchange.classify("three") == exchange.new
    assert exchange.versions_of(job) == {exchange.old, exchange.new}
    assert exchange.http.get(f"/jobs/{job}").json()["model_version"] == exchange.new


def test_without_a_command_the_new_model_is_current_once_the_old_workers_have_gone(
    exchange: Exchange,
) -> None:
    for lane in Lane:
        exchange.service.stop(lane)
    wait_until(lambda: exchange.current() == exchange.new, 60)
    assert exchange.classify("four") == exchange.new
