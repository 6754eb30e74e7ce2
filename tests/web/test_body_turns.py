"""Uploads leave time for others: a look after each turn, and more where cores are short."""

from __future__ import annotations

import gevent
import pytest
from gevent.lock import Semaphore

from web import body_turns
from web.body_turns import BodyTurns, request_came

PIECE = 2**16  # what Werkzeug reads at once


class Machine:
    """What a read takes is said, and so is for how much of that the process waits for a core."""

    def __init__(self) -> None:
        self.now = 100.0
        self.waited = 7.0
        self.pauses: list[float] = []

    def read(self, turns: BodyTurns, pieces: int, *, seconds: float, share: float = 0) -> None:
        for _ in range(pieces):
            self.now += seconds
            self.waited += seconds * share
            turns.add(PIECE)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine()
    body_turns._came.clear()
    monkeypatch.setattr(gevent, "sleep", machine.pauses.append)
    monkeypatch.setattr("time.monotonic", lambda: machine.now)
    monkeypatch.setattr(body_turns, "_waited_for_core", lambda: machine.waited)
    return machine


def test_a_picture_is_read_without_a_pause_however_slowly_it_comes(machine: Machine) -> None:
    machine.read(BodyTurns(), 3, seconds=10, share=0.9)
    assert machine.pauses == []


def test_after_each_turn_others_have_a_look(machine: Machine) -> None:
    machine.read(BodyTurns(), 64, seconds=0.001)
    assert machine.pauses == [0.0001] * 4  # 4 pieces are free, 10 fill a turn, and the next is late


@pytest.mark.parametrize("share, pause", [(0, 0.0001), (0.1, 0.033), (0.5, 0.165), (1, 0.3)])
def test_a_process_that_waits_for_a_core_takes_in_less(
    machine: Machine, share: float, pause: float
) -> None:
    machine.read(BodyTurns(), 14 + 1, seconds=0.0011, share=share)
    assert machine.pauses == [pytest.approx(pause, rel=0.2)]


@pytest.mark.parametrize("came, pause", [(10, 0.15), (60, 0.3), (1000, 0.5)])
def test_it_takes_in_even_less_where_many_wait_for_answers(
    machine: Machine, came: int, pause: float
) -> None:
    for _ in range(came):
        request_came()
    machine.read(BodyTurns(), 14 + 1, seconds=0.0011, share=0.5)
    assert machine.pauses == [pytest.approx(pause, rel=0.2)]


def test_who_came_long_ago_waits_no_more(machine: Machine) -> None:
    for _ in range(100):
        request_came()
    machine.now += 1
    machine.read(BodyTurns(), 14 + 1, seconds=0.0011, share=0.5)
    assert machine.pauses == [pytest.approx(0.15, rel=0.2)]


def test_a_client_that_is_slow_does_not_pay_for_what_it_waited(machine: Machine) -> None:
    machine.read(BodyTurns(), 5, seconds=60, share=0.1)
    assert machine.pauses == [pytest.approx(0.03)]


def test_of_many_uploads_one_goes_on_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each keeps the process for a turn: between two of them somebody else is served."""
    # What gunicorn's worker makes of a lock before web is loaded.
    monkeypatch.setattr(body_turns, "_pause", Semaphore())
    monkeypatch.setattr(body_turns, "_TURN_SECONDS", 0.0)
    order: list[str] = []

    def upload(name: str) -> None:
        turns = BodyTurns()
        for _ in range(4):
            order.append(name)
            turns.add(4 * PIECE)
            turns.add(PIECE)

    def other() -> None:
        while not all(each.ready() for each in uploads):
            order.append("other")
            gevent.sleep(0)

    uploads = [gevent.spawn(upload, name) for name in ("a", "b", "c")]
    gevent.joinall([*uploads, gevent.spawn(other)], timeout=10, raise_error=True)
    later = order[3:]  # at first each has its first turn
    assert not [pair for pair in zip(later, later[1:], strict=False) if "other" not in pair]
    assert [order.count(name) for name in "abc"] == [4, 4, 4]


def test_the_kernel_tells_how_long_a_thread_has_waited_for_a_core() -> None:
    assert body_turns._waited_for_core() > 0
