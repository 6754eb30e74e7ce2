"""Slow pictures get batches of their own, and a client that sends them comes last."""

from __future__ import annotations

import time
from typing import Any

import pytest
from redis import Redis

from shared import keys
from shared.jobs import JobState
from shared.records.job_records import JobRecords
from tests.conftest import Clock
from tests.workers.classify.scripted import (
    BUDGET,
    GOOD,
    HEAVY,
    HOSTILE,
    LARGE,
    LIMIT,
    MANY_PIXELS,
    Make,
    ScriptedDecoder,
    load_side,
    outcomes,
    submit,
    taken,
)
from workers.classify.budget import DecodeBudget
from workers.classify.slow_clients import SlowClients
from workers.decode.decoder import Decoded, Trial


@pytest.mark.parametrize("many_pixels", [False, True])
def test_a_slow_picture_gets_all_of_its_time_in_a_batch_of_its_own(
    classifier: Make, jobs: JobRecords, redis: Redis, many_pixels: bool
) -> None:
    slow = submit(jobs, MANY_PIXELS if many_pixels else str(0.9 * LIMIT).encode())
    others = [submit(jobs, GOOD) for _ in range(3)]
    taken(redis)
    assert classifier().classify([slow, *others]) == 3
    assert outcomes(jobs, slow) == ["waiting"]
    assert taken(redis) == [([slow], True)]
    assert classifier().classify([slow], slow=True) == 1
    assert outcomes(jobs, slow) == ["succeeded"]


@pytest.mark.parametrize("slow", [HOSTILE, MANY_PIXELS])
@pytest.mark.parametrize("again", [False, True])
def test_a_batch_that_may_not_be_slow_ends_soon(
    classifier: Make, jobs: JobRecords, redis: Redis, slow: bytes, again: bool
) -> None:
    """Also if its only picture is slow, and if recovery has queued that again with others."""
    ref, decoder = submit(jobs, slow), ScriptedDecoder(load_side(classifier))
    taken(redis)
    if again:
        classifier().classify([ref])
        assert taken(redis) == [([ref], True)]
    assert classifier(decoder).classify([ref]) == 0
    assert decoder.seconds == (BUDGET.batch if slow == HOSTILE and not again else 0.0)
    assert taken(redis) == [([ref], True)]
    assert classifier().classify([ref], slow=True) == 1


def test_a_part_with_slow_pictures_loses_none_of_them(
    classifier: Make, jobs: JobRecords, redis: Redis
) -> None:
    ref = submit(jobs, MANY_PIXELS, GOOD, HOSTILE, LARGE, GOOD)
    taken(redis)
    assert classifier().classify([ref]) == 1
    done = []
    while parts := taken(redis):
        assert parts == [([ref], True)]
        done.append(classifier().classify([ref], slow=True))
    ok = "succeeded"
    assert outcomes(jobs, ref) == [ok, ok, "decode_timeout", ok, ok]
    assert jobs.reader.get(ref.job_id).state == JobState.COMPLETED and done == [2, 1, 1]


def test_an_answer_leaves_before_the_next_picture_of_a_client_with_a_slow_one(
    classifier: Make, jobs: JobRecords
) -> None:
    hostile = [submit(jobs, picture, client="hostile") for picture in (MANY_PIXELS, GOOD)]
    good = submit(jobs, GOOD, client="good")
    seen = []

    class Watching(ScriptedDecoder):
        def decode(self, data: bytes, **options: Any) -> Decoded:
            seen.append(outcomes(jobs, good)[0])
            return super().decode(data, **options)

    classifier(Watching(load_side(classifier))).classify([*hostile, good])
    assert seen == ["waiting", "waiting", "succeeded"]


def test_a_client_with_a_slow_picture_comes_later_in_the_next_batches(
    classifier: Make, jobs: JobRecords
) -> None:
    """Its first try may spend all of the budget, on a machine with much other work."""
    made = classifier(budget=DecodeBudget(trial=Trial(cpu_seconds=0.3, pixels=10**6), batch=0.3))
    for picture in (HOSTILE, MANY_PIXELS):
        made.classify([submit(jobs, picture, client="hostile")])
        hostile = [submit(jobs, picture, client="hostile") for _ in range(2)]
        good = [submit(jobs, GOOD, client="good") for _ in range(4)]
        done = made.classify([*hostile, *good])
        assert [outcomes(jobs, ref) for ref in good] == [["succeeded"]] * 4
        assert done == 4


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    return clock


