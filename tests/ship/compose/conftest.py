"""The Compose file, the secrets of `make secrets`, and Redis as the file starts it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import redis as redis_client
import yaml

from quickstart import redis_server
from shared.redis_client import connect
from tests.ship.compose.file import FILE, ROOT, USERS, Run, Services, default
from tests.support.ports import free_port


@pytest.fixture(scope="session")
def compose() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(FILE.read_text())
    return content


@pytest.fixture(scope="session")
def users() -> dict[str, Any]:
    """The file that gives each program a user of Redis."""
    content: dict[str, Any] = yaml.safe_load(USERS.read_text())
    return content


@pytest.fixture(scope="session")
def services(compose: dict[str, Any]) -> Services:
    of_file: Services = compose["services"]
    return of_file


@pytest.fixture(scope="session")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with secrets as `make secrets` makes them."""
    folder = tmp_path_factory.mktemp("secrets")
    subprocess.run([ROOT / "secrets/create", folder], check=True)
    return folder


@pytest.fixture(scope="session")
def run() -> Run:
    """Runs a command of the file without a container, for the length of a block."""
    return _run


@contextmanager
def _run(
    command: list[str], folder: Path = ROOT, **environment: str
) -> Iterator[subprocess.Popen[bytes]]:
    path = f"{Path(sys.executable).parent}:{redis_server.find().parent}:{os.environ['PATH']}"
    process = subprocess.Popen(
        command,
        cwd=folder,
        env={"PATH": path, **environment},
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture(scope="session")
def shipped_redis(
    services: Services, secrets: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The URL of a Redis that runs the command of the file on a free port."""
    with running_redis(services["redis"], secrets, tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture(scope="session")
def redis_with_users(
    services: Services,
    users: dict[str, Any],
    secrets: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[str]:
    """The same, with a user for each program."""
    redis = services["redis"]
    redis = redis | {"secrets": redis["secrets"] + users["services"]["redis"]["secrets"]}
    with running_redis(redis, secrets, tmp_path_factory.mktemp("redis")) as url:
        yield url


@contextmanager
def running_redis(service: dict[str, Any], secrets: Path, folder: Path) -> Iterator[str]:
    """Run the command of a service, with the secrets that it mounts."""
    (folder / "secrets").mkdir()
    for name in service["secrets"]:
        shutil.copy(secrets / name, folder / "secrets")
    *shell, line = service["command"]
    port = free_port()
    line = default(line).replace("/run/secrets", str(folder / "secrets"))
    line = line.replace("redis-server - ", f"redis-server - --port {port} ")
    with _run([*shell, line], folder):
        url = f"redis://:{(secrets / 'redis_password').read_text()}@127.0.0.1:{port}/0"
        client = connect(url, max_connections=1)
        for _ in range(100):
            with suppress(redis_client.ConnectionError):
                client.ping()
                break
            time.sleep(0.05)
        client.connection_pool.disconnect()
        yield url


@pytest.fixture(scope="session")
def watcher(shipped_redis: str, secrets: Path) -> str:
    """The URL that Flower and the exporters get, with the port of this run."""
    made = (secrets / "watcher_url").read_text()
    return made.replace("redis:6379", shipped_redis.rpartition("@")[2].partition("/")[0])
