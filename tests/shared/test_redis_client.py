"""Waiting for a free connection to Redis."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from queue import Empty
from types import SimpleNamespace
from typing import Any

import pytest

from shared.redis_client.client import _FreeConnections

WAITING = 20


class Pool(_FreeConnections):
    """Lets a test wait until all callers wait."""

    def __init__(self) -> None:
        self.callers = threading.Semaphore(0)
        super().__init__()

    def _qsize(self) -> int:
        self.callers.release()  # asked for by a caller that finds nothing, before it waits
        return super()._qsize()


def connection(*, is_connected: bool) -> Any:
    return SimpleNamespace(is_connected=is_connected, is_outdated=False)


@pytest.fixture
def pool() -> Pool:
    return Pool()


def callers(pool: Pool, executor: ThreadPoolExecutor) -> list[Future[Any]]:
    """Callers that wait for a free connection."""
    futures = [executor.submit(pool.get, True, 30) for _ in range(WAITING)]
    for _ in futures:
        assert pool.callers.acquire(timeout=5)
    with pool.mutex:  # a caller gives it up only while it waits
        return futures


def test_a_connection_that_answered_goes_to_the_next_caller(pool: Pool) -> None:
    with ThreadPoolExecutor(WAITING) as executor:
        waiting = callers(pool, executor)
        answered = connection(is_connected=True)
        for _ in waiting:
            pool.put(answered)
        assert {id(each.result()) for each in waiting} == {id(answered)}


def test_all_callers_that_wait_hear_of_the_first_failure(pool: Pool) -> None:
    with ThreadPoolExecutor(WAITING) as executor:
        waiting = callers(pool, executor)
        failed = connection(is_connected=False)
        pool.put(failed)
        assert all(isinstance(each.exception(timeout=5), Empty) for each in waiting)
    assert pool.get(block=False) is failed  # a caller that comes later tries for itself


def test_one_connection_that_fails_among_others_that_answer_is_no_outage(pool: Pool) -> None:
    with ThreadPoolExecutor(WAITING) as executor:
        waiting = callers(pool, executor)
        for k in range(WAITING):
            pool.put(connection(is_connected=k != 1))
        assert all(each.exception() is None for each in waiting)