def test_a_client_is_like_any_other_a_minute_after_its_slow_picture(clock: Clock) -> None:
    clients = SlowClients()
    clients.add("old", 1)
    clock.now += 59
    clients.add("new", 1)
    assert "old" in clients and "new" in clients and "other" not in clients
    clock.now += 2
    assert "old" not in clients and "new" in clients


def test_few_slow_clients_are_remembered() -> None:
    clients = SlowClients()
    for k in range(1001):
        clients.add(f"{k}", 1)
        clients.add("1", 1)
    assert "0" not in clients and "1" in clients and "1000" in clients
    assert len(clients._slow) == 1000


def test_after_two_slow_pictures_a_client_gets_no_tries_for_a_time(clock: Clock) -> None:
    """A first try takes the time of others, and its result is clear."""
    clients = SlowClients()
    clients.seen(["hostile", "other"])
    clients.add("hostile", 0.3)
    assert not clients.skips("hostile")
    clients.add("hostile", 0.3)
    assert clients.skips("hostile") and not clients.skips("other")
    clock.now += 9.2
    assert clients.skips("hostile")
    clock.now += 0.2
    assert not clients.skips("hostile")


@pytest.mark.parametrize("quick_ones", [0, 1, 20])
def test_the_tries_of_a_slow_client_take_a_small_share_of_the_time(
    clock: Clock, quick_ones: int
) -> None:
    """Also if it sends quick pictures in between."""
    clients, tried, began, number = SlowClients(), 0.0, clock.now, 0
    while clock.now < began + 300:
        clients.seen(["hostile", "other"])
        number += 1
        seconds = 0.01 if number % (quick_ones + 1) else 0.8
        if clients.skips("hostile"):
            clock.now += 0.01
            continue
        clock.now += seconds
        if seconds == 0.8:
            tried += seconds
            clients.add("hostile", seconds)
        else:
            clients.took("hostile", seconds)
    assert 0 < tried < 300 / 25


def test_a_client_is_tried_as_usual_while_nobody_else_is_there(clock: Clock) -> None:
    """An application may send the pictures of many people, and some of them are slow."""
    clients = SlowClients()
    clients.seen(["application", "other"])
    clock.now += 11
    for _ in range(5):
        clients.seen(["application"])
        clients.add("application", 0.8)
    assert not clients.skips("application")
    clients.seen(["other"])
    assert clients.skips("application")


def test_a_picture_that_was_not_tried_is_put_back_as_a_slow_one(
    classifier: Make, jobs: JobRecords, redis: Redis
) -> None:
    decoder = ScriptedDecoder(load_side(classifier))
    made = classifier(decoder)
    for _ in range(2):
        made.classify([submit(jobs, HOSTILE, client="hostile"), submit(jobs, GOOD)])
    while parts := taken(redis):
        for refs, slow in parts:
            made.classify(refs, slow=slow)
    quick = submit(jobs, GOOD, client="hostile")
    taken(redis)
    decoder.seen.clear()
    assert made.classify([quick]) == 0 and not decoder.seen
    assert taken(redis) == [([quick], True)]
    assert made.classify([quick], slow=True) == 1


def test_a_slow_picture_is_decoded_with_low_priority_and_ends_when_it_is_recalled(
    classifier: Make, jobs: JobRecords, redis: Redis
) -> None:
    slow = submit(jobs, MANY_PIXELS)
    taken(redis)
    made = classifier()
    assert made.classify([slow]) == 0
    assert taken(redis) == [([slow], True)]
    recalled = iter([False, False])  # at the beginning; then others come
    assert made.classify([slow], slow=True, recalled=lambda: next(recalled, True)) == 0
    assert taken(redis) == [([slow], True)]
    assert made.classify([slow], slow=True) == 1


