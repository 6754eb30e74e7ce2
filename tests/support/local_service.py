"""The whole service as real processes on free ports, for measurements and for end-to-end tests."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import httpx
from redis import Redis

from quickstart import redis_server
from shared.jobs import Lane
from tests.support.ports import free_port

__all__ = ["LocalService", "export_model", "free_port", "local_service", "unexpected_deaths"]

_ROOT = Path(__file__).parents[2]

#: The services that run now.
_running: list[LocalService] = []
#: Unexpected deaths in services that have ended since `unexpected_deaths` was called.
_ended: list[str] = []


@dataclass
class LocalService:
    """A running service: its address, and its programs by name (`web`, `interactive`, `bulk`)."""

    WEB: ClassVar = ["gunicorn", "-c", "web/server/gunicorn.conf.py", "web.app:create_app()"]

    base_url: str
    redis_port: int  #: 0 where Redis listens on a socket.
    environment: Mapping[str, str]
    logs: Path
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    external_redis: str = ""  #: The URL of a Redis that the test runs by itself.
    _redis: ExitStack = field(default_factory=ExitStack)
    #: Ids of the processes below each program, as they were when it was ready.
    _children: dict[str, set[int]] = field(default_factory=dict)
    _killed: set[int] = field(default_factory=set)  #: Processes below them that a test has killed.
    _mortal: set[str] = field(default_factory=set)  #: Programs whose end is no failure now.

    @property
    def port(self) -> int:
        return int(self.base_url.rpartition(":")[2])

    @property
    def redis_url(self) -> str:
        return self.external_redis or redis_server.address(self._redis_folder, self.redis_port)

    @property
    def _redis_folder(self) -> Path:
        return self.logs / "redis"

    def start_redis(self) -> None:
        """Start Redis with the files that it has. It ends with the thread that calls this."""
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
        self.start("web", self.WEB, {})

    def start_worker(
        self, lane: Lane, app: str = "workers.app", *, name: str = "", **environment: str
    ) -> None:
        """Start a worker. A second one of a lane needs a name of its own."""
        name = name or lane
        options = ["-n", f"{name}@%h", "--without-mingle", "--without-gossip"]
        command = ["celery", "-A", app, "worker", *options]
        self.start(name, command, {"LANE": lane, **environment})

    def start_all(self) -> None:
        """Start a worker for each lane, and web. Returns when all of them are ready."""
        for lane in Lane:
            self.start_worker(lane)
        self.start_web()
        self.await_ready()

    def pool_processes(self, lane: Lane) -> list[int]:
        """Ids of the processes below a worker's main process, the oldest first."""
        return self._children_now(lane)

    def web_process(self) -> int:
        """The id of the process that answers, below gunicorn's main one; 0 while none is there."""
        return next(iter(self._children_now("web")), 0)

    def kill_pool_process(self, lane: Lane) -> None:
        """Kill the youngest one. The worker starts another in its place."""
        process = self.pool_processes(lane)[-1]
        os.kill(process, signal.SIGKILL)
        self._killed.add(process)

    @contextmanager
    def may_die(self, *names: str) -> Iterator[None]:
        """In this block the test ends these programs, or processes below them, on purpose."""
        self._mortal.update(names)
        try:
            yield
        finally:
            self._mortal.difference_update(names)
            for name in names:
                self._children.pop(name, None)
                if name in self.processes and self.processes[name].poll() is not None:
                    del self.processes[name]

    def deaths(self) -> list[str]:
        """Programs and processes below them that ended since the last call, not by `stop`."""
        deaths = []
        for name in self.processes.keys() - self._mortal:
            if self.processes[name].poll() is not None:
                deaths.append(f"{name} ended: {self._troubles(name)}")
                continue
            now = set(self._children_now(name))
            # A process that a test has killed is listed until its parent has noticed.
            if gone := self._children.get(name, now) - now - self._killed:
                deaths.append(f"{name} lost processes {sorted(gone)}: {self._troubles(name)}")
            self._children[name] = now
        return deaths

    def stop(self, name: str, with_signal: int = signal.SIGTERM) -> None:
        """Send a signal to a program and wait for its end. SIGKILL goes to all its processes."""
        process = self.processes.pop(name)
        self._children.pop(name, None)
        if with_signal == signal.SIGKILL:
            _kill_group(process)
        else:
            process.send_signal(with_signal)
        process.wait(timeout=60)

    def _children_now(self, name: str) -> list[int]:
        main = self.processes[name].pid
        return [int(pid) for pid in Path(f"/proc/{main}/task/{main}/children").read_text().split()]

    def _remember_children(self) -> None:
        for name in self.processes:
            self._children.setdefault(name, set(self._children_now(name)))

    def log(self, name: str) -> str:
        return (self.logs / f"{name}.log").read_text()

    def _troubles(self, name: str) -> str:
        """The last lines of a log, without those that tell of usual things."""
        lines = self.log(name).splitlines()
        return "\n".join([line[:600] for line in lines if '"log.level":"info"' not in line][-20:])

    def await_web(self, seconds: float = 20) -> None:
        """Return when web answers. No worker needs to run."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with suppress(httpx.TransportError):
                if httpx.get(f"{self.base_url}/readyz", trust_env=False).is_success:
                    return self._remember_children()
            time.sleep(0.05)
        raise RuntimeError(f"web does not answer: {self.log('web')[-2000:]}")

    def await_ready(self, seconds: float = 60) -> None:
        """Return when web and each worker that was started are ready."""
        lanes = [lane for lane in Lane if lane in self.processes]
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for name, process in self.processes.items():
                if process.poll() is not None:
                    raise RuntimeError(f"{name} ended: {self._troubles(name)}")
            with suppress(httpx.TransportError):
                known = httpx.get(f"{self.base_url}/api/v1/model/info", trust_env=False).is_success
                health = httpx.get(f"{self.base_url}/api/v1/health", trust_env=False)
                if known and health.is_success:
                    at_work = health.json()["lanes"]
                    if all(at_work[lane]["workers"] for lane in lanes):
                        return self._remember_children()
            time.sleep(0.05)
        raise RuntimeError("the service did not become ready")

    def start(
        self,
        name: str,
        command: list[str],
        environment: Mapping[str, str],
        *,
        folder: Path = _ROOT,
    ) -> None:
        """Start a Python module with its arguments as one more program of the service.

        `folder` has the code; another one than the checkout has another release.
        """
        with (self.logs / f"{name}.log").open("ab") as output:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", *command],
                env={**self.environment, **environment},
                cwd=folder,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill a program and the processes that it has left. It started in a group of its own."""
    if process.poll() is not None and Path(f"/proc/{process.pid}").exists():
        return  # it ended, and the system has given its id to another program
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def export_model() -> None:
    """Make the model's export where there is none, in a process of its own."""
    subprocess.run([sys.executable, "-m", "workers.engine.export"], check=True, stdout=sys.stderr)


