"""Redis goes away: a submit hears of it in time, nothing stored is lost, all comes back by itself.

No worker runs here, so a submission that waits is one that waits for Redis.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.support.local_service import LocalService, local_service
from shared.records.job_records import JobRecords
from shared.jobs import ItemState, Lane, Outcome, PartRef
from shared.redis_client import connect

PICTURE = b"\xff\xd8\xff\xe0 not a whole picture"

#: A client hears of an outage within 2 s. The rest is for the clients' own threads, which share
#: two cores with what is tested.
IN_TIME = 2.5

#: From Redis's return to the first answer.
RECOVERY = 6.0


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalService]:
    folder = tmp_path_factory.mktemp("outage")
    environment = os.environ | {"WEB_PROCESSES": "1", "DATA_DIR": str(folder)}
    with local_service(folder, environment) as running:
        running.start_web()
        running.await_web()
        yield running


def await_status(service: LocalService, path: str, status: int, seconds: float) -> float:
    """Seconds until the path answers so."""
    started = time.monotonic()
    answered: int | None = None
    while time.monotonic() - started < seconds:
        try:
            answered = httpx.get(f"{service.base_url}{path}", timeout=5).status_code
        except httpx.TransportError:
            answered = None
        if answered == status:
            return time.monotonic() - started
        time.sleep(0.05)
    raise AssertionError(f"{path} answers {answered}, not {status}, after {seconds} s")


def submit(service: LocalService, wait: float = 0) -> tuple[httpx.Response, float]:
    """The answer, and the seconds that it took."""
    # To read the machine's certificates for each client would take more of the cores than web does.
    with httpx.Client(base_url=service.base_url, timeout=60, verify=False) as http:
        started = time.monotonic()
        response = http.post(f"/api/v1/classify?wait={wait}", content=PICTURE)
        return response, time.monotonic() - started


def await_accepted(service: LocalService) -> httpx.Response:
    """The answer to the first submission that is taken; the service may have been away just now."""
    give_up = time.monotonic() + RECOVERY
    while (response := submit(service)[0]).status_code != 202:
        assert response.status_code == 503 and time.monotonic() < give_up
        time.sleep(0.1)
    return response


def submit_many(service: LocalService, count: int) -> list[tuple[httpx.Response, float]]:
    with ThreadPoolExecutor(count) as clients:
        return list(clients.map(lambda _: submit(service), range(count)))


def commit(service: LocalService, job_id: str) -> None:
    """As a worker does."""
    redis = connect(service.redis_url, max_connections=1)
    jobs = JobRecords(redis, result_ttl_seconds=3600, part_deadline_seconds=60)
    pipe = redis.pipeline(transaction=False)
    done = Outcome(state=ItemState.SUCCEEDED, model_version="m-1")
    jobs.parts.commit(pipe, PartRef(job_id, 0, 1), Lane.INTERACTIVE, {0: done})
    pipe.execute()
    redis.connection_pool.disconnect()


@contextmanager
def killed(service: LocalService) -> Iterator[None]:
    service.stop_redis(signal.SIGKILL)
    try:
        yield
    finally:
        service.start_redis()


@contextmanager
def stopped(service: LocalService) -> Iterator[None]:
    service.stop_redis()
    try:
        yield
    finally:
        service.start_redis()


@contextmanager
def frozen(service: LocalService) -> Iterator[None]:
    """Connections stay open and say nothing: only time limits tell."""
    process = service.redis_process()
    os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process, signal.SIGCONT)


OUTAGES = pytest.mark.parametrize("outage", [killed, stopped, frozen])


@OUTAGES
def test_in_an_outage_a_submit_gets_503_in_time_and_all_comes_back_by_itself(
    web: LocalService, outage: Callable[[LocalService], object]
) -> None:
    before = await_accepted(web)
    with outage(web):  # type: ignore[attr-defined]
        answers = submit_many(web, 100)
        assert {response.status_code for response, _ in answers} == {503}
        assert {response.json()["code"] for response, _ in answers} == {"unavailable"}
        assert all(int(response.headers["Retry-After"]) >= 1 for response, _ in answers)
        assert max(seconds for _, seconds in answers) < IN_TIME
        assert submit(web)[1] < IN_TIME
        assert httpx.get(f"{web.base_url}/livez").status_code == 200
        await_status(web, "/readyz", 503, 3)
    await_status(web, "/readyz", 200, RECOVERY)
    await_accepted(web)
    kept = httpx.get(web.base_url + before.headers["Location"])
    assert kept.status_code == 200
    assert " 500" not in web.log("web") and "Traceback" not in web.log("web")


@OUTAGES
def test_who_is_being_accepted_when_it_begins_hears_in_time(
    web: LocalService, outage: Callable[[LocalService], object]
) -> None:
    """A crowd: some wait for a connection, some for their turn to be stored, some for an answer."""
    answers: list[tuple[int, float, float]] = []  # status, seconds, when it came
    stop = threading.Event()

    def client() -> None:
        while not stop.is_set():
            response, seconds = submit(web)
            answers.append((response.status_code, seconds, time.monotonic()))
            stop.wait(0.2)  # or the clients would take the cores from what is tested

    clients = [threading.Thread(target=client) for _ in range(60)]
    for each in clients:
        each.start()
    time.sleep(1.5)
    began = time.monotonic()
    with outage(web):  # type: ignore[attr-defined]
        time.sleep(2.5)
        stop.set()
        for each in clients:
            each.join(timeout=10)
    assert {status for status, _, _ in answers} == {202, 503}
    assert max(min(took, at - began) for status, took, at in answers if status == 503) < IN_TIME
    await_status(web, "/readyz", 200, RECOVERY)


def test_a_killed_redis_loses_nothing_that_was_answered_202(web: LocalService) -> None:
    accepted: list[str] = []
    stop = threading.Event()

    def client() -> None:
        while not stop.is_set():
            files = {"files": ("cat.jpg", PICTURE)}
            response = httpx.post(f"{web.base_url}/jobs?lane=bulk", files=files, timeout=10)
            if response.status_code == 202:
                accepted.append(response.headers["Location"])
            else:
                time.sleep(0.1)

    clients = [threading.Thread(target=client) for _ in range(8)]
    for each in clients:
        each.start()
    for _ in range(3):
        time.sleep(1)
        with killed(web):
            pass
    time.sleep(1)
    stop.set()
    for each in clients:
        each.join()
    await_status(web, "/readyz", 200, RECOVERY)
    assert len(accepted) > 50
    with httpx.Client(base_url=web.base_url) as http:
        lost = [path for path in accepted if http.get(path).status_code != 200]
    assert not lost, f"{len(lost)} of {len(accepted)}"


@OUTAGES
def test_a_wait_outlives_an_outage(
    web: LocalService, outage: Callable[[LocalService], object]
) -> None:
    job_id = await_accepted(web).json()["id"]
    with ThreadPoolExecutor() as clients:
        waiting = clients.submit(httpx.get, f"{web.base_url}/jobs/{job_id}?wait=30", timeout=40)
        time.sleep(0.5)
        with outage(web):  # type: ignore[attr-defined]
            time.sleep(1.5)
        await_status(web, "/readyz", 200, RECOVERY)
        started = time.monotonic()
        commit(web, job_id)
        answer = waiting.result()
    assert (answer.status_code, answer.json()["state"]) == (200, "completed")
    assert time.monotonic() - started < 2


@OUTAGES
def test_a_wait_that_ends_in_an_outage_is_503(
    web: LocalService, outage: Callable[[LocalService], object]
) -> None:
    job_id = await_accepted(web).json()["id"]
    with ThreadPoolExecutor() as clients:
        waiting = clients.submit(httpx.get, f"{web.base_url}/jobs/{job_id}?wait=1.5", timeout=40)
        time.sleep(0.5)
        with outage(web):  # type: ignore[attr-defined]
            answer = waiting.result()
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    await_status(web, "/readyz", 200, RECOVERY)


def test_a_web_process_that_starts_in_an_outage_is_ready_when_it_ends(tmp_path: Path) -> None:
    environment = os.environ | {"WEB_PROCESSES": "1", "DATA_DIR": str(tmp_path)}
    with local_service(tmp_path, environment) as service:
        with stopped(service):
            service.start_web()
            await_status(service, "/readyz", 503, 20)
            assert submit(service)[0].status_code == 503
        await_accepted(service)
