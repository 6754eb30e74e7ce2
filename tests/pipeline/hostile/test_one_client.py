"""One hostile client, and another whose picture must be answered. Raw sockets and gunicorn."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import psutil
import pytest

from tests.support.connection import Connection, head
from tests.support.local_service import LocalService, local_service

CLASSIFY = "/api/v1/classify"
PICTURE = b"\xff\xd8\xff\xe0 not a whole picture"
MB = 2**20

#: The address of the other client.
OTHER = "127.0.0.2"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalService]:
    """A web process as it is shipped, without workers."""
    folder = tmp_path_factory.mktemp("one client")
    own = {"WEB_PROCESSES": "1", "DATA_DIR": str(folder)}
    with local_service(folder, os.environ | own) as running:
        running.start_web()
        running.await_web()
        yield running


@pytest.fixture(autouse=True)
def many_sockets() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


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
