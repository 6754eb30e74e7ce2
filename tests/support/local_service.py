"""The whole service as real processes on free ports: for measurements and for end-to-end tests."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from redis import Redis

from quickstart import redis_server
from shared.jobs import Lane

_ROOT = Path(__file__).parents[2]


@dataclass
class LocalService:
    """Where it answers, and its processes by name: `web`, `interactive`, `bulk`."""

    base_url: str
    redis_port: int  #: 0: a socket.
    environment: Mapping[str, str]
    logs: Path
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _redis: ExitStack = field(default_factory=ExitStack)

    @property
    def redis_url(self) -> str:
        return redis_server.address(self._redis_folder, self.redis_port)

    @property
    def _redis_folder(self) -> Path:
        return self.logs / "redis"

    def start_redis(self) -> None:
        """With what it has on disk. It ends with the thread that calls this."""
        self._redis.enter_context(redis_server.running(self._redis_folder, self.redis_port))

    def stop_redis(self, with_signal: int = signal.SIGTERM) -> None:
        if with_signal != signal.SIGTERM:
            os.kill(self.redis_process(), with_signal)
        self._redis.close()

    def redis_process(self) -> int:
        with closing(self.redis()) as redis:
            return int(redis.info("server")["process_id"])

    def redis(self) -> Redis:
        return Redis.from_url(self.redis_url)

    def start_web(self) -> None:
        self.start(
            "web", ["gunicorn", "-c", "web/server/gunicorn.conf.py", "web.app:create_app()"], {}
        )

    def start_worker(self, lane: Lane, app: str = "workers.app", **environment: str) -> None:
        options = ["-n", f"{lane}@%h", "--without-mingle", "--without-gossip"]
        command = ["celery", "-A", app, "worker", *options]
        self.start(lane, command, {"LANE": lane, **environment})

    def start_all(self) -> None:
        """A worker for each lane, and web; returns once a picture would be classified."""
        for lane in Lane:
            self.start_worker(lane)
        self.start_web()
        self.await_ready()

    def pool_processes(self, lane: Lane) -> list[int]:
        """Process ids below a worker's main process."""
        main = self.processes[lane].pid
        return [int(pid) for pid in Path(f"/proc/{main}/task/{main}/children").read_text().split()]

    def stop(self, name: str, with_signal: int = signal.SIGTERM) -> None:
        """Signal a program's main process and wait for it; SIGKILL goes to all of its group."""
        process = self.processes.pop(name)
        with suppress(ProcessLookupError):
            if with_signal == signal.SIGKILL:
                os.killpg(process.pid, with_signal)
            else:
                process.send_signal(with_signal)
        process.wait(timeout=60)

    def log(self, name: str) -> str:
        return (self.logs / f"{name}.log").read_text()

    def await_web(self, seconds: float = 20) -> None:
        """Return once web answers, whether or not anybody works."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with suppress(httpx.TransportError):
                if httpx.get(f"{self.base_url}/readyz").is_success:
                    return
            time.sleep(0.05)
        raise RuntimeError(f"web does not answer: {self.log('web')[-2000:]}")

    def await_ready(self, seconds: float = 60) -> None:
        """Return once web answers, and of each lane that has a worker one is ready."""
        lanes = [lane for lane in Lane if lane in self.processes]
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for name, process in self.processes.items():
                if process.poll() is not None:
                    raise RuntimeError(f"{name} ended: {self.log(name)[-2000:]}")
            with suppress(httpx.TransportError):
                known = httpx.get(f"{self.base_url}/api/v1/model/info").is_success
                health = httpx.get(f"{self.base_url}/api/v1/health")
                if known and health.is_success:
                    at_work = health.json()["lanes"]
                    if all(at_work[lane]["workers"] for lane in lanes):
                        return
            time.sleep(0.05)
        raise RuntimeError("the service did not become ready")

    def start(self, name: str, command: list[str], environment: Mapping[str, str]) -> None:
        """Run a Python module with its arguments as one more program of the service."""
        with (self.logs / f"{name}.log").open("ab") as output:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", *command],
                env={**self.environment, **environment},
                cwd=_ROOT,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )


def export_model() -> None:
    """Have the model's export, made with torch in a process of its own."""
    subprocess.run([sys.executable, "-m", "workers.engine.export"], check=True, stdout=sys.stderr)


@contextmanager
def local_service(
    folder: Path, environment: Mapping[str, str], *, redis_socket: bool = False
) -> Iterator[LocalService]:
    """A Redis on a free port; the caller starts what it needs of the rest, all of it is ended.

    With `redis_socket` Redis has no port but a socket, as in the quick start.
    """
    port = free_port()
    service = LocalService(
        base_url=f"http://127.0.0.1:{port}",
        redis_port=0 if redis_socket else free_port(),
        environment={},
        logs=folder,
    )
    own = {"REDIS_URL": service.redis_url, "WEB_PORT": str(port)}
    service.environment = {**environment, **own}
    service.start_redis()
    try:
        yield service
    finally:
        for name in list(service.processes):
            service.stop(name, signal.SIGKILL)
        service.stop_redis()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
