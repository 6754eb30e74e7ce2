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
from shared.serving.model_versions import workers
from tests.pipeline.jobs import completed, results
from tests.support.local_service import LocalService, local_service
from tests.support.waiting import wait_until

#: A job takes three parts before the exchange and three after it.
HALF = 3 * PART_SIZE

pytestmark = pytest.mark.long


_HERE = Path(__file__).parent
_ROOT = _HERE.parents[2]


class Exchange:
    """The service with workers of two model versions. Before each test, all of them run."""

    def __init__(self, service: LocalService, folder: Path) -> None:
        self.service = service
        self.http = httpx.Client(base_url=service.base_url, timeout=60, trust_env=False)
        labels = folder / "labels.txt"
        labels.write_text("".join(f"new {n}\n" for n in range(10)))
        service.start_web()
        self._start_workers("")
        service.await_ready()
        self._settings = {"": {}, "-new": {"MODEL_LABELS": str(labels)}}
        self.start_all()
        #: What follows the lane in the names of a version's workers.
        self._ending = {self.old: "", self.new: "-new"}

    def start_all(self) -> None:
        """Start the workers that are missing. `old` is the version that is current."""
        self.old = self.current()
        for ending, settings in self._settings.items():
            if f"{Lane.BULK}{ending}" not in self.service.processes:
                self._start_workers(ending, **settings)
        with closing(self.service.redis()) as redis:
            wait_until(lambda: all(len(workers(redis, lane)) == 2 for lane in Lane), 60)
            [self.new] = {*workers(redis, Lane.BULK)} - {self.old}
        assert self.promote().stdout.count(f"* {self.old}") == 1, "new workers change nothing"

    def _start_workers(self, ending: str, **settings: str) -> None:
        for lane in Lane:
            self.service.start_worker(lane, "hasty_app", name=f"{lane}{ending}", **settings)

    def stop_old(self) -> None:
        for lane in Lane:
            self.service.stop(f"{lane}{self._ending[self.old]}")

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


@pytest.fixture(scope="module")
def running(
    tmp_path_factory: pytest.TempPathFactory, model_environment: dict[str, str]
) -> Iterator[Exchange]:
    folder = tmp_path_factory.mktemp("exchange")
    environment = model_environment | {
        "DATA_DIR": str(folder),
        "WORKER_PROCESSES": "1",
        "MODEL_WEIGHTS": "demonstration",
        "MODEL_GRACE_SECONDS": "20",
        "PART_DEADLINE_SECONDS": "10",
        "BATCH_TIME_LIMIT_SECONDS": "8",
        "RECONCILE_SECONDS": "0.5",
        "PYTHONPATH": f"{_ROOT}:{_HERE}",
    }
    command = [sys.executable, "-m", "workers.engine.export"]
    subprocess.run(command, env=environment, check=True)
    with local_service(folder, environment) as service:
        exchange = Exchange(service, folder)
        with closing(exchange.http):
            yield exchange


@pytest.fixture
def exchange(running: Exchange) -> Exchange:
    running.start_all()
    return running


def test_each_job_is_answered_by_one_version_through_an_exchange_and_the_way_back(
    exchange: Exchange,
) -> None:
    listed = exchange.promote().stdout
    for line in (f"* {exchange.old}", f"  {exchange.new}"):
        assert f"{line}  workers: interactive 1, bulk 1  waiting: 0" in listed.splitlines()
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
    exchange.stop_old()
    exchange.put(job, 3, 4, 5, tail="b")
    assert exchange.classify("three") == exchange.new
    assert exchange.versions_of(job) == {exchange.old, exchange.new}
    assert exchange.http.get(f"/jobs/{job}").json()["model_version"] == exchange.new


def test_without_a_command_the_new_model_is_current_once_the_old_workers_have_gone(
    exchange: Exchange,
) -> None:
    exchange.stop_old()
    wait_until(lambda: exchange.current() == exchange.new, 60)
    assert exchange.classify("four") == exchange.new
