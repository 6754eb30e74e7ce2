"""Redis goes away. Submits are refused meanwhile, nothing stored is lost, and the service
recovers by itself."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from shared.jobs import PartRef
from tests.pipeline.outages.outages import (
    OUTAGES,
    PICTURE,
    Outage,
    await_accepted,
    await_readiness,
    client_of,
    killed,
    stopped,
    submit,
)
from tests.support.local_service import LocalService, local_service
from tests.support.waiting import wait_until
from tests.support.work import commit

pytestmark = pytest.mark.long


@OUTAGES
def test_a_submit_is_refused_during_an_outage_and_accepted_after_it(
    web: LocalService, outage: Outage
) -> None:
    before = await_accepted(web)
    with outage(web):
        with ThreadPoolExecutor(20) as clients:
            answers = list(clients.map(lambda _: submit(web), range(20)))
        assert {answer.status_code for answer in answers} == {503}
        assert {answer.json()["code"] for answer in answers} == {"unavailable"}
        assert all(int(answer.headers["Retry-After"]) >= 1 for answer in answers)
        assert httpx.get(f"{web.base_url}/livez").status_code == 200
        await_readiness(web, 503)
    await_readiness(web, 200)
    await_accepted(web)
    kept = httpx.get(web.base_url + before.headers["Location"])
    assert kept.status_code == 200
    assert " 500" not in web.log("web") and "Traceback" not in web.log("web")


def test_a_killed_redis_loses_no_job_that_was_answered_with_202(web: LocalService) -> None:
    accepted: list[str] = []
    stop = threading.Event()

    def client() -> None:
        with client_of(web) as http:
            while not stop.is_set():
                answer = http.post("/jobs?lane=bulk", files={"files": ("cat.jpg", PICTURE)})
                if answer.status_code == 202:
                    accepted.append(answer.headers["Location"])
                else:
                    stop.wait(0.1)

    clients = [threading.Thread(target=client) for _ in range(8)]
    for each in clients:
        each.start()
    try:
        for kills in range(3):
            wait_until(lambda k=kills: len(accepted) >= 30 * (k + 1))  # type: ignore[misc]
            with killed(web):
                pass
        wait_until(lambda: len(accepted) >= 120)
    finally:
        stop.set()
        for each in clients:
            each.join()
    with client_of(web) as http:
        lost = [path for path in accepted if http.get(path).status_code != 200]
    assert not lost, f"{len(lost)} of {len(accepted)}"


@OUTAGES
def test_a_wait_that_outlives_an_outage_is_answered_at_the_end_of_its_job(
    web: LocalService, outage: Outage
) -> None:
    job_id = await_accepted(web).json()["id"]
    with ThreadPoolExecutor() as clients:
        waiting = clients.submit(httpx.get, f"{web.base_url}/jobs/{job_id}?wait=55", timeout=90)
        time.sleep(0.3)  # the request is being waited for
        with outage(web):
            await_readiness(web, 503)
        await_readiness(web, 200)
        assert not waiting.done()
        commit(web.redis_url, PartRef(job_id, 0, 1))
        answer = waiting.result(timeout=15)  # by far less than the wait: a notification ended it
    assert (answer.status_code, answer.json()["state"]) == (200, "completed")


@OUTAGES
def test_a_wait_that_ends_in_an_outage_is_503(web: LocalService, outage: Outage) -> None:
    job_id = await_accepted(web).json()["id"]
    with ThreadPoolExecutor() as clients:
        waiting = clients.submit(httpx.get, f"{web.base_url}/jobs/{job_id}?wait=1", timeout=40)
        time.sleep(0.3)  # the request is being waited for
        with outage(web):
            answer = waiting.result()
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    await_readiness(web, 200)


def test_a_web_process_that_starts_in_an_outage_is_ready_when_it_ends(tmp_path: Path) -> None:
    environment = os.environ | {"WEB_PROCESSES": "1", "DATA_DIR": str(tmp_path)}
    with local_service(tmp_path, environment) as service:
        with stopped(service):
            service.start_web()
            await_readiness(service, 503)
            assert submit(service).status_code == 503
        await_accepted(service)
