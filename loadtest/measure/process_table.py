"""The service's processes by what they do, and what each has used."""

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
    """Of those that run now. gunicorn's main process only waits, and is left out."""
    found: dict[str, list[psutil.Process]] = {role: [] for role in ROLES}
    found[REDIS].append(psutil.Process(service.redis_process()))
    for name, process in service.processes.items():
        main = psutil.Process(process.pid)
        if name in list(Lane):
            found[MASTER].append(main)
            found[POOL] += main.children()
        else:
            found[WEB] += main.children()
    return found


def cpu_seconds(service: LocalService) -> dict[str, float]:
    """User and system time of each role since its processes began.

    With that of children that have ended: Redis has some that rewrite its append-only file.
    """
    found = processes(service)
    return {role: sum(_cpu_seconds(member) for member in found[role]) for role in found}


def _cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system + times.children_user + times.children_system)


class MemoryWatch:
    """Resident memory of every process, looked at once a second while the block runs."""

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
        """In Markdown; with the megabytes that a process of each role may have, where given."""
        lines = ["| resident memory (MB) | at the start | highest | at the end | bound |"]
        lines.append("|---|--:|--:|--:|--:|")
        for (role, pid), samples in self.samples.items():
            sizes = [megabytes for _, megabytes in samples]
            bound = f"{bounds[role]:.0f}" if bounds else ""
            row = f"{sizes[0]:.0f} | {max(sizes):.0f} | {sizes[-1]:.0f} | {bound}"
            lines.append(f"| {role} {pid} | {row} |")
        return "\n".join(lines)

    def _watch(self) -> None:
        members = processes(self._service)
        began = time.monotonic()
        while not self._end.wait(1.0):
            for role, found in members.items():
                for process in found:
                    self._note(role, process, time.monotonic() - began)

    def _note(self, role: str, process: psutil.Process, at: float) -> None:
        try:
            size = process.memory_info().rss / _MEGABYTE
        except psutil.NoSuchProcess:
            return
        self.samples[role, process.pid].append((at, size))
