"""A service without a worker."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.support.local_service import LocalService, local_service


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalService]:
    """Redis and one web process. A submission that waits here waits for Redis.

    No worker takes what is accepted, and a fast machine sends more than the limits allow.
    """
    folder = tmp_path_factory.mktemp("web")
    environment = os.environ | {
        "WEB_PROCESSES": "1",
        "DATA_DIR": str(folder),
        "MAX_OUTSTANDING_INTERACTIVE": "1000000",
    }
    with local_service(folder, environment) as running:
        running.start_web()
        running.await_web()
        yield running
