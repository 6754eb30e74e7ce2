"""Requests that are refused before their bodies are read, over real connections.

Such a refusal costs little, and the connection stays open for the next request.
"""

from __future__ import annotations

import os
import re
import runpy
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import httpx
import psutil
import pytest

from loadtest.measure import load_client
from loadtest.measure.request_stream import CLASSIFY
from shared.settings import Settings
from tests.support.connection import Connection, head
from tests.support.local_service import LocalService, local_service

PICTURE = b"\xff\xd8\xff\xe0 not a whole picture"
PATH = "/api/v1/classify"
LIVEZ = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n"
LAST_LIVEZ = LIVEZ + b"Connection: close\r\n\r\n"


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalService]:
    """A service without a worker, whose interactive lane is full."""
    folder = tmp_path_factory.mktemp("full")
    own = {"WEB_PROCESSES": "1", "DATA_DIR": str(folder), "MAX_OUTSTANDING_INTERACTIVE": "1"}
    with local_service(folder, os.environ | own) as running:
        running.start_web()
        running.await_web()
        first = httpx.post(f"{running.base_url}{PATH}?wait=0", content=PICTURE)
        assert first.status_code == 202
        yield running


def test_a_refusal_costs_little_and_keeps_its_connection(full: LocalService) -> None:
    """Little is a few times the processor time of the cheapest request that there is."""
    web = psutil.Process(full.web_process())
    clients = set()

    def seconds() -> float:
        times = web.cpu_times()
        return float(times.user + times.system)

    with httpx.Client(base_url=full.base_url) as http:
        before = seconds()
        for _ in range(200):
            assert http.get("/livez").is_success
        cheap = seconds() - before
        before = seconds()
        for _ in range(200):
            content = PICTURE + bytes(200_000)
            with http.stream("POST", PATH, content=content) as answer:
                assert answer.status_code == 503 and answer.read()
                clients.add(answer.extensions["network_stream"].get_extra_info("client_addr"))
        refused = seconds() - before
    print(f"200 requests: {cheap:.2f} s, 200 refusals: {refused:.2f} s")
    assert refused < 4 * cheap
    assert len(clients) == 1


def test_no_kind_of_answer_closes_the_connection(full: LocalService) -> None:
    with Connection(full.base_url) as client:
        for body, status in ((b"{}", b"422"), (b'{"total": 1}', b"201"), (PICTURE, b"422")):
            kind = "application/json" if body.startswith(b"{") else "text/plain"
            client.send(head("/jobs", len(body), f"Content-Type: {kind}") + body)
            assert client.until(b"}").split()[1] == status


def test_a_client_that_has_sent_nothing_of_its_body_is_refused(full: LocalService) -> None:
    with Connection(full.base_url, head(PATH, 10_000_000)) as client:
        assert client.receive().startswith(b"HTTP/1.1 503")


def test_a_refusal_arrives_also_where_the_connection_closes(full: LocalService) -> None:
    for _ in range(20):
        with Connection(full.base_url) as client:
            client.send(head(PATH, 1_000_000, "Connection: close") + bytes(1_000_000))
            answer = client.rest()
            assert answer.startswith(b"HTTP/1.1 503") and b'"overloaded"' in answer


def test_the_rest_of_a_refused_body_is_not_read_as_a_request(full: LocalService) -> None:
    with Connection(full.base_url) as client:
        body = (LIVEZ + b"\r\n").ljust(2_000_000, b"x")
        client.send(head(PATH, len(body)))
        assert client.until(b"}").startswith(b"HTTP/1.1 503")
        client.send(body)
        client.send(LAST_LIVEZ)
        answers = client.rest()
        assert answers.count(b"HTTP/1.1 ") == 1 and answers.startswith(b"HTTP/1.1 200")


def test_a_request_that_came_together_with_a_refused_body_is_answered(full: LocalService) -> None:
    with Connection(full.base_url, head(PATH, 1000) + bytes(1000) + LAST_LIVEZ) as client:
        assert re.findall(rb"HTTP/1.1 (\d+)", client.rest()) == [b"503", b"200"]


