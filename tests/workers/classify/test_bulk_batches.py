"""In the lane `bulk`, clients whose pictures take long get batches of their own."""

from __future__ import annotations

from typing import Any

import pytest
from redis import Redis

from shared.jobs import Lane
from shared.records.job_records import JobRecords
from shared.settings import Settings
from tests.workers.classify.scripted import (
    GOOD,
    HEAVY,
    HOSTILE,
    LARGE,
    LIMIT,
    Make,
    ScriptedDecoder,
    load_side,
    outcomes,
    submit,
    taken,
)
from workers.classify.budget import DecodeBudget
from workers.classify.tasks import BatchClassifier
from workers.decode.decoder import Decoded

BUDGET = DecodeBudget.of(Settings(lane=Lane.BULK))


@pytest.fixture
def decoder(classifier: Make) -> ScriptedDecoder:
    return ScriptedDecoder(load_side(classifier))


@pytest.fixture
def bulk(classifier: Make, decoder: ScriptedDecoder) -> BatchClassifier:
    return classifier(decoder, BUDGET)


def test_a_part_that_takes_long_is_put_back_after_a_second(
    bulk: BatchClassifier, decoder: ScriptedDecoder, jobs: JobRecords, redis: Redis
) -> None:
    """A folder of photos is such a part. Pictures of other clients go first from then on."""
    photos = [submit(jobs, *[HEAVY] * 16, client="photos") for _ in range(2)]
    stranger = submit(jobs, *[GOOD] * 4, client="stranger")
    taken(redis)
    bulk.classify([photos[0]])
    assert 0.8 <= decoder.seconds < 1.2
    assert ([photos[0]], True) in taken(redis)
    assert bulk.classify([photos[1], stranger]) == 4, "nothing of it is tried"
    assert outcomes(jobs, stranger) == ["succeeded"] * 4
    bulk.classify([photos[0]], slow=True)
    assert ([photos[1]], True) in taken(redis)


def test_a_part_that_runs_alone_has_more_time(
    bulk: BatchClassifier, decoder: ScriptedDecoder, jobs: JobRecords, redis: Redis
) -> None:
    photos = submit(jobs, *[HEAVY] * 16, client="photos")
    taken(redis)
    assert bulk.classify([photos], slow=True) == 10
    assert 0.9 * LIMIT < decoder.seconds <= LIMIT
    assert taken(redis) == [([photos], True)]


@pytest.mark.parametrize("picture", [LARGE, HOSTILE])
def test_a_client_with_one_picture_that_takes_long_is_slow(
    bulk: BatchClassifier, jobs: JobRecords, redis: Redis, picture: bytes
) -> None:
    """Its jobs of one picture each would spend each batch, before the parts of others."""
    bulk.classify([submit(jobs, picture, client="slow")])
    slow = submit(jobs, picture, client="slow")
    good = submit(jobs, GOOD, GOOD, client="good")
    taken(redis)
    bulk.classify([slow, good])
    assert outcomes(jobs, good) == ["succeeded"] * 2
    assert taken(redis) == [([slow], True)]
    assert bulk.classify([slow], slow=True) == 1


def test_a_part_of_a_slow_client_is_put_back_before_others_are_decoded(
    classifier: Make, jobs: JobRecords, redis: Redis
) -> None:
    """Its client may have sent a few photos. They would wait for all that is in the batch."""
    queued: list[Any] = []

    class Watching(ScriptedDecoder):
        def decode(self, data: bytes, **options: Any) -> Decoded:
            queued.extend(taken(redis))
            return super().decode(data, **options)

    bulk = classifier(Watching(load_side(classifier)), BUDGET)
    bulk.classify([submit(jobs, LARGE, client="photos")])
    photos = submit(jobs, *[HEAVY] * 3, client="photos")
    others = submit(jobs, *[GOOD] * 4, client="others")
    taken(redis)
    queued.clear()
    assert bulk.classify([photos, others]) == 4
    assert queued == [([photos], True)] and taken(redis) == []


