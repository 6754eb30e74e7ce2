"""A thousand clients wait for one job. Each takes a greenlet, and all are answered."""

from __future__ import annotations

import asyncio
import os
import resource
import time
from pathlib import Path

import httpx
import pytest

from shared.jobs import PartRef
from tests.support.local_service import LocalService, local_service
from tests.support.work import commit

pytestmark = [pytest.mark.long, pytest.mark.alone]

CLIENTS = 1000


def test_a_thousand_waiting_clients_are_answered_at_the_end_of_their_job(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4 * CLIENTS), hard))
    environment = os.environ | {"WEB_PROCESSES": "1", "DATA_DIR": str(tmp_path)}
    with local_service(tmp_path, environment) as service:
        service.start_web()
        service.await_web()
        with httpx.Client(base_url=service.base_url, timeout=30) as http:
            picture = ("cat.jpg", b"\xff\xd8\xff")
            job_id = http.post("/jobs", files={"files": picture}).json()["id"]
        answers, seconds = asyncio.run(_wait_all(service, job_id))
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert len(answers) == CLIENTS
    bad = [answer for answer in answers if b" 200 OK" not in answer]
    assert not bad, (len(bad), bad[0], seconds)
    assert all(b'"completed"' in answer for answer in answers)
    assert seconds < 10  # on two cores that the clients share with web


async def _wait_all(service: LocalService, job_id: str) -> tuple[list[bytes], float]:
    """Open every connection, then end the job as a worker does.

    Gives the answers, and the seconds from the end of the job to the last of them.
    """
    request = f"GET /jobs/{job_id}?wait=50 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"

    async def ask() -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
        writer.write(request.encode())
        asked.append(None)
        answer = await reader.read()
        writer.close()
        return answer

    asked: list[None] = []
    clients = [asyncio.create_task(ask()) for _ in range(CLIENTS)]
    while len(asked) < CLIENTS:
        await asyncio.sleep(0.05)
    await asyncio.sleep(2)  # web reads the last requests
    assert not any(client.done() for client in clients)
    started = time.monotonic()
    commit(service.redis_url, PartRef(job_id, 0, 1))
    answers = await asyncio.gather(*clients)
    return answers, time.monotonic() - started
