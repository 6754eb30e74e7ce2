"""The supervisor of the chaos test notes each death that it did not order."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from loadtest.chaos import __main__ as chaos
from loadtest.chaos.havoc import Havoc
from loadtest.chaos.supervisor import Supervisor
from shared.jobs import Lane

_RUNS = "import time; time.sleep(60)"


class Service:
    """Programs that only sleep, in the place of a real service."""

    def __init__(self, logs: Path) -> None:
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.started: list[str] = []
        self.environment = {"DATA_DIR": str(logs)}

    def start(self, name: str, *_: Any) -> None:
        self.started.append(name)
        self.processes[name] = subprocess.Popen([sys.executable, "-c", _RUNS])

    def start_all(self) -> None:
        pass  # The supervisor starts what does not run.

    def start_web(self) -> None:
        self.start("web")

    def start_worker(self, lane: Lane) -> None:
        self.start(lane)

    def stop(self, name: str, with_signal: int) -> None:
        process = self.processes.pop(name)
        process.send_signal(with_signal)
        process.wait()

    def log(self, name: str) -> str:
        return f"the last words of {name}"


@pytest.fixture
def service(tmp_path: Path) -> Any:
    service = Service(tmp_path)
    yield service
    for process in service.processes.values():
        process.kill()
        process.wait()


def test_it_starts_every_program_that_does_not_run(service: Any) -> None:
    supervisor = Supervisor(service)
    supervisor.repair()
    assert sorted(service.started) == ["bulk", "interactive", "web", "webhooks"]
    supervisor.repair()
    assert len(service.started) == 4 and supervisor.deaths == []


def test_a_program_that_it_killed_starts_again_and_is_no_fault(service: Any) -> None:
    supervisor = Supervisor(service)
    supervisor.repair()
    supervisor.kill("bulk")
    supervisor.repair()
    assert service.started.count("bulk") == 2 and supervisor.deaths == []


def test_a_program_that_ended_by_itself_starts_again_and_is_a_fault(service: Any) -> None:
    supervisor = Supervisor(service)
    supervisor.repair()
    service.processes["interactive"].kill()
    service.processes["interactive"].wait()
    supervisor.repair()
    assert service.started.count("interactive") == 2
    assert supervisor.deaths == ["interactive ended with status -9:\nthe last words of interactive"]


def test_a_worker_is_ready_after_its_first_heartbeat(service: Any, tmp_path: Path) -> None:
    supervisor = Supervisor(service)
    heartbeat = tmp_path / "heartbeat-bulk"
    heartbeat.touch()
    assert supervisor.is_ready(Lane.BULK), "it ran before the supervisor came"
    supervisor.repair()
    assert not supervisor.is_ready(Lane.BULK), "this heartbeat is of an earlier worker"
    os.utime(heartbeat, (time.time() + 1, time.time() + 1))
    assert supervisor.is_ready(Lane.BULK)


class NoOtherFault:
    """Starts again what has ended, as the check does while it waits. It finds nothing lost."""

    def __init__(self, *parts: Any) -> None:
        self._repair = parts[-1]

    def faults(self) -> Counter[str]:
        self._repair()
        return Counter()


@pytest.mark.parametrize("ordered, status", [(True, 0), (False, 1)])
def test_only_a_death_that_nothing_ordered_fails_the_run(
    service: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    ordered: bool,
    status: int,
) -> None:
    def load(_service: Any, _pictures: Any, _history: Any, havoc: Havoc, **_: Any) -> None:
        if ordered:
            return havoc.kill_web()
        service.processes["web"].kill()
        service.processes["web"].wait()

    monkeypatch.setattr(chaos, "_load", load)
    monkeypatch.setattr(chaos, "Check", NoOtherFault)
    assert chaos.run(service, [], images=0, seed=1) == status
    assert ("web ended with status -9" in capsys.readouterr().out) is not ordered
    assert service.started.count("web") == 2