@contextmanager
def local_service(
    folder: Path,
    environment: Mapping[str, str],
    *,
    redis_socket: bool = False,
    redis_url: str = "",
) -> Iterator[LocalService]:
    """Run a Redis; the caller starts the other programs. All of them are killed at the end.

    Redis listens on a free port, or with `redis_socket` on a socket as in the quick start. With
    `redis_url` the caller runs a Redis of its own. The service keeps its data in `folder` if
    `environment` has a MODELS_DIR and no DATA_DIR.
    """
    port = free_port()
    service = LocalService(
        base_url=f"http://127.0.0.1:{port}",
        redis_port=0 if redis_socket else free_port(),
        environment={},
        logs=folder,
        external_redis=redis_url,
    )
    own = {"REDIS_URL": service.redis_url, "WEB_PORT": str(port)}
    data = {"DATA_DIR": str(folder / "data")} if "MODELS_DIR" in environment else {}
    service.environment = {**data, **environment, **own}
    if not redis_url:
        service.start_redis()
    _running.append(service)
    try:
        yield service
    finally:
        _running.remove(service)
        _ended.extend(service.deaths())
        for name in list(service.processes):
            service.stop(name, signal.SIGKILL)
        service.stop_redis()


def unexpected_deaths() -> list[str]:
    """What died since the last call in the services of this process, and was not stopped."""
    deaths = [*_ended, *(death for service in _running for death in service.deaths())]
    _ended.clear()
    return deaths
