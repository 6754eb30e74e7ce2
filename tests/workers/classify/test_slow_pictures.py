"""Slow pictures get batches of their own, and a client that sends them comes last."""

from __future__ import annotations

import time

import pytest
from redis import Redis

from shared.jobs import JobState
from shared.records.job_records import JobRecords
from tests.conftest import Clock
from tests.workers.classify.scripted import (
    BUDGET,
    GOOD,
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
from workers.classify.decoding import DecodeBudget
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
        def decode(self, data: bytes, *, trial: Trial | None = None) -> Decoded:
            seen.append(outcomes(jobs, good)[0])
            return super().decode(data, trial=trial)

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


def test_a_client_is_like_any_other_a_minute_after_its_slow_picture(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    clients = SlowClients()
    clients.add("old")
    clock.now += 59
    clients.add("new")
    assert "old" in clients and "new" in clients and "other" not in clients
    clock.now += 2
    assert "old" not in clients and "new" in clients


def test_few_slow_clients_are_remembered() -> None:
    clients = SlowClients()
    for k in range(1001):
        clients.add(f"{k}")
        clients.add("1")
    assert "0" not in clients and "1" in clients and "1000" in clients
    assert len(clients._until) == 1000
