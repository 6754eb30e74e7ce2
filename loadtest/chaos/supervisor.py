"""Starts a program again after it has ended, as a supervisor in production does."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

from shared.jobs import Lane
from shared.settings import Settings
from tests.support.local_service import LocalService

_WEBHOOKS = ["celery", "-A", "workers.webhooks.app", "worker"]
_LAST_BYTES = 2000


class Supervisor:
    """It notes each death that it did not order. One such death fails the run."""

    def __init__(self, service: LocalService) -> None:
        #: A sentence for each unexpected death, with the end of the program's log.
        self.deaths: list[str] = []
        self._service = service
        self._started_at: dict[str, float] = {}
        self._starts: dict[str, Callable[[], None]] = {
            "web": service.start_web,
            Lane.INTERACTIVE: lambda: service.start_worker(Lane.INTERACTIVE),
            Lane.BULK: lambda: service.start_worker(Lane.BULK),
            "webhooks": lambda: service.start("webhooks", _WEBHOOKS, {}),
        }

    def kill(self, name: str) -> None:
        """End a program on purpose."""
        self._service.stop(name, signal.SIGKILL)

    def repair(self) -> None:
        """Start each program that does not run."""
        for name, start in self._starts.items():
            process = self._service.processes.get(name)
            if process is not None and process.poll() is None:
                continue
            if process is not None:
                end = self._service.log(name)[-_LAST_BYTES:]
                self.deaths.append(f"{name} ended with status {process.returncode}:\n{end}")
                del self._service.processes[name]
            self._started_at[name] = time.time()
            start()

    def is_ready(self, lane: Lane) -> bool:
        """Whether the worker of a lane has reached its event loop, which touches a file."""
        folder = Path(self._service.environment.get("DATA_DIR", "data"))
        heartbeat = Settings(data_dir=folder).heartbeat_file(lane)
        return heartbeat.stat().st_mtime > self._started_at.get(lane, 0.0)
