"""The whole service: Redis, gunicorn, a Celery worker for each lane. Real processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest

from loadtest.local_service import LocalService, local_service
from shared.jobs import Lane


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
    with local_service(tmp_path_factory.mktemp("service"), model_environment) as running:
        for lane in Lane:
            running.start_worker(lane)
        running.start_web()
        running.await_ready()
        yield running


@pytest.fixture
def http(service: LocalService) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service.base_url, timeout=60) as client:
        yield client
