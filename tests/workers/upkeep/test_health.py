"""A probe reads a worker's heartbeat."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from workers.upkeep.health import MAX_AGE_SECONDS, beat, problem


@pytest.fixture
def heartbeat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A heartbeat of the monotonic time 1000."""
    path = tmp_path / "data" / "heartbeat-bulk"
    monkeypatch.setattr(time, "monotonic", lambda: 1000.0)
    beat(path)
    return path


@pytest.mark.parametrize("age", [0, MAX_AGE_SECONDS])
def test_a_worker_with_a_heartbeat_is_well(
    heartbeat: Path, monkeypatch: pytest.MonkeyPatch, age: float
) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: 1000.0 + age)
    assert problem(heartbeat) is None


@pytest.mark.parametrize("age", [MAX_AGE_SECONDS + 1, -1])
def test_an_old_heartbeat_or_one_from_before_the_machine_s_start_is_a_problem(
    heartbeat: Path, monkeypatch: pytest.MonkeyPatch, age: float
) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: 1000.0 + age)
    assert "no heartbeat for" in str(problem(heartbeat))


@pytest.mark.parametrize("jump", [-7200, 7200])
def test_setting_the_time_or_a_sleep_of_the_machine_is_no_problem(
    heartbeat: Path, monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + jump)
    assert problem(heartbeat) is None
    monkeypatch.setattr(time, "monotonic", lambda: 1000.0 + MAX_AGE_SECONDS + 1)
    assert problem(heartbeat)


def test_a_missing_or_empty_heartbeat_is_a_problem(tmp_path: Path) -> None:
    assert "does not exist" in str(problem(tmp_path / "heartbeat-bulk"))
    (tmp_path / "heartbeat-bulk").touch()
    assert "holds no time" in str(problem(tmp_path / "heartbeat-bulk"))
