"""The load tests' client, with a small server that counts connections and requests."""

from __future__ import annotations

import json
import re
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from loadtest.measure import load_client
from loadtest.measure.request_stream import CLASSIFY, bulk, parts

PICTURES = [b"\xff\xd8 one ", b"\xff\xd8 another "]


class Counter(socketserver.ThreadingTCPServer):
    """Answers each request after `pause` seconds, and keeps its first line and its body."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, *, pause: float = 0.0, head: str = "", status: str = "200 OK") -> None:
        self.pause, self.head, self.status = pause, head, status
        self.connections = 0
        self.requests: list[tuple[bytes, bytes]] = []
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(socketserver.StreamRequestHandler):
    server: Any

    def handle(self) -> None:
        self.server.connections += 1
        while first := self.rfile.readline():
            length = 0
            while (line := self.rfile.readline()) != b"\r\n":
                if match := re.match(rb"Content-Length: (\d+)", line):
                    length = int(match[1])
            self.server.requests.append((first, self.rfile.read(length)))
            time.sleep(self.server.pause)
            head = f"HTTP/1.1 {self.server.status}\r\n{self.server.head}Content-Length: 2\r\n\r\nok"
            self.wfile.write(head.encode())
            if "close" in self.server.head:
                return


@contextmanager
def counting(**options: Any) -> Iterator[Counter]:
    with Counter(**options) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_a_closed_loop_sends_the_next_request_after_an_answer_and_keeps_connections() -> None:
    with counting(pause=0.02) as server:
        stream = replace(CLASSIFY, clients=3, most=60)
        report = load_client.run(server.url, PICTURES, [stream], seconds=0)
    assert server.connections == 3
    assert len(report.answers) == len(server.requests) == 60
    assert {answer.status for answer in report.answers} == {200}
    assert all(answer.body == b"ok" and answer.seconds >= 0.02 for answer in report.answers)


def test_an_open_loop_keeps_its_rate_when_no_answer_comes() -> None:
    with counting(pause=5) as server:
        stream = replace(CLASSIFY, rate=200)
        report = load_client.run(server.url, PICTURES, [stream], seconds=0.5, patience=0.5)
    assert 70 <= len(report.answers) <= 130
    assert {answer.status for answer in report.answers} == {0}


def test_a_request_without_a_free_connection_is_counted_and_not_sent() -> None:
    with counting(pause=5) as server:
        stream = replace(CLASSIFY, rate=100)
        report = load_client.run(
            server.url, PICTURES, [stream], seconds=0.5, patience=1, most_connections=4
        )
        assert len(server.requests) == len(report.answers)
    assert len(report.answers) <= 5 and report.unsent >= 20


def test_a_connection_that_the_server_closes_is_replaced() -> None:
    with counting(head="Connection: close\r\n") as server:
        report = load_client.run(
            server.url, PICTURES, [replace(CLASSIFY, clients=1, most=5)], seconds=0
        )
    assert [answer.status for answer in report.answers] == [200] * 5
    assert server.connections == 5


def test_no_two_pictures_have_the_same_bytes() -> None:
    with counting() as server:
        load_client.run(server.url, PICTURES, [replace(CLASSIFY, clients=2, most=6)], seconds=0)
    bodies = [body for _, body in server.requests]
    assert len(set(bodies)) == len(bodies) == 6
    assert all(body.startswith(tuple(PICTURES)) for body in bodies)


def test_a_bulk_request_contains_a_whole_part() -> None:
    with counting(status="503 Service Unavailable") as server:
        report = load_client.run(
            server.url, PICTURES, [replace(bulk(PICTURES), clients=1, most=1)], seconds=0
        )
    [(first, body)] = server.requests
    assert first == b"POST /jobs?lane=bulk HTTP/1.1\r\n"
    assert body.count(b'name="files"') == 32
    [answer] = report.answers
    assert answer.status == 503 and len(answer.numbers) == 32
    assert answer.body == b"", "a refusal's body is not kept"


def test_the_parts_of_open_jobs_are_the_bytes_of_their_pictures() -> None:
    stream = replace(parts(bulk(PICTURES), ["one", "two"]), clients=1)
    with counting(status="201 Created") as server:
        load_client.run(server.url, PICTURES, [stream], seconds=0)
    for (first, body), job in zip(server.requests, ("one", "two"), strict=True):
        assert first == f"PUT /jobs/{job}/parts/0 HTTP/1.1\r\n".encode()
        line, _, rest = body.partition(b"\n")
        sizes = [entry["size"] for entry in json.loads(line)]
        assert len(sizes) == 32 and sum(sizes) == len(rest)
        assert rest.startswith(PICTURES[0]) and rest[sizes[0] :].startswith(PICTURES[1])
