"""A client leaves half of the event loop to others, whatever its requests do."""

from __future__ import annotations

import time
from collections.abc import Iterator

import gevent
import greenlet  # type: ignore[import-untyped]
import pytest

from tests.conftest import Clock
from web.server.fairness import rests
from web.server.fairness.entrance import Entrance
from web.server.fairness.pacing import let_others_run, note_client
from web.server.fairness.places import Places
from web.server.fairness.rests import Breaks, Rests


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def made(clock: Clock) -> Rests:
    return Rests(clock)


def test_nobody_rests_who_is_alone(made: Rests, clock: Clock) -> None:
    made.note("other")
    clock.now += 2
    made.note("reader")
    made.ran("reader", clock.now, 0.5)
    assert not made.owed("reader")
    made.note("other")
    assert made.owed("reader") == 0.5


def test_a_client_rests_as_long_as_all_its_steps_took(made: Rests, clock: Clock) -> None:
    made.note("other")
    for _ in range(3):
        made.note("reader")
        made.ran("reader", clock.now, 0.25)
    assert made.owed("reader") == 0.75 and not made.owed("other")
    clock.now += 0.5
    assert made.owed("reader") == 0.25
    made.ran("reader", clock.now, 0.25)
    assert made.owed("reader") == 0.5
    clock.now += 0.5
    made.note("other")
    assert not made.owed("reader")


def test_one_short_request_after_the_other_never_rests(made: Rests, clock: Clock) -> None:
    made.note("other")
    for _ in range(10):
        made.note("usual")
        made.ran("usual", clock.now, 0.004)
        assert not made.owed("usual")
        clock.now += 0.004


def test_few_clients_are_remembered(
    made: Rests, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rests, "_MOST", 10)
    for k in range(30):
        made.ran(f"{k}", clock.now, 0.5)
        clock.now += 0.25
    assert len(made._until) <= 11


@pytest.fixture
def watched() -> Iterator[Rests]:
    made = Rests()
    made.watch()
    yield made
    greenlet.settrace(None)


def test_requests_of_a_client_leave_half_of_the_time_to_others(watched: Rests) -> None:
    entrance, worked = Entrance(rests=watched), dict.fromkeys(("many", "one"), 0)
    began = time.monotonic()

    def ask(client: str) -> None:
        """Each request takes ten milliseconds of the event loop."""
        while worked["many"] < 50:
            entrance.wait(client, {"gunicorn.socket": None})
            time.sleep(0.01)  # that of the standard library: nobody else runs
            worked[client] += 1
            let_others_run()

    def steps() -> None:
        """Another client, whose request takes many short steps."""
        note_client("one")
        while worked["many"] < 50:
            watched.note("one")
            worked["one"] += 1
            let_others_run()

    gevent.joinall([*(gevent.spawn(ask, "many") for _ in range(20)), gevent.spawn(steps)])
    assert time.monotonic() - began > 0.015 * worked["many"]
    assert worked["one"] > 10 * worked["many"], "its steps take place in the rests"


def test_many_small_steps_have_few_breaks(
    made: Rests, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[float] = []
    monkeypatch.setattr(rests, "let_others_run", lambda: taken.append(clock.now))
    breaks, began = Breaks(clock, made), clock.now
    for _ in range(64):
        clock.now += 2**-12  # a quarter of a millisecond
        breaks.take()
    assert len(taken) == 12 and taken[0] - began > 0.001


def test_a_client_is_there_as_long_as_its_request_goes_on(clock: Clock) -> None:
    """A large form is read for seconds, and others wait half a minute for the end of a job."""
    places = Places()
    places.limit(10)
    made = Rests(clock, places)
    for client in ("waits", "busy"):
        made.note(client)
        gevent.spawn(places.take, client).join()
    clock.now += 30
    made.ran("busy", clock.now, 0.25)
    assert made.owed("busy") and not made.owed("waits")
    made.ran("waits", clock.now, 0.25)
    assert made.owed("waits")


def test_a_client_is_there_no_longer_when_its_request_has_ended(clock: Clock) -> None:
    places = Places()
    places.limit(10)
    made = Rests(clock, places)

    def ask() -> None:
        made.note("other")
        assert places.take("other")
        places.give_back()

    gevent.spawn(ask).join()
    made.ran("busy", clock.now, 1)
    assert made.owed("busy")
    clock.now += 1
    made.ran("busy", clock.now, 1)
    assert not made.owed("busy")


def test_a_client_rests_in_its_breaks(
    made: Rests, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(gevent, "sleep", slept.append)
    breaks = Breaks(clock, made)
    made.note("other")
    note_client("busy")
    made.ran("busy", clock.now, 0.5)
    clock.now += 0.25
    breaks.take()
    note_client("")
    assert slept == [0.25]
