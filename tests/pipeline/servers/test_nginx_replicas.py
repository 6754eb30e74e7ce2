"""The shipped nginx configuration before replicas whose answers a test decides byte by byte."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import httpx
import pytest

from tests.pipeline.conftest import StartNginx
from tests.support.connection import Connection, head
from tests.support.ports import free_port
from tests.support.servers.replica import Replica, answer

pytestmark = pytest.mark.long

MakeReplica = Callable[..., Replica]


@pytest.fixture
def replica() -> Iterator[MakeReplica]:
    with ExitStack() as stack:
        yield lambda *answers: stack.enter_context(closing(Replica(*answers)))


def test_an_upload_reaches_the_service_as_it_arrives(
    start_nginx: StartNginx, replica: MakeReplica
) -> None:
    web = replica(answer("application/json", b"{}"))
    start = head("/jobs", 2000) + b"a" * 1000
    with start_nginx([web.port]) as url, Connection(url, start) as client:
        received = b""
        while len(received) < 1000:
            received += web.body.get(timeout=20)
        client.send(b"b" * 1000)
        web.send()
        assert client.receive().startswith(b"HTTP/1.1 200 ")


def test_events_arrive_one_by_one(start_nginx: StartNginx, replica: MakeReplica) -> None:
    start = (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nX-Accel-Buffering: no\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n"
    )
    events = [b"f\r\ndata: 1234567\n\n\r\n", b"f\r\ndata: 7654321\n\n\r\n", b"0\r\n\r\n"]
    web = replica(start, *events)
    with start_nginx([web.port]) as url:
        web.send()
        gzip = {"Accept-Encoding": "gzip"}
        with httpx.stream("GET", f"{url}/jobs/a/events", headers=gzip, timeout=20) as stream:
            pieces = stream.iter_bytes()
            for number in (b"1234567", b"7654321"):
                web.send()
                assert number in next(pieces)
            assert "Content-Encoding" not in stream.headers
            web.send()


@pytest.mark.parametrize("body", [b"", b"x"])
def test_a_post_is_never_sent_twice(
    start_nginx: StartNginx, replica: MakeReplica, body: bytes
) -> None:
    dying = [replica(), replica()]
    with start_nginx([each.port for each in dying]) as url:
        refusal = httpx.post(f"{url}/jobs", content=body)
    assert sum(len(each.requests) for each in dying) == 1
    assert refusal.status_code == 503 and refusal.headers["Retry-After"] == "2"
    assert refusal.headers["Content-Type"] == "application/problem+json"
    assert refusal.json()["code"] == "unavailable"


def test_a_get_that_fails_is_sent_to_another_replica(
    start_nginx: StartNginx, replica: MakeReplica
) -> None:
    dying, well = replica(), replica(answer("application/json", b"{}"))
    well.send(4)
    with start_nginx([dying.port, well.port]) as url:
        assert all(httpx.get(f"{url}/jobs/a").is_success for _ in range(4))
    assert dying.requests


def test_a_post_goes_to_a_replica_that_listens(
    start_nginx: StartNginx, replica: MakeReplica
) -> None:
    well = replica(answer("application/json", b"{}"))
    well.send(4)
    with start_nginx([free_port(), well.port]) as url:
        assert all(httpx.post(f"{url}/jobs", content=b"x").is_success for _ in range(4))


def test_connections_to_a_replica_are_used_again(
    start_nginx: StartNginx, replica: MakeReplica
) -> None:
    web = replica(answer("application/json", b"{}"))
    web.send(20)
    with start_nginx([web.port]) as url:
        for _ in range(20):
            httpx.get(f"{url}/jobs/a").raise_for_status()
    # At most one for each of nginx's processes, which share the requests.
    assert web.connections <= len(os.sched_getaffinity(0)) and len(web.requests) == 20


@pytest.mark.parametrize(
    ("kind", "compressed"),
    [
        ("application/json", True),
        ("text/csv", True),
        ("application/jsonl", True),
        ("image/jpeg", False),
        ("image/png", False),
    ],
)
def test_only_text_is_compressed(
    start_nginx: StartNginx, replica: MakeReplica, kind: str, compressed: bool
) -> None:
    web = replica(answer(kind, b"a" * 5000))
    web.send()
    with start_nginx([web.port]) as url:
        got = httpx.get(f"{url}/jobs/a/results", headers={"Accept-Encoding": "gzip"})
    assert (got.headers.get("Content-Encoding") == "gzip") is compressed
    assert got.content == b"a" * 5000


def test_the_scripts_of_the_documentation_are_not_compressed(
    start_nginx: StartNginx, replica: MakeReplica
) -> None:
    """They have a megabyte. Compressing it again and again for one client delays all others."""
    web = replica(answer("text/javascript", b"a" * 5000))
    web.send()
    with start_nginx([web.port]) as url:
        got = httpx.get(f"{url}/openapi/a.js", headers={"Accept-Encoding": "gzip"})
    assert "Content-Encoding" not in got.headers and len(got.content) == 5000
