"""The whole service: Redis, gunicorn, a Celery worker for each lane. Real processes."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from loadtest.local_service import LocalService, local_service
from shared.jobs import Lane


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
