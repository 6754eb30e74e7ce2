"""gunicorn's main process ends a web process that gives no sign of life, if it was awake itself."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from web.server.heartbeat import Heartbeat


class Monotonic:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def monotonic(monkeypatch: pytest.MonkeyPatch) -> Monotonic:
    clock = Monotonic()
    monkeypatch.setattr(time, "monotonic", clock)
    return clock


@pytest.fixture
def heartbeat(monotonic: Monotonic) -> Iterator[Heartbeat]:
    settings = SimpleNamespace(umask=0, worker_tmp_dir=None, uid=os.geteuid(), gid=os.getegid())
    made = Heartbeat(settings)
    made.notify()
    yield made
    made.close()


def silence(heartbeat: Heartbeat, monotonic: Monotonic, *, after: float) -> float:
    """Seconds since the last sign of life, as the main process reads them `after` seconds."""
    monotonic.now += after
    return monotonic.now - heartbeat.last_update()


def test_a_silent_process_is_noticed(heartbeat: Heartbeat, monotonic: Monotonic) -> None:
    assert max(silence(heartbeat, monotonic, after=1) for _ in range(61)) == 61


def test_the_time_in_which_the_main_process_was_stopped_does_not_count(
    heartbeat: Heartbeat, monotonic: Monotonic
) -> None:
    assert silence(heartbeat, monotonic, after=1) == 1
    assert silence(heartbeat, monotonic, after=3600) == 0
    assert [silence(heartbeat, monotonic, after=1) for _ in range(61)][-1] == 61
    heartbeat.notify()
    assert silence(heartbeat, monotonic, after=1) == 1
