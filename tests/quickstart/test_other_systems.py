"""Parts of Linux that macOS lacks are taken away here. The code works without them.

No test runs on macOS itself.
"""

from __future__ import annotations

import ctypes
import os
import resource
import runpy
import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from quickstart import redis_server, tether
from shared.errors import DecodeTimeout
from shared.jobs import Lane
from shared.settings import Settings
from workers.decode import limits
from workers.upkeep import priority

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def macos(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    def refuse(_: object) -> None:
        raise OSError("pdeathsig is only supported on linux")

    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(tether, "set_pdeathsig", refuse)
    monkeypatch.setattr(limits, "_IS_LIMITED", False)
    monkeypatch.setattr(limits, "_STATM", tmp_path / "no proc")
    monkeypatch.setattr(priority, "_AUTOGROUP", tmp_path / "no proc" / "autogroup")
    yield


def test_the_cores_of_the_machine_are_counted() -> None:
    assert Settings().worker_processes == os.cpu_count()


def test_a_redis_starts_and_stops(tmp_path: Path) -> None:
    with redis_server.running(tmp_path / "redis") as url:
        assert url.startswith("unix://")


def test_decoding_keeps_its_limit_of_time() -> None:
    before = resource.getrlimit(resource.RLIMIT_AS)
    strict = limits.DecodeLimits(pixels=1, cpu_seconds=0.05, memory_bytes=2**20)
    with pytest.raises(DecodeTimeout), strict.enforced():
        held = bytearray(2**27)  # beyond the limit of memory, which cannot be watched
        while held:
            pass
    assert resource.getrlimit(resource.RLIMIT_AS) == before


def test_a_c_library_without_mallopt_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: SimpleNamespace())
    limits.return_large_blocks()


def test_a_worker_has_a_lower_priority(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getsid", lambda _: os.getpid())
    given: list[int] = []
    monkeypatch.setattr(os, "setpriority", lambda which, who, value: given.append(value))
    priority.lower_for(Lane.BULK)
    assert given == [9]


def test_a_system_that_refuses_an_endless_number_of_files_gives_some(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    asked: list[int] = []

    def set_limit(_: int, wanted: tuple[int, int]) -> None:
        asked.append(wanted[0])
        if wanted[0] > 10_240:
            raise ValueError("current limit exceeds maximum limit")

    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 2**63 - 1))
    monkeypatch.setattr(resource, "setrlimit", set_limit)
    runpy.run_path(str(ROOT / "web/server/gunicorn.conf.py"))["on_starting"](None)
    assert asked == [2**63 - 1, 10_240]


def test_a_process_whose_parent_has_ended_still_ends_at_its_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, signum: sent.append((pid, signum)))
    tether.tether(os.getppid(), signal.SIGTERM)
    assert sent == []
    tether.tether(-1, signal.SIGTERM)
    assert sent == [(os.getpid(), signal.SIGTERM)]
