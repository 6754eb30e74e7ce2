"""Flower's pages show the ids of jobs, so no page of another site may read them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from quickstart.programs import programs
from shared.settings import Settings
from tests.support.ports import free_port
from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[2]
EVIL = {"Host": "evil.example:5555"}


@pytest.fixture
def start(redis_url: str) -> Iterator[Callable[..., httpx.Client]]:
    """Starts Flower as the quick start does, and gives a client for it."""
    started: list[subprocess.Popen[bytes]] = []
    clients: list[httpx.Client] = []

    def start(**environment: str) -> httpx.Client:
        port = free_port()
        [flower] = [p for p in programs(Settings(flower_port=port)) if p.name == "flower"]
        own = {"REDIS_URL": redis_url, **environment}
        process = subprocess.Popen(
            [sys.executable, "-m", *flower.command], env=os.environ | own, cwd=ROOT
        )
        started.append(process)
        client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20)
        clients.append(client)

        def answers() -> bool:
            assert process.poll() is None
            with suppress(httpx.TransportError):
                return client.get("/healthcheck").is_success
            return False

        wait_until(answers, 30)
        return client

    yield start
    for client in clients:
        client.close()
    for process in started:
        process.kill()
        process.wait()


def test_without_a_password_a_name_that_is_not_ours_reads_nothing(
    start: Callable[..., httpx.Client],
) -> None:
    flower = start(ALLOWED_HOSTS="flower.lan")
    task_table = (
        "/tasks/datatable?draw=1&start=0&length=3&search[value]=&order[0][column]=0"
        "&order[0][dir]=asc&columns[0][data]=name"
    )
    for path in ("/", "/tasks", "/task/a", task_table, "/api/tasks", "/metrics", "/nope"):
        answer = flower.get(path, headers=EVIL)
        assert answer.status_code == 400, path
        assert answer.json()["code"] == "host_not_allowed"
        assert "ALLOWED_HOSTS" in answer.json()["detail"]
    assert flower.get("/static/css/flower.css", headers=EVIL).status_code == 400
    assert flower.post("/api/worker/shutdown/a", headers=EVIL).status_code == 403  # no token
    for host in ("127.0.0.1:5555", "localhost:5555", "[::1]:5555", "flower.lan"):
        assert flower.get("/", headers={"Host": host}).status_code == 200
        assert flower.get(task_table, headers={"Host": host}).json()["data"] == []


def test_with_a_password_prometheus_may_use_any_name(start: Callable[..., httpx.Client]) -> None:
    """A page of another site does not have the password."""
    flower = start(FLOWER_BASIC_AUTH="operator:secret")
    assert flower.get("/metrics", headers={"Host": "flower:5555"}).status_code == 200
    assert flower.get("/tasks", headers=EVIL).status_code == 401


def test_two_passwords_are_valid_while_one_replaces_the_other(
    start: Callable[..., httpx.Client],
) -> None:
    flower = start(FLOWER_BASIC_AUTH="operator:new,operator:old")
    statuses = [
        flower.get("/tasks", auth=("operator", each)).status_code for each in ("old", "new", "x")
    ]
    assert statuses == [200, 200, 401]


@pytest.mark.parametrize("port", ["tcp://10.96.7.8:5555", ""])
def test_flower_starts_beside_a_port_that_our_settings_ignore(
    start: Callable[..., httpx.Client], port: str
) -> None:
    """Kubernetes gives this variable the address of the Service `flower`."""
    assert start(FLOWER_PORT=port).get("/").is_success


def test_a_worker_that_does_not_exist_is_not_asked(start: Callable[..., httpx.Client]) -> None:
    """Flower asked each name for seconds, also after its client had gone."""
    flower = start()
    began = time.monotonic()
    for number in range(20):
        assert flower.get(f"/worker/nobody-{number}").status_code == 404
    assert time.monotonic() - began < 10


def test_one_client_leaves_connections_to_others(start: Callable[..., httpx.Client]) -> None:
    """Each of them may hold an answer that nobody reads."""
    flower = start()
    address = ("127.0.0.1", flower.base_url.port or 0)
    sockets = [socket.create_connection(address, timeout=20) for _ in range(40)]
    try:
        for each in sockets:
            each.sendall(b"GET /healthcheck HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answered = [bool(received(each)) for each in sockets]
        assert 29 <= sum(answered) <= 32  # the first question of `start` has one, too
        other = httpx.HTTPTransport(local_address="127.0.0.2")
        with httpx.Client(transport=other, base_url=flower.base_url) as client:
            assert client.get("/healthcheck").is_success
    finally:
        for each in sockets:
            each.close()


def received(connection: socket.socket) -> bytes:
    with suppress(ConnectionError):
        return connection.recv(1000)
    return b""
