"""A pool process that does not begin its batch is killed, and no other one is."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from tests.workers.batching.test_batcher import Message, Task
from workers.batching.frozen_processes import _CHECKS, FrozenProcesses
from workers.batching.micro_batch import Batcher


@dataclass(eq=False)
class Process:
    pid: int
    exitcode: int | None = None


@dataclass
class Result:
    _write_to: Process | None
    begin: Any


@dataclass
class Pool:
    """Gives each batch to the process `next`. `_pool` has the names of Celery's own pool."""

    num_processes: int = 2
    next: Process | None = None
    results: list[Result] = field(default_factory=list)
    _pool: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(_waiting_to_start=set()))

    def apply_async(self, *_: Any, accept_callback: Any, **__: Any) -> Result:
        pid = self.next.pid if self.next else 0
        self.results.append(Result(self.next, lambda: accept_callback(pid, 0.0)))
        return self.results[-1]


@pytest.fixture
def pool() -> Pool:
    return Pool()


@pytest.fixture
def batcher(pool: Pool) -> Batcher:
    return Batcher(Task(), pool)


@pytest.fixture
def frozen(batcher: Batcher) -> FrozenProcesses:
    return FrozenProcesses(batcher, seconds=45)


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Ids of the processes that were killed."""
    ids: list[int] = []
    monkeypatch.setattr(os, "kill", lambda process, _: ids.append(process))
    return ids


def check(frozen: FrozenProcesses, times: int) -> None:
    for _ in range(times):
        frozen.tick()


def test_a_process_has_the_time_limit_to_begin_its_batch(
    pool: Pool, batcher: Batcher, frozen: FrozenProcesses, killed: list[int]
) -> None:
    pool.next = Process(1)
    batcher.add(Message("a"))
    check(frozen, _CHECKS)
    assert not killed
    check(frozen, 1)
    assert killed == [1]
    pool.next.exitcode = -9
    check(frozen, 3 * _CHECKS)
    assert killed == [1], "the pool has not given the batch to another process yet"


def test_a_process_that_has_begun_its_batch_has_celerys_time_limit(
    pool: Pool, batcher: Batcher, frozen: FrozenProcesses, killed: list[int]
) -> None:
    pool.next = Process(1)
    batcher.add(Message("a"))
    check(frozen, _CHECKS)
    pool.results[0].begin()
    check(frozen, 3 * _CHECKS)
    assert not killed


def test_the_next_process_of_a_batch_has_the_whole_time_limit(
    pool: Pool, batcher: Batcher, frozen: FrozenProcesses, killed: list[int]
) -> None:
    pool.next = Process(1)
    batcher.add(Message("a"))
    check(frozen, _CHECKS)
    pool.results[0]._write_to = Process(2)
    check(frozen, _CHECKS)
    assert not killed
    check(frozen, 1)
    assert killed == [2]


def test_a_batch_that_no_process_holds_may_wait_for_one_that_loads_the_model(
    pool: Pool, batcher: Batcher, frozen: FrozenProcesses, killed: list[int]
) -> None:
    batcher.add(Message("waits"))
    pool.next = Process(2)
    pool._pool._waiting_to_start.add(pool.next)
    batcher.add(Message("is written to what a killed process has left"))
    check(frozen, 3 * _CHECKS)
    assert not killed


def test_a_process_that_runs_another_batch_does_not_hold_one_up(
    pool: Pool, batcher: Batcher, frozen: FrozenProcesses, killed: list[int]
) -> None:
    """It has the pipe of a process that died, so the pool takes it for the holder."""
    pool.next = Process(1)
    batcher.add(Message("runs"))
    pool.results[0].begin()
    batcher.add(Message("waits"))
    check(frozen, 3 * _CHECKS)
    assert not killed
