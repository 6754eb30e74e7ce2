"""What every test may ask for: a Redis of its own, real pictures, real weights."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from loadtest.local_service import LocalService, free_port, local_service
from quickstart import redis_server
from shared.job_store import JobStore
from shared.redis_client import connect

# A shell's background job has SIGINT ignored, and so would have what a test starts and interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)

#: Real weights and pictures, beside the checkout where they exist; no part of the project.
_SHARED = Path(__file__).parents[2] / "shared"


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Redis on a free port, for this run only."""
    with redis_server.running(tmp_path_factory.mktemp("redis"), free_port()) as url:
        yield url


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    """A client of an empty Redis."""
    client = connect(redis_url, max_connections=8)
    client.flushall()
    yield client
    client.connection_pool.disconnect()


@pytest.fixture
def jobs(redis: Redis) -> JobStore:
    return JobStore(redis, result_ttl_seconds=3600, part_deadline_seconds=60)


class Clock:
    """The time of day, which stands still until a test moves it on; real waiting goes on."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    stopped = Clock()
    monkeypatch.setattr(time, "time", stopped)
    return stopped


@pytest.fixture(scope="session")
def pictures() -> list[Path]:
    """A hundred real JPEGs, named by class."""
    found = sorted((_SHARED / "images").glob("*.JPEG"))
    if not found:
        pytest.skip("the real pictures are not beside this checkout")
    return found


@pytest.fixture(scope="session")
def real_weights() -> Path:
    found = sorted((_SHARED / "weights").glob("*.safetensors"))
    if not found:
        pytest.skip("the real weights are not beside this checkout")
    return found[0]


@pytest.fixture(scope="session")
def model_environment(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> dict[str, str]:
    """Real weights where they are at hand; otherwise random ones, and no label is asserted."""
    try:
        weights = str(request.getfixturevalue("real_weights"))
    except pytest.skip.Exception:
        weights = "random"
    environment = os.environ | {
        "MODEL_WEIGHTS": weights,
        "DATA_DIR": str(tmp_path_factory.mktemp("data")),
        "WORKER_PROCESSES": "2",
        "WEB_PROCESSES": "1",
    }
    subprocess.run([sys.executable, "-m", "workers.export"], env=environment, check=True)
    return environment


@pytest.fixture(scope="session")
def service(
    model_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LocalService]:
    """The whole service: Redis, gunicorn, a Celery worker for each lane. Real processes."""
    with local_service(tmp_path_factory.mktemp("service"), model_environment) as running:
        running.start_all()
        yield running
