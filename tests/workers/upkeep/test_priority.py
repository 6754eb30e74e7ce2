"""A worker comes after web and Redis where they share cores; real programs, each in its session."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.support.local_service import LocalService
from shared.jobs import Lane


def niceness(pid: int) -> int:
    return int(psutil.Process(pid).nice())


def session_niceness(pid: int) -> int:
    """What the kernel shares cores out by first, where sessions have groups: see sched(7)."""
    path = Path(f"/proc/{pid}/autogroup")
    if not path.exists():
        pytest.skip("this kernel has no groups of sessions")
    return int(path.read_text().split()[-1])


@pytest.mark.parametrize("of", [niceness, session_niceness])
def test_web_and_redis_come_before_interactive_and_that_before_bulk(
    service: LocalService, of: Callable[[int], int]
) -> None:
    [web] = psutil.Process(service.processes["web"].pid).children()
    first = max(of(web.pid), of(service.redis_process()))
    for lane in Lane:
        pids = [service.processes[lane].pid, *service.pool_processes(lane)]
        assert len({of(pid) for pid in pids}) == 1, "a pool process has what its worker has"
    interactive, bulk = (of(service.processes[lane].pid) for lane in (Lane.INTERACTIVE, Lane.BULK))
    assert first < interactive < bulk