def test_a_refused_body_of_unknown_length_is_read_to_its_end(full: LocalService) -> None:
    with Connection(full.base_url) as client:
        lines = [f"POST {PATH} HTTP/1.1", "Host: localhost", "Transfer-Encoding: chunked"]
        chunk = b"%x\r\n" % 100_000 + bytes(100_000) + b"\r\n"
        client.send("\r\n".join([*lines, "", ""]).encode() + 10 * chunk + b"0\r\n\r\n")
        client.send(LAST_LIVEZ)
        assert re.findall(rb"HTTP/1.1 (\d+)", client.rest()) == [b"503", b"200"]


@pytest.mark.parametrize(
    "kind",
    [
        "application/json",
        "application/zip",
        "multipart/form-data; boundary=b",
        "application/vnd.image-classifier.part",
    ],
)
def test_malformed_chunks_are_the_fault_of_the_client(full: LocalService, kind: str) -> None:
    line = "POST /jobs HTTP/1.1"
    if kind.endswith(".part"):
        opened = httpx.post(f"{full.base_url}/jobs", json={"total": 1}).json()
        line = f"PUT /jobs/{opened['job']['id']}/parts/0 HTTP/1.1"
    lines = [line, "Host: localhost", f"Content-Type: {kind}", "Transfer-Encoding: chunked"]
    for chunks in (b"-1\r\nabc\r\n0\r\n\r\n", b"3\r\nabc" + bytes(1_000_000)):
        with Connection(full.base_url, "\r\n".join([*lines, "", ""]).encode()) as client:
            client.send(chunks)
            answer = client.rest()
            assert answer.startswith(b"HTTP/1.1 400 ") and b'"bad_request"' in answer
            assert b"Connection: close" in answer
    assert "unhandled error" not in full.log("web")


def test_a_web_process_keeps_no_more_requests_waiting_than_it_may(tmp_path: Path) -> None:
    """The lane has room and no worker runs. One client gets five of nine places."""
    own = {"MAX_CONCURRENT_SUBMISSIONS": "9", "WAIT_SECONDS": "3", "WEB_PROCESSES": "1"}
    with local_service(tmp_path, os.environ | own | {"DATA_DIR": str(tmp_path)}) as running:
        running.start_web()
        running.await_web()
        crowd = replace(CLASSIFY, clients=20, most=20)
        report = load_client.run(running.base_url, [PICTURE], [crowd], seconds=0)
        later = httpx.post(f"{running.base_url}{PATH}?wait=0", content=PICTURE)
    kept = [answer.ended for answer in report.answers if answer.status == 202]
    refused = [answer.ended for answer in report.answers if answer.status == 503]
    assert (len(kept), len(refused)) == (5, 15)
    assert max(refused) < min(kept)
    assert later.status_code == 202


@pytest.mark.long
@pytest.mark.usefixtures("many_sockets")
def test_idle_connections_make_room_for_requests(tmp_path: Path) -> None:
    own = {"MAX_CONCURRENT_SUBMISSIONS": "1", "WEB_PROCESSES": "1", "DATA_DIR": str(tmp_path)}
    more = 1000  # of the 1001 connections that one address may have
    with local_service(tmp_path, os.environ | own) as running, ExitStack() as crowd:
        running.start_web()
        running.await_web()
        clients = []
        for k in range(more):
            clients.append(crowd.enter_context(Connection(running.base_url)))
            if k % 2:  # the others connect and send nothing
                answer = _ask(clients[-1])
        assert b"Connection: close" in answer, "there is no room to keep this connection"
        assert httpx.get(f"{running.base_url}/livez", timeout=5).is_success
        assert clients[1].receive(1) == b"", "it has been idle for the longest time"
        assert _ask(clients[-2]).startswith(b"HTTP/1.1 200"), "it became idle last"


def _ask(client: Connection) -> bytes:
    client.send(LIVEZ + b"\r\n")
    return client.until(b"}")


def test_a_web_process_has_more_connections_than_it_keeps_waiting() -> None:
    config = runpy.run_path("web/server/gunicorn.conf.py")
    assert config["worker_connections"] > Settings().max_concurrent_submissions
