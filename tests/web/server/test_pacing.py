"""Uploads leave time for others: a look after each turn, and more where cores are short."""

from __future__ import annotations

import time

import gevent
import pytest
from gevent.lock import Semaphore

from web.server import pacing
from web.server.pacing import BodyTurns


def busy(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Those that were made; none is waited for."""
    made: list[float] = []
    monkeypatch.setattr(gevent, "sleep", made.append)
    return made


def of_a_large_body() -> BodyTurns:
    """As much of it has been read as nobody is made to wait for."""
    turns = BodyTurns()
    for _ in range(4):
        turns.take()
    return turns


def test_a_picture_is_read_without_a_pause_however_slowly_it_comes(pauses: list[float]) -> None:
    turns = BodyTurns()
    for _ in range(4):
        busy(0.02)
        turns.take()
    assert pauses == []


def test_the_first_turn_begins_with_the_first_read_that_is_not_free(pauses: list[float]) -> None:
    turns = of_a_large_body()
    busy(0.02)
    turns.take()
    turns.take()
    assert pauses == []


def test_after_a_turn_others_have_a_look(
    pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pacing, "_waited_for_core", lambda: 5.0)
    turns = of_a_large_body()
    for _ in range(3):
        turns.take()
        busy(0.011)
        turns.take()
        turns.take()
    assert len(pauses) >= 3 and max(pauses) < 0.001


def test_who_waits_for_a_core_takes_in_less(
    pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    waited = iter([0.0, 0.004, 0.004, 60.0, 60.0])
    monkeypatch.setattr(pacing, "_waited_for_core", lambda: next(waited))
    turns = of_a_large_body()
    turns.take()
    for _ in range(2):
        busy(0.011)
        turns.take()
    assert pauses == [pytest.approx(0.12), 0.3]


def test_of_many_uploads_one_goes_on_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each keeps the process for a turn: between two of them somebody else is served."""
    # What gunicorn's worker makes of a lock before web is loaded.
    monkeypatch.setattr(pacing, "_pause", Semaphore())
    order: list[str] = []

    def upload(name: str) -> None:
        turns = of_a_large_body()
        for _ in range(4):
            turns.take()
            order.append(name)
            busy(0.011)

    def other() -> None:
        while not all(each.ready() for each in uploads):
            order.append("other")
            gevent.sleep(0)

    uploads = [gevent.spawn(upload, name) for name in ("a", "b", "c")]
    gevent.joinall([*uploads, gevent.spawn(other)], timeout=10, raise_error=True)
    later = order[3:]  # at first each has its first turn
    assert later.count("other") >= 9
    assert not [pair for pair in zip(later, later[1:], strict=False) if "other" not in pair]


def test_the_kernel_tells_how_long_a_thread_has_waited_for_a_core() -> None:
    assert pacing._waited_for_core() > 0
