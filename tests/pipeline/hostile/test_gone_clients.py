"""Clients that close their connections while their requests wait. A proxy does so for its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, closing

import httpx
import psutil
import pytest

from shared import keys
from shared.jobs import Lane
from tests.support.connection import Connection
from tests.support.local_service import LocalService, local_service
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("many_sockets")]

#: Requests that the web process answers at a time.
PLACES = 2_100

PICTURE = b"\xff\xd8\xff\xe0 not a whole picture"


@pytest.fixture
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalService]:
    """A web process behind a proxy, which is the test. It has no workers, so all requests wait."""
    folder = tmp_path_factory.mktemp("gone clients")
    own = {"WEB_PROCESSES": "1", "DATA_DIR": str(folder), "TRUSTED_PROXIES": "1"}
    own["MAX_CONCURRENT_SUBMISSIONS"] = str(PLACES - 2_000)
    with local_service(folder, os.environ | own) as running:
        running.start_web()
        running.await_web()
        yield running


@pytest.fixture
def job(service: LocalService) -> str:
    """The path of a job that does not end."""
    with asking(service, "10.0.0.1") as http:
        return f"/jobs/{http.post('/jobs', json={'total': 1}).json()['job']['id']}"


def asking(service: LocalService, address: str) -> httpx.Client:
    named = {"X-Forwarded-For": address}
    return httpx.Client(base_url=service.base_url, timeout=10, headers=named)


def request(path: str, address: str, body: bytes = b"") -> bytes:
    method = "POST" if body else "GET"
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: {address}\r\n"
    if body:
        head += f"Content-Type: image/jpeg\r\nContent-Length: {len(body)}\r\n"
    return f"{head}\r\n".encode() + body


def held(service: LocalService) -> int:
    """Connections to clients that the web process holds."""
    connections = psutil.Process(service.web_process()).net_connections("tcp")
    return sum(
        each.laddr.port == service.port and each.status != psutil.CONN_LISTEN
        for each in connections
    )


def test_a_place_is_free_soon_after_its_client_has_gone(service: LocalService, job: str) -> None:
    pictures = 20
    waits = [request(f"{job}?wait=55", "10.0.0.1"), request(f"{job}/events", "10.0.0.1")]
    sent = 100 * waits + [
        request("/api/v1/classify?wait=55", "10.0.0.1", PICTURE + bytes([k]))
        for k in range(pictures)
    ]
    with ExitStack() as crowd, closing(service.redis()) as redis:
        for each in sent:
            crowd.enter_context(Connection(service.base_url, each))
        accepted = keys.outstanding(Lane.INTERACTIVE)
        wait_until(lambda: held(service) >= len(sent) and redis.zcard(accepted) == pictures)
        crowd.close()
        wait_until(lambda: held(service) == 0, 5, problem=lambda: str(held(service)))
        assert redis.zcard(accepted) == pictures  # nothing that was accepted is lost


def test_a_client_that_stays_waits_on_beside_those_that_go(service: LocalService, job: str) -> None:
    wait = request(f"{job}?wait=10", "10.0.0.1")
    with Connection(service.base_url, wait + request("/livez", "10.0.0.1")) as staying:
        Connection(service.base_url, wait).close()
        with asking(service, "10.0.0.2") as http:
            assert http.get(f"{job}?wait=2").is_success
        assert not staying.has_answer()
        assert staying.receive().startswith(b"HTTP/1.1 200")


def test_waits_that_their_client_has_left_keep_nobody_out(service: LocalService, job: str) -> None:
    """A client leaves as many as it may have, twice. Neither it nor another is kept out then."""
    wait = request(f"{job}?wait=55", "10.0.0.1")
    with asking(service, "10.0.0.1") as http:
        for _ in range(2):
            with ExitStack() as crowd:
                for _ in range(PLACES // 2 - 10):
                    crowd.enter_context(Connection(service.base_url, wait))
                # Requests of a client begin in order. So all the waits have begun.
                wait_until(lambda: http.get(job).is_success)
            wait_until(lambda: held(service) <= 1, 5, problem=lambda: str(held(service)))
    with asking(service, "10.0.0.2") as http:
        assert http.post("/api/v1/classify?wait=0", content=PICTURE).status_code == 202


def test_a_client_behind_a_proxy_gets_half_of_the_places(service: LocalService, job: str) -> None:
    wait = request(f"{job}?wait=55", "10.0.0.1")
    with ExitStack() as crowd:
        waiting = [
            crowd.enter_context(Connection(service.base_url, wait)) for _ in range(PLACES - 50)
        ]
        wait_until(lambda: sum(each.has_answer() for each in waiting) >= PLACES // 2 - 50)
        with asking(service, "10.0.0.2") as http:
            assert http.get(job).is_success
        with asking(service, "10.0.0.1") as http:
            refused = http.get(job)
            assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
            assert int(refused.headers["Retry-After"]) > 0
        assert sum(not each.has_answer() for each in waiting) == PLACES // 2
    with asking(service, "10.0.0.1") as http:
        wait_until(lambda: http.get(job).is_success, 5)