def test_a_stranger_waits_for_one_second_of_a_part_in_front_of_it(
    bulk: BatchClassifier, decoder: ScriptedDecoder, jobs: JobRecords, redis: Redis
) -> None:
    slow = [submit(jobs, *[LARGE] * 10, client="slow") for _ in range(2)]
    stranger = submit(jobs, *[GOOD] * 4, client="stranger")
    taken(redis)
    bulk.classify([*slow, stranger])
    again = dict((refs[0], alone) for refs, alone in taken(redis))
    assert again.pop(stranger) is False
    assert [again[ref] for ref in slow if ref in again] == [True], "the other one waits"
    bulk.classify([stranger])
    assert outcomes(jobs, stranger) == ["succeeded"] * 4 and decoder.seconds < 1.2


def test_a_batch_that_is_recalled_ends_after_its_picture(
    bulk: BatchClassifier, decoder: ScriptedDecoder, jobs: JobRecords, redis: Redis
) -> None:
    photos = submit(jobs, *[HEAVY] * 4, client="photos")
    taken(redis)
    recalled = lambda: len(decoder.seen) == 3  # noqa: E731
    assert bulk.classify([photos], slow=True, recalled=recalled) == 2
    assert taken(redis) == [([photos], True)]


@pytest.mark.parametrize("others", [True, False])
def test_heavy_pictures_have_low_priority_while_others_are_there(
    classifier: Make, jobs: JobRecords, others: bool
) -> None:
    """They shared a core with the jobs of others. A fork for each costs a folder some time."""
    low: list[bool] = []

    class Watching(ScriptedDecoder):
        def decode(self, data: bytes, **options: Any) -> Decoded:
            low.append(bool(options.get("low_priority")))
            return super().decode(data, **options)

    bulk = classifier(Watching(load_side(classifier)), BUDGET)
    bulk.classify([submit(jobs, *[b"0.19"] * 8, client="photos")], slow=True)
    low.clear()
    bulk.classify([submit(jobs, *[b"0.19"] * 4, client="photos")], slow=True, others=others)
    assert low == [others] * 4


def test_the_first_pictures_of_a_part_that_takes_long_are_answered_before_the_others(
    classifier: Make, jobs: JobRecords
) -> None:
    ref = submit(jobs, *[b"0.9"] * 3, client="slow")
    seen = []

    class Watching(ScriptedDecoder):
        def decode(self, data: bytes, **options: Any) -> Decoded:
            seen.append(outcomes(jobs, ref)[0])
            return super().decode(data, **options)

    classifier(Watching(load_side(classifier)), BUDGET).classify([ref], slow=True)
    assert seen == ["waiting", "waiting", "succeeded"]


def test_a_client_with_heavier_pictures_gets_half_of_the_time(
    bulk: BatchClassifier, jobs: JobRecords, redis: Redis
) -> None:
    """Lighter ones go first. Those of one client left time for one photo of another."""
    bulk.classify([submit(jobs, b"0.19", client="photos")])
    photos = submit(jobs, *[b"0.19"] * 5, client="photos")
    light = submit(jobs, *[b"0.05"] * 27, client="light")
    taken(redis)
    bulk.classify([photos, light])
    assert outcomes(jobs, light).count("succeeded") == 10
    assert outcomes(jobs, photos).count("succeeded") == 2


def test_a_busy_machine_makes_no_client_slow(
    classifier: Make, jobs: JobRecords, redis: Redis
) -> None:
    """Its pictures take long, but little processor time."""

    class Starved(ScriptedDecoder):
        def decode(self, data: bytes, **options: Any) -> Decoded:
            return super().decode(data, **options)._replace(cpu_seconds=0.01)

    ref = submit(jobs, *[LARGE] * 4, client="usual")
    taken(redis)
    made = classifier(Starved(load_side(classifier)), BUDGET)
    assert made.classify([ref]) == 1, "the batch ends all the same"
    assert taken(redis) == [([ref], False)]


def test_heavy_pictures_make_a_client_slow_on_a_busy_machine(
    classifier: Make, jobs: JobRecords, redis: Redis
) -> None:
    """They spend the time of each batch, and use little processor time in it."""

    class Starved(ScriptedDecoder):
        def decode(self, data: bytes, **options: Any) -> Decoded:
            decoded = super().decode(data, **options)
            return decoded._replace(cpu_seconds=decoded.cpu_seconds / 3)

    heavy = submit(jobs, *[b"0.3"] * 32, client="heavy")
    taken(redis)
    made = classifier(Starved(load_side(classifier)), BUDGET)
    assert made.classify([heavy]) == 3
    assert taken(redis) == [([heavy], True)]
