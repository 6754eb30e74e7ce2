"""Fixtures for all tests: a Redis, pictures, a model that labels them, and a running service.

The model is torchvision's and the pictures are photographs where both lie beside the checkout.
Elsewhere, and with `--bundled`, they are the demonstration model and views of scikit-image's cat.
Tests assert labels in both cases.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from PIL import Image
from redis import Redis

from client.cli.demo import sample_pictures
from quickstart import redis_server
from shared import clock as redis_clock
from shared.records.job_records import JobRecords
from shared.redis_client import connect
from tests.support import machine
from tests.support.servers import redis_users
from tests.support.local_service import LocalService, local_service, unexpected_deaths
from tests.support.ports import free_port

pytest_plugins = ["tests.support.tiers"]

# A background job of a shell ignores SIGINT, and a child of `nohup` ignores SIGHUP. The programs
# that tests interrupt would ignore them, too.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

#: Real weights and photographs. They are no part of the project and need not exist.
_SHARED = Path(__file__).parents[2] / "shared"


def pytest_configure(config: pytest.Config) -> None:
    home = tempfile.TemporaryDirectory(prefix="home-")
    config.add_cleanup(home.cleanup)
    machine.leave_out(home.name)
    machine.read_certificates_once()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, object, object]:
    """Fail a test during which a program or a pool process died that the test did not stop."""
    result = yield
    assert not (deaths := unexpected_deaths()), "\n".join(deaths)
    return result


@pytest.fixture(autouse=True)
def log_of_the_test_alone() -> Iterator[None]:
    """Programs set the level of the whole process. Some tests and fixtures build a program in it.

    Each test begins with Python's own level. A timer of web, which logs the refusals of a second,
    does not outlive the test that started it.
    """
    logging.getLogger().setLevel(logging.WARNING)
    yield
    logging.getLogger().setLevel(logging.WARNING)
    for thread in threading.enumerate():
        if isinstance(thread, threading.Timer):
            thread.cancel()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--bundled", action="store_true", help="use no weights and pictures beside the checkout"
    )


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder for a socket, whose path may not be long. `tmp_path` has the name of the test."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Redis on a free port. Each process of pytest-xdist has its own."""
    with redis_server.running(tmp_path_factory.mktemp("redis"), free_port()) as url:
        with Redis.from_url(url) as client:
            redis_users.create(client)
        yield url


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    """A client of an empty Redis."""
    client = connect(redis_url, max_connections=8)
    client.flushall()
    yield client
    client.connection_pool.disconnect()


@pytest.fixture
def jobs(redis: Redis) -> JobRecords:
    return JobRecords(redis, result_ttl_seconds=3600, part_deadline_seconds=60)


class Clock:
    """The time of day, here and by the clock of Redis. It stands still until a test changes `now`.

    Waiting takes real time.
    """

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    stopped = Clock()
    monkeypatch.setattr(time, "time", stopped)
    monkeypatch.setattr(redis_clock, "now", lambda redis: stopped.now)
    monkeypatch.setattr(redis_clock, "reading", stopped)
    return stopped


@pytest.fixture(scope="session")
def real(pytestconfig: pytest.Config) -> tuple[Path, list[Path]] | None:
    """torchvision's weights and a hundred photographs; None without them or with `--bundled`."""
    weights = sorted((_SHARED / "weights").glob("*.safetensors"))
    photographs = sorted((_SHARED / "images").glob("*.JPEG"))
    if pytestconfig.getoption("bundled") or not (weights and photographs):
        return None
    return weights[0], photographs


@pytest.fixture(scope="session")
def real_weights(real: tuple[Path, list[Path]] | None) -> Path:
    if real is None:
        pytest.skip("the real weights are not beside this checkout")
    return real[0]


@pytest.fixture(scope="session")
def pictures(
    real: tuple[Path, list[Path]] | None, tmp_path_factory: pytest.TempPathFactory
) -> list[Path]:
    """A hundred JPEGs, each named after its class in the model of `weights`."""
    return real[1] if real else _views_of_the_cat(tmp_path_factory.mktemp("pictures"))


def _views_of_the_cat(folder: Path) -> list[Path]:
    """A hundred crops of the cat's picture, all different."""
    views = [folder / f"n{number:08}_cat.JPEG" for number in range(100)]
    with Image.open(sample_pictures()[0]) as cat:
        for number, path in enumerate(views):
            row, column = divmod(number, 10)
            view = cat.crop((column, row, 442 + column, 291 + row))
            view.save(path, quality=90)
    return views


@pytest.fixture(scope="session")
def weights(real: tuple[Path, list[Path]] | None) -> str:
    """MODEL_WEIGHTS of end-to-end tests."""
    return str(real[0]) if real else "demonstration"


@pytest.fixture(scope="session")
def cats_label(weights: str) -> str:
    """The model's label for scikit-image's cat."""
    return "cat" if weights == "demonstration" else "Egyptian cat"


@pytest.fixture(scope="session")
def model_environment(tmp_path_factory: pytest.TempPathFactory, weights: str) -> dict[str, str]:
    """The environment of programs that need the model. The model has been exported."""
    run = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        run = run.parent  # All processes of a run share one export; the first of them makes it.
    environment = os.environ | {
        "MODEL_WEIGHTS": weights,
        "MODELS_DIR": str(run / "models"),
        "WORKER_PROCESSES": "2",
        "WEB_PROCESSES": "1",
    }
    subprocess.run([sys.executable, "-m", "workers.engine.export"], env=environment, check=True)
    return environment


@pytest.fixture(scope="session")
def service(
    model_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LocalService]:
    """The whole service as real processes: Redis, gunicorn, a Celery worker for each lane.

    All tests that use it run in one process, one after the other. See tests/support/tiers.py.
    """
    with local_service(tmp_path_factory.mktemp("service"), model_environment) as running:
        running.start_all()
        yield running
