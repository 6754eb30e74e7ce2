"""Programs of the previous release beside today's, over the same data, while requests arrive.

`pack` made the archive of the previous release from the history. It runs in this environment.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest
from PIL import Image

from shared.jobs import PART_SIZE, Lane
from shared.serving import model_versions
from tests.pipeline.jobs import assert_nothing_is_left, completed, results
from tests.support.local_service import LocalService, local_service
from tests.support.ports import free_port
from tests.support.waiting import wait_until

RELEASE = Path(__file__).parent / "0.1.0.zip"
ROOT = Path(__file__).parents[2]
WEIGHTS = "workers/engine/demonstration.safetensors"

pytestmark = pytest.mark.long


class Mixed:
    """A service whose programs are of either release. Old web and new web have a port each."""

    def __init__(self, service: LocalService, old: Path) -> None:
        self.service = service
        self._old = old
        self._port = free_port()
        self.old = httpx.Client(base_url=service.base_url, timeout=60, trust_env=False)
        self.new = httpx.Client(
            base_url=f"http://127.0.0.1:{self._port}", timeout=60, trust_env=False
        )

    def start_old_web(self) -> None:
        command = ["gunicorn", "-c", "web/gunicorn.conf.py", "web.app:create_app()"]
        self.service.start("old-web", command, {}, folder=self._old)
        _await(self.old)

    def start_new_web(self) -> None:
        own = {"WEB_PORT": str(self._port), "DATA_DIR": str(self._old / "data")}
        self.service.start("new-web", LocalService.WEB, own)
        _await(self.new)

    def start_old_worker(self, lane: Lane) -> None:
        options = ["-n", f"old-{lane}@%h", "--without-mingle", "--without-gossip"]
        command = ["celery", "-A", "workers.app", "worker", *options]
        self.service.start(f"old-{lane}", command, {"LANE": lane}, folder=self._old)
        self._await_workers(lane)

    def start_new_worker(self, lane: Lane) -> None:
        self.service.start_worker(lane, name=f"new-{lane}")
        self._await_workers(lane)

    def _await_workers(self, lane: Lane) -> None:
        """Until each worker of the lane that runs here has given a sign of life."""
        running = sum(name in (f"old-{lane}", f"new-{lane}") for name in self.service.processes)
        with closing(self.service.redis()) as redis:
            wait_until(lambda: redis.zcard(f"workers:{lane}") >= running, 60)
            wait_until(lambda: redis.exists("model"), 60)

    def await_no_version(self, lane: Lane) -> None:
        """Until `python -m workers.promote` shows nothing that waits for a version of this lane."""

        def waits() -> int:
            with closing(self.service.redis()) as redis:
                return sum(
                    n for version, n in model_versions.waiting(redis, lane).items() if version
                )

        wait_until(lambda: not waits(), 60, problem=waits)

    def stop(self, *names: str) -> None:
        for name in names:
            self.service.stop(name)


def _await(http: httpx.Client) -> None:
    def answers() -> bool:
        try:
            return http.get("/readyz").is_success
        except httpx.TransportError:
            return False

    wait_until(answers, 60)


def picture(number: int, tail: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 64), (number % 256, number // 256, 99)).save(file, "JPEG")
    return file.getvalue() + tail.encode()


def open_job(http: httpx.Client, parts: int) -> str:
    answer = http.post("/jobs", json={"total": parts * PART_SIZE})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["job"]["id"])


def put(http: httpx.Client, job: str, *numbers: int) -> None:
    for number in numbers:
        files = [("files", picture(number * PART_SIZE + k, job)) for k in range(PART_SIZE)]
        answer = http.put(f"/jobs/{job}/parts/{number}", files=files)
        assert answer.is_success, answer.text


def submit_to_interactive(http: httpx.Client, pictures: int, tail: str) -> str:
    files = [("files", picture(k, tail)) for k in range(pictures)]
    answer = http.post("/jobs?lane=interactive", files=files)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def assert_all_succeeded(http: httpx.Client, job: str) -> None:
    counts = completed(http, job)["counts"]
    assert counts["succeeded"] == counts["total"]
    assert all(item["predictions"] for item in results(http, job))


@pytest.fixture
def mixed(tmp_path: Path, model_environment: dict[str, str]) -> Iterator[Mixed]:
    old = tmp_path / "old"
    zipfile.ZipFile(RELEASE).extractall(old)
    shutil.copy(ROOT / WEIGHTS, old / WEIGHTS)
    environment = model_environment | {
        "DATA_DIR": str(tmp_path),
        "WORKER_PROCESSES": "1",
        "MODEL_WEIGHTS": "demonstration",
        "PRECISION": "fp32",  # the old release has no other
        "PART_DEADLINE_SECONDS": "10",
        "BATCH_TIME_LIMIT_SECONDS": "8",
        "RECONCILE_SECONDS": "0.5",
    }
    command = [sys.executable, "-m", "workers.engine.export"]
    subprocess.run(command, env=environment, check=True)
    with local_service(tmp_path, environment) as service:
        running = Mixed(service, old)
        with closing(running.old), closing(running.new):
            yield running


@contextmanager
def load(mixed: Mixed) -> Iterator[list[httpx.Client]]:
    """Classify pictures one after the other through each of the clients in the list.

    Every one must be answered. A client that is removed gets no more requests.
    """
    clients: list[httpx.Client] = []
    problems: list[str] = []
    answered = [0]
    over = threading.Event()

    def run() -> None:
        while not over.is_set():
            for http in [*clients]:
                answered[0] += 1
                body = picture(answered[0], "load")
                answer = http.post("/api/v1/classify?wait=50", content=body)
                if answer.status_code != 200 or not answer.json()["predictions"]:
                    problems.append(answer.text)
                info = http.get("/api/v1/model/info")
                if info.status_code != 200:
                    problems.append(info.text)
            over.wait(0.05)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield clients
    finally:
        over.set()
        thread.join(timeout=120)
    assert not thread.is_alive() and not problems, problems[:3]
    assert answered[0] > 20


def test_an_exchange_of_all_programs_under_load_and_the_data_of_the_old_ones(
    mixed: Mixed,
) -> None:
    """The order of docs/upgrades.md: the workers first, then web."""
    mixed.start_old_web()
    for lane in Lane:
        mixed.start_old_worker(lane)
    with load(mixed) as clients:
        clients.append(mixed.old)
        ended, half, waiting = (open_job(mixed.old, 2) for _ in range(3))
        put(mixed.old, ended, 0, 1)
        assert_all_succeeded(mixed.old, ended)
        put(mixed.old, half, 0)
        # The old worker gives this job its model version, which no new worker has.
        wait_until(
            lambda: mixed.old.get(f"/jobs/{half}").json()["counts"]["succeeded"] == PART_SIZE
        )
        mixed.stop("old-bulk")
        put(mixed.old, waiting, 0, 1)

        for lane in Lane:
            mixed.start_new_worker(lane)
        mixed.stop("old-interactive")
        assert_all_succeeded(mixed.old, waiting)

        mixed.start_new_web()
        clients.append(mixed.new)
        # Both webs at once, each with jobs of the other.
        put(mixed.new, half, 1)
        both = open_job(mixed.new, 2)
        put(mixed.old, both, 0)
        put(mixed.new, both, 1)
        for http in (mixed.old, mixed.new):
            for job in (ended, half, waiting, both):
                assert_all_succeeded(http, job)
        clients.remove(mixed.old)
    mixed.stop("old-web")
    assert_nothing_is_left(mixed.service)


def test_the_reverse_order_and_the_way_back_under_load(mixed: Mixed) -> None:
    """New web before new workers, and then old programs for the new ones: docs/upgrades.md."""
    mixed.start_old_web()
    for lane in Lane:
        mixed.start_old_worker(lane)
    with load(mixed) as clients:
        clients.append(mixed.old)
        half, late, back = (open_job(mixed.old, 2) for _ in range(3))
        put(mixed.old, half, 0)

        # New web with old workers. They answer all that it accepts.
        mixed.start_new_web()
        clients.append(mixed.new)
        put(mixed.new, half, 1)
        bulk = open_job(mixed.new, 6)
        put(mixed.new, bulk, *range(6))
        several = submit_to_interactive(mixed.new, 100, "old workers")
        for job in (half, bulk, several):
            assert_all_succeeded(mixed.new, job)

        # New workers take over, with a part that an old one has begun to wait for.
        put(mixed.new, late, 0)
        for lane in Lane:
            mixed.start_new_worker(lane)
            mixed.stop(f"old-{lane}")
        put(mixed.new, late, 1)
        more = submit_to_interactive(mixed.new, 100, "new workers")
        for http in (mixed.old, mixed.new):
            for job in (half, bulk, several, late, more):
                assert_all_succeeded(http, job)
        assert_nothing_is_left(mixed.service)

        # The way back. Old web puts nothing into the queues of versions.
        put(mixed.new, back, 0)
        clients.remove(mixed.new)
        last = open_job(mixed.new, 31)
        put(mixed.new, last, *range(30))
        put(mixed.old, back, 1)
        put(mixed.old, last, 30)
        for lane in Lane:
            mixed.start_old_worker(lane)
            mixed.await_no_version(lane)
            mixed.stop(f"new-{lane}")
        for job in (back, last):
            assert_all_succeeded(mixed.old, job)
    mixed.stop("new-web", "old-web")
    assert_nothing_is_left(mixed.service, besides="messages")
    # Messages that the last new workers gave back. Old workers have got their parts again.
    with closing(mixed.service.redis()) as redis:
        assert all(0 < redis.ttl(queue) for queue in redis.scan_iter("*@*", _type="list"))
