"""The processes of the service by role, with the processor time and memory of each."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Mapping
from types import TracebackType

import psutil

from tests.support.local_service import LocalService
from shared.jobs import Lane

WEB, MASTER, POOL, REDIS = "web", "worker master", "pool process", "Redis"
ROLES = (WEB, MASTER, POOL, REDIS)

_MEGABYTE = 2**20


def processes(service: LocalService) -> dict[str, list[psutil.Process]]:
    """The processes that run now. gunicorn's main process only waits and is left out."""
    members: dict[str, list[psutil.Process]] = {role: [] for role in ROLES}
    members[REDIS].append(psutil.Process(service.redis_process()))
    for name, process in service.processes.items():
        main = psutil.Process(process.pid)
        if name in list(Lane):
            members[MASTER].append(main)
            members[POOL] += main.children()
        else:
            members[WEB] += main.children()
    return members


def cpu_seconds(service: LocalService) -> dict[str, float]:
    """User and system time of each role since its processes began.

    Ended children count too, because a child of Redis rewrites its append-only file.
    """
    members = processes(service)
    return {role: sum(_cpu_seconds(member) for member in members[role]) for role in members}


def _cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system + times.children_user + times.children_system)


class MemoryWatch:
    """Reads the resident memory of every process once per second while the block runs."""

    def __init__(self, service: LocalService) -> None:
        self.samples: dict[tuple[str, int], list[tuple[float, float]]] = defaultdict(list)
        self._service = service
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> MemoryWatch:
        self._thread.start()
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join()

    def peaks(self) -> dict[str, float]:
        """Megabytes of the largest process of each role."""
        peaks = dict.fromkeys(ROLES, 0.0)
        for (role, _), samples in self.samples.items():
            peaks[role] = max(peaks[role], *(megabytes for _, megabytes in samples))
        return peaks

    def table(self, bounds: Mapping[str, float] | None = None) -> str:
        """The table in Markdown. `bounds` are the most megabytes of a process, by role."""
        lines = ["| resident memory (MB) | at the start | highest | at the end | bound |"]
        lines.append("|---|--:|--:|--:|--:|")
        for (role, pid), samples in self.samples.items():
            sizes = [megabytes for _, megabytes in samples]
            bound = f"{bounds[role]:.0f}" if bounds else ""
            row = f"{sizes[0]:.0f} | {max(sizes):.0f} | {sizes[-1]:.0f} | {bound}"
            lines.append(f"| {role} {pid} | {row} |")
        return "\n".join(lines)

    def _watch(self) -> None:
        by_role = processes(self._service)
        began = time.monotonic()
        while not self._end.wait(1.0):
            for role, members in by_role.items():
                for process in members:
                    self._note(role, process, time.monotonic() - began)

    def _note(self, role: str, process: psutil.Process, at: float) -> None:
        try:
            size = process.memory_info().rss / _MEGABYTE
        except psutil.NoSuchProcess:
            return
        self.samples[role, process.pid].append((at, size))
