"""Programs warn at their start of a Redis that cannot keep what the service promises."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from shared.errors import ClassifierError
from shared.redis_client import RedisCheck, connect
from shared.redis_client.promises import problems
from shared.settings import Settings
from tests.support.servers import redis_users
from tests.support.servers.redis_process import KEEPS, RedisProcess
from web.app import create_app

Start = Callable[..., RedisProcess]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    servers: list[RedisProcess] = []

    def start(*options: str, needs_port_above: bool = False) -> RedisProcess:
        server = RedisProcess(tmp_path / "0", *options)
        while needs_port_above and not is_free(server.port + 10_000):  # of the cluster's bus
            server = RedisProcess(tmp_path / "0", *options)
        servers.append(server)
        server.start()
        return server

    yield start
    for server in servers:
        server.stop()


def is_free(port: int) -> bool:
    with socket.socket() as probe, suppress(OSError):
        probe.bind(("127.0.0.1", port))
        return True
    return False


def warnings(server: RedisProcess, caplog: pytest.LogCaptureFixture, user: str = "") -> list[str]:
    url = f"redis://127.0.0.1:{server.port}/0"
    client = connect(redis_users.address(url, user) if user else url, max_connections=1)
    with closing(client.connection_pool):
        check = RedisCheck(client)
        check()
        check()
    return [record.getMessage() for record in caplog.records]


def test_a_redis_that_keeps_everything_needs_no_warning(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    assert warnings(start(*KEEPS), caplog) == []


@pytest.mark.parametrize("user", ["", "worker"])
def test_each_problem_is_logged_once_also_without_the_right_to_config(
    start: Start, caplog: pytest.LogCaptureFixture, user: str
) -> None:
    server = start("maxmemory-policy", "allkeys-lru")
    with server.redis() as operator:
        redis_users.create(operator)
    logged = warnings(server, caplog, user)
    wanted = ["maxmemory-policy is allkeys-lru", "Set maxmemory.", "Set appendonly yes."]
    assert len(logged) == 3
    assert all(part in line for part, line in zip(wanted, logged, strict=True))


def test_a_write_that_comes_after_the_answer_is_a_problem(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    [line] = warnings(start(*KEEPS, "appendfsync", "everysec"), caplog)
    assert "appendfsync is everysec" in line


def test_an_old_version_is_a_problem() -> None:
    info = {"redis_version": "5.0.14", "maxmemory": 1, "aof_enabled": 1}
    [line] = problems(info, {})
    assert line.startswith("Redis 5.0.14 is older than the tested versions")
    assert not list(problems(info | {"redis_version": "6.2.0"}, {}))


def test_web_logs_the_problems(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    port = start(*KEEPS, "maxmemory-policy", "volatile-lru").port
    app = create_app(Settings(redis_url=f"redis://127.0.0.1:{port}/0", log_format="text"))
    backend = app.extensions["backend"]
    try:
        assert backend.commits.subscribed.wait(5)  # the check comes first
    finally:
        backend.close()
    assert capsys.readouterr().out.count("maxmemory-policy is volatile-lru") == 1


def test_a_worker_does_not_start_on_a_redis_cluster(start: Start, tmp_path: Path) -> None:
    """It is the worker for webhooks, which needs no model. Both run the same check."""
    server = start(*KEEPS, "cluster-enabled", "yes", needs_port_above=True)
    client = connect(f"redis://127.0.0.1:{server.port}/0", max_connections=1)
    with closing(client.connection_pool), pytest.raises(ClassifierError, match="Cluster"):
        RedisCheck(client)()
    own = {"REDIS_URL": f"redis://127.0.0.1:{server.port}/0", "DATA_DIR": str(tmp_path)}
    own |= {"WEBHOOK_SECRET": f"whsec_{'A' * 32}", "LOG_FORMAT": "text"}
    command = [sys.executable, "-m", "celery", "-A", "workers.webhooks.app", "worker"]
    ended = subprocess.run(
        command, env=os.environ | own, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 2
    assert (ended.stdout + ended.stderr).count("Redis Cluster is not supported") == 1
