"""The check of the chaos test waits as long as work goes on, and not for ever."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from loadtest.chaos import check
from loadtest.chaos.check import Check
from loadtest.chaos.history import History


class Redis:
    """Each reading of a lane finds a picture less outstanding, until `rest` are left."""

    def __init__(self, rest: int) -> None:
        self.left, self._rest = 20, rest

    def get(self, _name: str) -> int:
        self.left = max(self._rest, self.left - 1)
        return self.left

    def close(self) -> None:
        pass


@pytest.mark.parametrize("rest", [0, 1])
def test_only_a_standstill_ends_the_wait(monkeypatch: pytest.MonkeyPatch, rest: int) -> None:
    clock = SimpleNamespace(now=0.0)
    redis = Redis(rest)
    monkeypatch.setattr(check.time, "monotonic", lambda: clock.now)

    def get(address: str) -> Any:
        if "results" in address:
            return SimpleNamespace(json=lambda: {"items": [redis.left]})
        clock.now += 100
        state = "running" if redis.left else "completed"
        return SimpleNamespace(status_code=200, json=lambda: {"state": state})

    service: Any = SimpleNamespace(redis=lambda: redis)
    http: Any = SimpleNamespace(get=get)
    history: Any = History.__new__(History)
    assert Check(service, history, [], lambda: None)._results(http, "a") == [rest]
    assert clock.now >= 1000
