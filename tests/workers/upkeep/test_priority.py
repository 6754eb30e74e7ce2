"""A worker has a lower priority than web and Redis. Real programs, each in its session."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.support.local_service import LocalService
from shared.jobs import Lane
from workers.upkeep import priority


def niceness(pid: int) -> int:
    return int(psutil.Process(pid).nice())


def session_niceness(pid: int) -> int:
    """The niceness by which the kernel divides cores between sessions. See sched(7)."""
    path = Path(f"/proc/{pid}/autogroup")
    if not path.exists():
        pytest.skip("this kernel does not group sessions")
    return int(path.read_text().split()[-1])


@pytest.mark.parametrize("of", [niceness, session_niceness])
def test_web_and_redis_come_first_then_interactive_then_bulk(
    service: LocalService, of: Callable[[int], int]
) -> None:
    [web] = psutil.Process(service.processes["web"].pid).children()
    first = max(of(web.pid), of(service.redis_process()))
    for lane in Lane:
        pids = [service.processes[lane].pid, *service.pool_processes(lane)]
        assert len({of(pid) for pid in pids}) == 1, "a pool process has the priority of its worker"
    interactive, bulk = (of(service.processes[lane].pid) for lane in (Lane.INTERACTIVE, Lane.BULK))
    assert first < interactive < bulk


def test_a_worker_tries_again_where_another_one_has_just_set_its_priority(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Linux lets all users but root set it once in 0.1 s, and answers EAGAIN before."""
    written: list[str] = []
    answers = [BlockingIOError(errno.EAGAIN, "try again"), BlockingIOError(errno.EAGAIN, "again")]

    def write_text(_: Path, text: str) -> None:
        if answers:
            raise answers.pop()
        written.append(text)

    monkeypatch.setattr(os, "getsid", lambda _: os.getpid())
    monkeypatch.setattr(os, "setpriority", lambda *_: None)
    monkeypatch.setattr(priority, "_PAUSE_SECONDS", 0)
    monkeypatch.setattr(Path, "write_text", write_text)
    priority.lower_for(Lane.BULK)
    assert written == ["9"]
