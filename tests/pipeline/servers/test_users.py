"""Web and the workers, each with its own Redis user of few rights."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import httpx
import pytest

from shared.jobs import Lane
from tests.support.servers import redis_users
from tests.support.local_service import local_service

pytestmark = pytest.mark.long


def test_the_service_works_with_a_user_for_each_program(
    model_environment: dict[str, str], tmp_path: Path, pictures: list[Path]
) -> None:
    with local_service(tmp_path, model_environment | {"WORKER_PROCESSES": "1"}) as service, closing(
        service.redis()
    ) as redis:
        redis_users.create(redis)
        web, worker = (redis_users.address(service.redis_url, each) for each in ("web", "worker"))
        for lane in Lane:
            service.start_worker(lane, REDIS_URL=worker)
        service.start("web", service.WEB, {"REDIS_URL": web})
        service.await_ready()
        with httpx.Client(base_url=service.base_url, timeout=60) as http:
            files = [("files", (path.name, path.read_bytes())) for path in pictures[:2]]
            job = http.post("/jobs?lane=bulk", files=files).raise_for_status().json()
            ended = http.get(f"/jobs/{job['id']}?wait=50").json()
            assert (ended["state"], ended["counts"]["succeeded"]) == ("completed", 2)
            service.stop(Lane.INTERACTIVE)
            waiting = http.post("/api/v1/classify?wait=0", content=files[0][1][1] + b"new").json()
            assert http.delete(f"/jobs/{waiting['id']}").json()["state"] == "cancelled"
            assert http.get("/metrics").is_success and http.get("/readyz").is_success
        service.stop(Lane.BULK)
        assert not redis_users.refusals(redis)
