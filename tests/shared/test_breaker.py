"""The circuit breaker."""

from __future__ import annotations

import pytest
from redis.exceptions import ConnectionError, TimeoutError

from shared.breaker import Breaker


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def fail(breaker: Breaker, error: Exception) -> None:
    with pytest.raises(type(error)), breaker:
        raise error


def is_open(breaker: Breaker) -> bool:
    try:
        with breaker:
            return False
    except ConnectionError:
        return True


def test_it_opens_for_a_while_when_redis_cannot_be_reached(clock: Clock) -> None:
    breaker = Breaker(0.25, clock)
    assert not is_open(breaker)
    fail(breaker, TimeoutError("frozen"))
    assert is_open(breaker)
    clock.now += 0.24
    assert is_open(breaker)
    clock.now += 0.02
    assert not is_open(breaker)


def test_a_success_closes_it(clock: Clock) -> None:
    breaker = Breaker(10, clock)
    fail(breaker, ConnectionError("away"))
    clock.now += 0.1
    breaker.note_success()
    assert not is_open(breaker)


def test_an_error_that_is_no_outage_leaves_it_closed(clock: Clock) -> None:
    breaker = Breaker(10, clock)
    fail(breaker, KeyError("no outage"))
    assert not is_open(breaker)


def test_it_knows_what_calls_met_since_a_moment(clock: Clock) -> None:
    breaker = Breaker(10, clock)
    asked_at = clock.now
    assert not breaker.only_failed_since(asked_at)
    breaker.note_failure()
    assert breaker.only_failed_since(asked_at)
    clock.now += 1
    assert not breaker.only_failed_since(clock.now)
    breaker.note_success()
    assert not breaker.only_failed_since(asked_at)