def test_a_slow_picture_is_decoded_as_usual_if_low_priority_gets_no_time(
    classifier: Make, jobs: JobRecords, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, priorities = Clock(), []
    monkeypatch.setattr(time, "monotonic", clock)

    class Starved(ScriptedDecoder):
        def decode(self, data: bytes, **options: Any) -> Decoded:
            priorities.append("low" if options.get("low_priority") else "usual")
            clock.now += 11
            return super().decode(data, **options)

    slow = submit(jobs, MANY_PIXELS)
    made = classifier(Starved(load_side(classifier)))
    assert made.classify([slow]) == 0
    assert made.classify([slow], slow=True) == 1
    assert priorities == ["usual", "low", "usual"]
    for seconds, expected in [(0, ["usual"]), (61, ["low", "usual"])]:
        again = submit(jobs, MANY_PIXELS)
        assert made.classify([again]) == 0
        clock.now += seconds
        priorities.clear()
        assert made.classify([again], slow=True) == 1
        assert priorities == expected


class OnABusyMachine(ScriptedDecoder):
    """The machine has much other work, so each picture takes ten times as long by the clock."""

    def decode(self, data: bytes, **options: Any) -> Decoded:
        decoded = super().decode(data, **options)
        return decoded._replace(milliseconds=10 * decoded.milliseconds)


def test_a_light_picture_does_not_wait_behind_heavy_ones_again_and_again(
    classifier: Make, jobs: JobRecords
) -> None:
    """On a starved machine one heavy picture takes the whole time of a batch."""
    made = classifier(OnABusyMachine(load_side(classifier)))
    good = submit(jobs, GOOD, client="good")
    heavy = [submit(jobs, HEAVY, client="heavy") for _ in range(4)]
    assert made.classify([*heavy, good]) == 1, "nobody knows yet that it is heavy"
    assert outcomes(jobs, good) == ["waiting"]
    assert made.classify([*heavy[1:], good]) == 2
    assert outcomes(jobs, good) == ["succeeded"]


def test_a_heavy_picture_does_not_wait_for_ever_behind_light_ones(
    classifier: Make, jobs: JobRecords
) -> None:
    made = classifier(OnABusyMachine(load_side(classifier)))
    made.classify([submit(jobs, HEAVY, client="heavy")])
    heavy = submit(jobs, HEAVY, client="heavy")
    light = [submit(jobs, GOOD, client="light") for _ in range(31)]
    assert 1 < made.classify([heavy, *light]) < 32
    assert outcomes(jobs, heavy) == ["succeeded"]


@pytest.mark.parametrize("picture", [HOSTILE, MANY_PIXELS])
def test_a_picture_that_takes_long_by_the_clock_gets_a_batch_of_its_own(
    classifier: Make,
    jobs: JobRecords,
    redis: Redis,
    monkeypatch: pytest.MonkeyPatch,
    picture: bytes,
) -> None:
    """Its batch would reach its time limit, and its process would be killed."""
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)

    class Stuck(ScriptedDecoder):
        def decode(self, data: bytes, **options: Any) -> Decoded:
            if data == picture:
                clock.now += 3.1
            return super().decode(data, **options)

    budget = DecodeBudget(batch=3, run=1.5, slow=0.3, much=1, picture=3, longest=36)
    made = classifier(Stuck(load_side(classifier)), budget=budget)
    good = [submit(jobs, GOOD, client="good") for _ in range(2)]
    stuck = submit(jobs, picture, client="stuck")
    taken(redis)
    assert made.classify([good[0], stuck, good[1]]) == 1
    assert outcomes(jobs, stuck) == ["waiting"]
    assert ([stuck], True) in taken(redis)


def test_a_slow_picture_that_gets_no_time_at_all_is_put_back(
    classifier: Make, jobs: JobRecords, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the end its process would be killed, and three times more the picture has failed."""
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)

    class Stuck(ScriptedDecoder):
        def decode(self, data: bytes, **options: Any) -> Decoded:
            clock.now += 20
            return super().decode(data, **options)

    slow = submit(jobs, MANY_PIXELS)
    taken(redis)
    made = classifier(Stuck(load_side(classifier)))
    assert made.classify([slow]) == 0
    assert taken(redis) == [([slow], True)]
    began = clock.now
    assert made.classify([slow], slow=True) == 0 and clock.now - began < 45
    assert taken(redis) == [([slow], True)]
    assert redis.hget(keys.part(slow.job_id, 0), slow.attempts_field) == b"0"
