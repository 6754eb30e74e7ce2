"""What every test may ask for: a Redis of its own, pictures, and a model that knows them.

That is torchvision's model with real pictures where both lie beside the checkout; elsewhere, and
with `--bundled`, the demonstration model with views of scikit-image's cat. So labels are asserted
everywhere.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from redis import Redis

from client.cli.demo import sample_pictures
from tests.support.local_service import LocalService, free_port, local_service
from quickstart import redis_server
from shared.records.job_records import JobRecords
from shared.redis_client import connect

# A shell's background job has SIGINT ignored, and so would have what a test starts and interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)

#: Real weights and pictures, beside the checkout where they exist; no part of the project.
_SHARED = Path(__file__).parents[2] / "shared"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--bundled", action="store_true", help="use no weights and pictures beside the checkout"
    )


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
def jobs(redis: Redis) -> JobRecords:
    return JobRecords(redis, result_ttl_seconds=3600, part_deadline_seconds=60)


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
def real(pytestconfig: pytest.Config) -> tuple[Path, list[Path]] | None:
    """torchvision's weights and a hundred photographs; None where they are not to be used."""
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
    """A hundred JPEGs, named by a class that the model of `weights` knows."""
    return real[1] if real else _views_of_the_cat(tmp_path_factory.mktemp("pictures"))


def _views_of_the_cat(folder: Path) -> list[Path]:
    """A few pixels less of it at its edges, others in each."""
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
    """What the model calls scikit-image's cat."""
    return "cat" if weights == "demonstration" else "Egyptian cat"


@pytest.fixture(scope="session")
def model_environment(tmp_path_factory: pytest.TempPathFactory, weights: str) -> dict[str, str]:
    environment = os.environ | {
        "MODEL_WEIGHTS": weights,
        "DATA_DIR": str(tmp_path_factory.mktemp("data")),
        "WORKER_PROCESSES": "2",
        "WEB_PROCESSES": "1",
    }
    subprocess.run([sys.executable, "-m", "workers.engine.export"], env=environment, check=True)
    return environment


@pytest.fixture(scope="session")
def service(
    model_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LocalService]:
    """The whole service: Redis, gunicorn, a Celery worker for each lane. Real processes."""
    with local_service(tmp_path_factory.mktemp("service"), model_environment) as running:
        running.start_all()
        yield running
