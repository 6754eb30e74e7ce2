"""Threads that compute leave most of Python to the event loop."""

from __future__ import annotations

import time

import gevent
import pytest

from web.server import threads
from web.server.fairness import pacing
from web.server.fairness.rests import Rests
from web.server.threads import in_thread


def test_threads_work_half_of_the_time_together(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(threads, "_sleep", slept.append)
    monkeypatch.setattr(threads, "RESTS", Rests())  # nobody else is there

    def work() -> None:
        while len(all_at_work) < 3:  # all have begun
            time.sleep(0.001)
        threads.rest(0.001)

    all_at_work: list[None] = []

    def start() -> None:
        all_at_work.append(None)
        in_thread(work)

    gevent.joinall([gevent.spawn(start) for _ in range(3)], timeout=20, raise_error=True)
    assert slept == pytest.approx([0.005] * 3)
    slept.clear()
    in_thread(lambda: threads.rest(0.001))
    assert slept == pytest.approx([0.001])
    in_thread(lambda: threads.rest(1.0))
    assert slept[-1] <= 0.01, "it has unpacked many bytes"


def test_a_thread_that_unpacks_much_rests_as_long_beside_other_clients(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Four archives of large members took 1.4 of two processors from the workers."""
    slept: list[float] = []
    monkeypatch.setattr(threads, "_sleep", slept.append)
    monkeypatch.setattr(threads, "RESTS", rests := Rests())

    def unpack(client: str) -> None:
        pacing.note_client(client)
        in_thread(lambda: threads.rest(1.0))

    rests.note("archive")
    gevent.spawn(unpack, "archive").join()
    rests.note("other")
    gevent.spawn(unpack, "archive").join()
    assert slept == pytest.approx([0.003, 1.0])


def test_clients_share_the_time_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """An archive of one client took ten times its time beside four of another one."""
    slept: dict[str, list[float]] = {"many": [], "one": []}
    monkeypatch.setattr(
        threads, "_sleep", lambda seconds: slept[threads._job.client].append(seconds)
    )
    monkeypatch.setattr(threads, "RESTS", Rests())
    at_work: list[str] = []

    def work() -> None:
        while len(at_work) < 4:  # all have begun
            time.sleep(0.001)
        threads.rest(0.001)

    def start(client: str) -> None:
        pacing.note_client(client)
        at_work.append(client)
        in_thread(work)

    clients = ("many", "many", "many", "one")
    gevent.joinall([gevent.spawn(start, each) for each in clients], timeout=20, raise_error=True)
    assert slept["many"] == pytest.approx([0.011] * 3)  # each works for a twelfth of the time
    assert slept["one"] == pytest.approx([0.003])  # a quarter


def test_what_a_thread_raises_is_raised_and_counts_no_longer() -> None:
    with pytest.raises(ZeroDivisionError):
        in_thread(lambda: 1 / 0)
    assert not threads._at_work
