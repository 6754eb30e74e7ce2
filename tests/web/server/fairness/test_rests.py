"""Steps of long answers leave half of the process to other clients."""

from __future__ import annotations

import pytest

from tests.conftest import Clock
from web.server.fairness import rests
from web.server.fairness.pacing import note_client
from web.server.fairness.rests import Rests


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def slept(clock: Clock) -> list[float]:
    return []


@pytest.fixture
def made(clock: Clock, slept: list[float]) -> Rests:
    return Rests(clock, slept.append)


def rest(made: Rests, client: str, seconds: float) -> None:
    note_client(client)
    made.rest(seconds)


def test_nobody_rests_who_is_alone(made: Rests, slept: list[float], clock: Clock) -> None:
    made.note("other")
    clock.now += 2
    made.note("reader")
    rest(made, "reader", 0.02)
    assert not slept


def test_a_client_rests_as_long_as_all_its_steps_took(
    made: Rests, slept: list[float], clock: Clock
) -> None:
    made.note("other")
    for _ in range(3):
        made.note("reader")
    for _ in range(4):  # of four answers, one after the other
        rest(made, "reader", 0.25)
    assert slept == [0.25, 0.5, 0.75, 1.0]
    rest(made, "other", 0.5)
    assert slept[-1] == 0.5, "each client rests for its own steps"
    clock.now += 0.75
    rest(made, "reader", 0.25)
    assert slept[-1] == 0.5


def test_few_clients_are_remembered(
    made: Rests, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rests, "_MOST", 10)
    for k in range(30):
        made.note("other")
        made.note(f"{k}")
        rest(made, f"{k}", 0.5)
        clock.now += 0.25
    assert len(made._until) <= 11
