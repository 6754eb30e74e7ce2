"""The whole service: gunicorn, Redis, a Celery worker for each lane. Real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from redis import Redis

from quickstart import redis_server

_ROOT = Path(__file__).parents[2]


@dataclass
class RunningService:
    """Where it answers, and its processes by name."""

    base_url: str
    redis_url: str
    environment: dict[str, str]
    logs: Path
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def redis(self) -> Redis:
        return Redis.from_url(self.redis_url)

    def start(self, name: str, *command: str, **environment: str) -> None:
        with (self.logs / f"{name}.log").open("ab") as output:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", *command],
                env=self.environment | environment,
                cwd=_ROOT,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def start_worker(self, lane: str) -> None:
        arguments = "worker --without-mingle --without-gossip -E".split()
        node = ["-n", f"{lane}@%h"]
        self.start(lane, "celery", "-A", "workers.app", *arguments, *node, LANE=lane)

    def stop(self, name: str, with_signal: int = signal.SIGKILL) -> None:
        process = self.processes.pop(name)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, with_signal)
        process.wait()

    def log(self, name: str) -> str:
        return (self.logs / f"{name}.log").read_text()


@pytest.fixture(scope="session")
def model_environment(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> dict[str, str]:
    """Real weights where they are at hand; otherwise random ones, and no label is asserted."""
    try:
        weights = str(request.getfixturevalue("real_weights"))
    except pytest.skip.Exception:
        weights = "random"
    environment = os.environ | {
        "MODEL_WEIGHTS": weights,
        "DATA_DIR": str(tmp_path_factory.mktemp("data")),
        "WORKER_PROCESSES": "2",
        "WEB_PROCESSES": "1",
    }
    subprocess.run([sys.executable, "-m", "workers.export"], env=environment, check=True, cwd=_ROOT)
    return environment


@contextmanager
def running_service(
    environment: dict[str, str], folder: Path, free_port: Callable[[], int]
) -> Iterator[RunningService]:
    with redis_server.running(folder / "redis", free_port()) as redis_url:
        port = free_port()
        service = RunningService(
            base_url=f"http://127.0.0.1:{port}",
            redis_url=redis_url,
            environment=environment | {"REDIS_URL": redis_url, "WEB_PORT": str(port)},
            logs=folder,
        )
        try:
            for lane in ("interactive", "bulk"):
                service.start_worker(lane)
            service.start("web", "gunicorn", "-c", "web/gunicorn.conf.py", "web.app:create_app()")
            await_ready(service)
            yield service
        finally:
            for name in list(service.processes):
                service.stop(name)


@pytest.fixture(scope="session")
def service(
    model_environment: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
    free_port: Callable[[], int],
) -> Iterator[RunningService]:
    folder = tmp_path_factory.mktemp("service")
    with running_service(model_environment, folder, free_port) as running:
        yield running


@pytest.fixture
def http(service: RunningService) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service.base_url, timeout=60) as client:
        yield client


def await_ready(service: RunningService, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        dead = [name for name, process in service.processes.items() if process.poll() is not None]
        assert not dead, f"{dead} ended: {service.log(dead[0])[-2000:]}"
        with suppress(httpx.TransportError):
            if httpx.get(f"{service.base_url}/api/v1/model/info").status_code == 200:
                return
        time.sleep(0.1)
    raise AssertionError("the service did not become ready")
