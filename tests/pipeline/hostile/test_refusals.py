"""What is refused unread, over a real connection: it is cheap, and the connection lives on."""

from __future__ import annotations

import os
import re
import resource
import runpy
import socket
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from loadtest.measure import load_client
from tests.support.local_service import LocalService, local_service
from loadtest.measure.request_stream import CLASSIFY
from shared.settings import Settings

PICTURE = b"\xff\xd8\xff\xe0 not a whole picture"


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalService]:
    """A service whose interactive lane is full, and where nobody works."""
    folder = tmp_path_factory.mktemp("full")
    own = {"WEB_PROCESSES": "1", "DATA_DIR": str(folder), "MAX_OUTSTANDING_INTERACTIVE": "1"}
    with local_service(folder, os.environ | own) as running:
        running.start_web()
        running.await_web()
        first = httpx.post(f"{running.base_url}/api/v1/classify?wait=0", content=PICTURE)
        assert first.status_code == 202
        yield running


def test_a_refusal_costs_little_and_takes_no_connection(full: LocalService) -> None:
    spent = []
    with httpx.Client(base_url=full.base_url) as http:
        for _ in range(50):
            started = time.perf_counter()
            with http.stream(
                "POST", "/api/v1/classify", content=PICTURE + bytes(200_000)
            ) as answer:
                assert answer.status_code == 503 and answer.read()
                ours = answer.extensions["network_stream"].get_extra_info("client_addr")
            spent.append((time.perf_counter() - started, ours))
    assert statistics.median(seconds for seconds, _ in spent) < 0.02
    assert len({address for _, address in spent}) == 1


def test_an_answer_of_any_kind_takes_no_connection(full: LocalService) -> None:
    with connection(full) as client:
        for body, status in ((b"{}", b"422"), (b'{"total": 1}', b"201"), (PICTURE, b"422")):
            kind = "application/json" if body.startswith(b"{") else "text/plain"
            lines = f"POST /jobs HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\n"
            client.sendall(lines.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body)
            answer = b""
            while not answer.endswith(b"}"):  # head and body may come apart
                answer += client.recv(65536)
            assert answer.split()[1] == status


def test_a_client_that_has_sent_nothing_of_its_body_is_refused(full: LocalService) -> None:
    with connection(full) as client:
        client.sendall(head(10_000_000))
        assert client.recv(65536).startswith(b"HTTP/1.1 503")


def test_a_refusal_arrives_also_where_the_connection_closes(full: LocalService) -> None:
    for _ in range(20):
        with connection(full) as client:
            client.sendall(head(1_000_000, "Connection: close\r\n") + bytes(1_000_000))
            answer = b""
            while piece := client.recv(65536):
                answer += piece
            assert answer.startswith(b"HTTP/1.1 503") and b'"overloaded"' in answer


def test_after_a_refusal_the_rest_of_the_body_is_no_request(full: LocalService) -> None:
    with connection(full) as client:
        body = b"GET /livez HTTP/1.1\r\nHost: body\r\n\r\n".ljust(2_000_000, b"x")
        client.sendall(head(len(body)))
        refusal = b""
        while not refusal.endswith(b"}"):  # head and body may come apart
            refusal += client.recv(65536)
        assert refusal.startswith(b"HTTP/1.1 503")
        client.sendall(body)
        client.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answers = b""
        while piece := client.recv(65536):
            answers += piece
        assert answers.count(b"HTTP/1.1 ") == 1 and answers.startswith(b"HTTP/1.1 200")


def test_a_request_that_came_along_with_a_refused_body_is_answered(full: LocalService) -> None:
    with connection(full) as client:
        follows = b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        client.sendall(head(1000) + bytes(1000) + follows)
        answers = b""
        while piece := client.recv(65536):
            answers += piece
        assert re.findall(rb"HTTP/1.1 (\d+)", answers) == [b"503", b"200"]


def test_a_refused_body_of_unknown_length_is_taken_in_too(full: LocalService) -> None:
    with connection(full) as client:
        lines = ["POST /jobs?lane=interactive HTTP/1.1", "Host: x", "Transfer-Encoding: chunked"]
        chunk = b"%x\r\n" % 100_000 + bytes(100_000) + b"\r\n"
        client.sendall("\r\n".join([*lines, "", ""]).encode() + 10 * chunk + b"0\r\n\r\n")
        client.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answers = b""
        while piece := client.recv(65536):
            answers += piece
        assert re.findall(rb"HTTP/1.1 (\d+)", answers) == [b"503", b"200"]


def test_a_web_process_keeps_no_more_waiting_than_it_may(tmp_path: Path) -> None:
    """Nobody works, and the lane has room: who comes too many hears of it before anybody else."""
    own = {"MAX_CONCURRENT_SUBMISSIONS": "5", "WAIT_SECONDS": "3", "WEB_PROCESSES": "1"}
    with local_service(tmp_path, os.environ | own | {"DATA_DIR": str(tmp_path)}) as running:
        running.start_web()
        running.await_web()
        crowd = replace(CLASSIFY, clients=20, most=20)
        report = load_client.run(running.base_url, [PICTURE], [crowd], seconds=0)
        later = httpx.post(f"{running.base_url}/api/v1/classify?wait=0", content=PICTURE)
    kept = [answer.ended for answer in report.answers if answer.status == 202]
    refused = [answer.ended for answer in report.answers if answer.status == 503]
    assert (len(kept), len(refused)) == (5, 15)
    assert max(refused) < min(kept)
    assert later.status_code == 202


@pytest.fixture
def many_sockets() -> Iterator[None]:
    """More than the 1,024 that a shell allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_sockets")
def test_who_only_keeps_a_connection_leaves_it_to_who_asks(tmp_path: Path) -> None:
    own = {"MAX_CONCURRENT_SUBMISSIONS": "1", "WEB_PROCESSES": "1", "DATA_DIR": str(tmp_path)}
    more = 2200  # than the process has: 2000, and 1
    with local_service(tmp_path, os.environ | own) as running, ExitStack() as crowd:
        running.start_web()
        running.await_web()
        clients = []
        for k in range(more):
            clients.append(crowd.enter_context(connection(running)))
            if k % 2:  # the others have connected, and say nothing
                answer = ask(clients[-1])
        assert b"Connection: close" in answer, "there is no place that could be kept"
        assert httpx.get(f"{running.base_url}/livez", timeout=5).is_success
        assert clients[1].recv(1) == b"", "it has been idle for long"
        assert ask(clients[-2]).startswith(b"HTTP/1.1 200"), "it was the last to become idle"


def ask(client: socket.socket) -> bytes:
    client.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
    answer = b""
    while not answer.endswith(b"}"):  # head and body may come apart
        piece = client.recv(65536)
        assert piece, "ended without an answer"
        answer += piece
    return answer


def test_a_web_process_has_more_connections_than_it_keeps_waiting() -> None:
    config = runpy.run_path("web/server/gunicorn.conf.py")
    assert config["worker_connections"] > Settings().max_concurrent_submissions


def connection(service: LocalService) -> socket.socket:
    host, _, port = service.base_url.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), timeout=10)


def head(length: int, more: str = "") -> bytes:
    lines = f"POST /api/v1/classify HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n{more}\r\n"
    return lines.encode()
