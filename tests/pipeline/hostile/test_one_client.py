"""One hostile client, and another whose picture must be answered. Raw sockets and gunicorn."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import psutil
import pytest

from tests.support.connection import Connection, head
from tests.support.local_service import LocalService, local_service

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("many_sockets")]

CLASSIFY = "/api/v1/classify"
PICTURE = b"\xff\xd8\xff\xe0 not a whole picture"
MB = 2**20

A_WAIT = b"GET /jobs/JOB?wait=55 HTTP/1.1\r\nHost: localhost\r\n\r\n"

#: The address of the other client.
OTHER = "127.0.0.2"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalService]:
    """A web process as it is shipped, without workers. Bodies wait less for memory."""
    folder = tmp_path_factory.mktemp("one client")
    own = {"WEB_PROCESSES": "1", "DATA_DIR": str(folder), "BODY_WAIT_SECONDS": "0.5"}
    with local_service(folder, os.environ | own) as running:
        running.start_web()
        running.await_web()
        yield running


def another_client_is_answered(service: LocalService) -> None:
    transport = httpx.HTTPTransport(local_address=OTHER)
    with httpx.Client(transport=transport, base_url=service.base_url, timeout=10) as http:
        assert http.get("/livez").is_success
        answer = http.post(f"{CLASSIFY}?wait=0", content=PICTURE)
        assert answer.status_code == 202, answer.text


def memory(service: LocalService) -> float:
    """Of the web process, in MB."""
    return psutil.Process(service.web_process()).memory_info().rss / MB


TRICKLES = {
    "pictures": head(CLASSIFY, 100_000, "Content-Type: image/jpeg") + b"\xff\xd8\xff",
    "large pictures": head(CLASSIFY, 20 * MB, "Content-Type: image/jpeg") + b"\xff\xd8\xff",
    "jobs": head("/jobs", 50 * MB, "Content-Type: multipart/form-data; boundary=b") + b"--b",
    "archives": head("/jobs", 50 * MB, "Content-Type: application/zip") + b"PK\x03\x04",
    "JSON": head("/jobs", 30 * MB, "Content-Type: application/json") + b"{",
    "chunks": (
        f"POST {CLASSIFY} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        + b"3\r\n\xff\xd8\xff\r\n"
    ),
}


@pytest.mark.parametrize("sent", TRICKLES.values(), ids=TRICKLES)
def test_trickling_uploads_refuse_no_other_client(service: LocalService, sent: bytes) -> None:
    with ExitStack() as crowd:
        for _ in range(1100):
            crowd.enter_context(Connection(service.base_url, sent))
        another_client_is_answered(service)


def test_half_sent_bodies_stay_within_their_budget(service: LocalService) -> None:
    before = memory(service)
    kinds = ["Content-Type: application/json", "Content-Type: image/jpeg"]
    with ExitStack() as crowd:
        for k in range(24):
            path, size = [("/jobs", 38 * MB), (CLASSIFY, 19 * MB)][k % 2]
            client = crowd.enter_context(
                Connection(service.base_url, head(path, size, kinds[k % 2]))
            )
            for _ in range(size // MB - 1):
                try:
                    client.send(bytes(MB))
                except (TimeoutError, ConnectionError):
                    break
        assert memory(service) - before < 300
        another_client_is_answered(service)


WITH_A_LENGTH = head(CLASSIFY, 19 * MB, "Content-Type: image/jpeg")


@pytest.mark.parametrize(
    "start",
    [
        WITH_A_LENGTH,
        WITH_A_LENGTH.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n"),
        f"POST {CLASSIFY} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".encode(),
    ],
    ids=["with a length", "expects 100", "chunks"],
)
def test_bodies_that_wait_for_memory_take_little_and_end(
    service: LocalService, start: bytes
) -> None:
    before = memory(service)
    with ExitStack() as crowd:
        clients = [crowd.enter_context(Connection(service.base_url, start)) for _ in range(450)]
        for client in clients:
            client.send(b"3000\r\n" + bytes(12_288) + b"\r\n")
        another_client_is_answered(service)
        for client in clients[-100:]:
            client.until(b'"}')  # the refusal
        assert memory(service) - before < 100
        another_client_is_answered(service)


def test_event_streams_of_one_client_leave_some_for_others(service: LocalService) -> None:
    transport = httpx.HTTPTransport(local_address=OTHER)
    with (
        httpx.Client(transport=transport, base_url=service.base_url, timeout=10) as http,
        ExitStack() as crowd,
    ):
        job_id = http.post("/jobs", json={"total": 1}).json()["job"]["id"]
        asking = f"GET /jobs/{job_id}/events HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        streams = [crowd.enter_context(Connection(service.base_url, asking)) for _ in range(600)]
        answers = [stream.receive()[9:12] for stream in streams]
        assert (answers.count(b"200"), answers.count(b"503")) == (250, 350)
        with http.stream("GET", f"/jobs/{job_id}/events") as stream:
            assert stream.status_code == 200
        another_client_is_answered(service)


def test_long_heads_take_little_memory(service: LocalService) -> None:
    before = memory(service)
    start = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n" + b"X-Long: " + b"a" * 8000 + b"\r\n"
    with ExitStack() as crowd:
        for _ in range(1400):
            client = crowd.enter_context(Connection(service.base_url, start))
            with suppress(ConnectionError):
                for _ in range(60):
                    client.send(b"X-Long: " + b"a" * 8000 + b"\r\n")
        another_client_is_answered(service)
        assert memory(service) - before < 200


CHUNKED = (
    f"POST {CLASSIFY} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
)


@pytest.mark.parametrize(
    ("start", "more"),
    [
        (b"", b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n" * 1000),
        (CHUNKED, b"1\r\na\r\n" * 20_000),
    ],
    ids=["requests", "chunks"],
)
def test_a_client_that_never_stops_sending_delays_no_other_client(
    service: LocalService, start: bytes, more: bytes
) -> None:
    """gevent switches to another client only where there is nothing to read."""
    over = threading.Event()

    def flood() -> None:
        with suppress(OSError), Connection(service.base_url, start) as client:
            client.socket.settimeout(1)  # nobody reads the answers
            while not over.is_set():
                client.send(more)

    crowd = [threading.Thread(target=flood, daemon=True) for _ in range(20)]
    for each in crowd:
        each.start()
    try:
        another_client_is_answered(service)
    finally:
        over.set()
        for each in crowd:
            each.join(20)


def test_many_questions_of_one_client_delay_no_other_client(service: LocalService) -> None:
    """Each takes a while of the only thread, which answers in the order of arrival."""
    over = threading.Event()
    with httpx.Client(base_url=service.base_url, timeout=10) as http:
        job_id = http.post("/jobs", json={"total": 1000}).json()["job"]["id"]
    asking = f"GET /jobs/{job_id}/results?limit=1000 HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()

    def ask() -> None:
        while not over.is_set():
            with suppress(OSError), Connection(service.base_url, asking) as client:
                while (piece := client.receive()) and not piece.endswith(b'"next_offset":null}'):
                    pass

    crowd = [threading.Thread(target=ask, daemon=True) for _ in range(100)]
    for each in crowd:
        each.start()
    try:
        time.sleep(1)
        began = time.monotonic()
        for _ in range(5):
            another_client_is_answered(service)
        assert time.monotonic() - began < 5
    finally:
        over.set()
        for each in crowd:
            each.join(20)


# The last, because a wait goes on after its client has left.
@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX-Slow: ",
        b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n",
        A_WAIT,
    ],
    ids=["nothing", "half a head", "idle", "waits"],
)
def test_many_connections_of_one_address_leave_some_for_others(
    service: LocalService, sent: bytes
) -> None:
    sent = sent.replace(b"JOB", open_job(service).encode())
    with ExitStack() as crowd:
        for _ in range(3500):
            crowd.enter_context(Connection(service.base_url, sent))
        another_client_is_answered(service)


def open_job(service: LocalService) -> str:
    """The id of a job of the hostile client, once its connections of the last test are closed."""
    give_up = time.monotonic() + 60
    with httpx.Client(base_url=service.base_url, timeout=10) as http:
        while not (answer := http.post("/jobs", json={"total": 1})).is_success:
            assert answer.status_code == 503 and time.monotonic() < give_up, answer.text
            time.sleep(0.1)
        return str(answer.json()["job"]["id"])


def test_a_web_process_counts_the_time_of_each_client(tmp_path: Path) -> None:
    """gunicorn must call what turns that on."""
    own = os.environ | {"WEB_PROCESSES": "1", "DATA_DIR": str(tmp_path)}
    application = "tests.pipeline.hostile.looking_app:create_app()"
    other = httpx.HTTPTransport(local_address=OTHER)
    with local_service(tmp_path, own) as web:
        web.start("web", ["gunicorn", "-c", "web/server/gunicorn.conf.py", application], {})
        web.await_web()
        with (
            httpx.Client(base_url=web.base_url) as busy,
            httpx.Client(base_url=web.base_url, transport=other) as quiet,
        ):
            look = busy.get("/look").json()
            assert look["is_watched"] and look["frozen"] > 10_000
            busy.get("/work")
            assert busy.get("/look").json()["rests_for"] > 0.1, "it is alone, so it need not wait"
            busy.get("/work")
            assert quiet.get("/look").json()["rests_for"] < 0.1
            began = time.monotonic()
            assert busy.get("/look").json()["rests_for"] < 0.1
            assert time.monotonic() - began > 0.1, "it had to rest first"
