"""Pictures that are slow to decode do not delay the other pictures of their batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from shared import keys
from shared.jobs import PART_SIZE, JobState, Lane, PartRef
from shared.records.job_records import JobRecords
from tests.pipeline.hostile.hostile_pictures import jpeg_of_many_passes
from tests.workers.classify.scripted import (
    BUDGET,
    GOOD,
    HEAVY,
    HOSTILE,
    LARGE,
    LIMIT,
    ONE_CALL,
    TRIAL,
    Make,
    ScriptedDecoder,
    load_side,
    outcomes,
    submit,
    taken,
)
from workers.classify import decoding
from workers.classify.budget import DecodeBudget
from workers.decode.decoder import Decoded, Decoder, Trial
from workers.decode.limits import DecodeLimits


def test_good_pictures_are_answered_in_the_first_batch_however_many_slow_ones_it_has(
    classifier: Make, jobs: JobRecords, redis: Redis
) -> None:
    hostile = [submit(jobs, HOSTILE, client="hostile") for _ in range(15)]
    good = submit(jobs, GOOD, client="good")
    taken(redis)
    assert classifier().classify([*hostile, good]) == 1
    assert outcomes(jobs, good) == ["succeeded"]
    again = taken(redis)
    tried, *others = hostile  # for 0.3 s, which is all the time that such a client gets
    assert again.pop() == ([tried], True)
    assert sorted(again) == [([ref], False) for ref in sorted(others)]


def test_pictures_of_one_client_are_decoded_in_the_order_of_their_arrival(
    classifier: Make, jobs: JobRecords
) -> None:
    sizes = [30_000, 2 * 2**20, 10_000, 20_000]
    refs = [submit(jobs, GOOD.ljust(size, b"0"), client="one") for size in sizes]
    assert decoded(classifier, refs) == sizes


def test_clients_share_a_batch_in_rounds(classifier: Make, jobs: JobRecords) -> None:
    sizes = {"many": [1000, 1001, 1002], "two": [2000, 2001], "photo": [3 * 2**20]}
    refs = [
        submit(jobs, GOOD.ljust(size, b"0"), client=client)
        for client, of_client in sizes.items()
        for size in of_client
    ]
    assert decoded(classifier, refs) == [1000, 2000, 3 * 2**20, 1001, 2001, 1002]


def decoded(classifier: Make, refs: list[PartRef]) -> list[int]:
    """The bytes of the pictures of a batch, in the order in which they are decoded."""
    decoder = ScriptedDecoder(load_side(classifier))
    classifier(decoder).classify(refs)
    return [len(data) for data in decoder.seen]


@pytest.mark.parametrize("ahead", [31, 32, 95])
def test_a_picture_waits_for_few_heavy_pictures_of_another_client(
    classifier: Make, jobs: JobRecords, redis: Redis, ahead: int
) -> None:
    """They are in front of it: in its own batch, or in others before."""
    heavy = [submit(jobs, HEAVY, client="heavy") for _ in range(ahead)]
    stranger = submit(jobs, GOOD, client="stranger")
    taken(redis)
    queue, batches = [*heavy, stranger], 0
    while outcomes(jobs, stranger) == ["waiting"]:
        batch, queue = queue[:PART_SIZE], queue[PART_SIZE:]
        classifier().classify(batch)
        queue += [ref for refs, _ in taken(redis) for ref in refs]
        batches += 1
    assert batches == ahead // PART_SIZE + 1
    answered = [ref for ref in heavy if outcomes(jobs, ref) == ["succeeded"]]
    assert len(answered) <= 4 * batches  # 0.29 s each


def test_good_pictures_are_answered_after_one_that_is_decoded_in_one_call(
    classifier: Make, jobs: JobRecords, redis: Redis
) -> None:
    """A HEIC of 16 megapixels takes 0.8 s, and a batch has one second."""
    calls = [submit(jobs, ONE_CALL, client="calls") for _ in range(16)]
    good = [submit(jobs, GOOD, client="good") for _ in range(8)]
    taken(redis)
    decoder = ScriptedDecoder(load_side(classifier))
    worker = classifier(decoder)
    worker.classify([*calls, *good])
    assert [outcomes(jobs, ref) for ref in good] == [["succeeded"]] * 8
    left = [ref for refs, _ in taken(redis) for ref in refs]
    assert len(left) == 15
    more = [submit(jobs, GOOD, client="good") for _ in range(3)]
    decoder.seen.clear()
    worker.classify([*left, *more])
    assert decoder.seen[:3] == [GOOD] * 3, "a client with slow pictures begins later"


def test_a_client_with_slow_pictures_is_not_forgotten_beside_many_others(
    classifier: Make, jobs: JobRecords, redis: Redis
) -> None:
    worker = classifier()
    worker.classify([submit(jobs, ONE_CALL, client="calls") for _ in range(2)])
    calls = [submit(jobs, ONE_CALL, client="calls") for _ in range(2)]
    others = [submit(jobs, HEAVY, client=f"client {k}") for k in range(8)]
    worker.classify([*calls, *others])
    done = [ref for ref in others if outcomes(jobs, ref) == ["succeeded"]]
    assert len(done) == 4, "they spend the budget"
    assert [outcomes(jobs, ref) for ref in calls] == [["succeeded"], ["waiting"]]


def test_the_time_to_read_a_picture_counts(
    classifier: Make, jobs: JobRecords, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A photo may have megabytes behind its end, which nobody decodes."""
    refs = [submit(jobs, GOOD, client=f"client {k}") for k in range(4)]
    now = iter(range(1000))
    monkeypatch.setattr(decoding.time, "perf_counter", lambda: next(now) / 2)
    assert classifier().classify(refs) == 2, "two reads take half a second each"


def test_an_answer_leaves_before_many_heavy_pictures_of_its_batch(
    classifier: Make, jobs: JobRecords
) -> None:
    heavy = [submit(jobs, HEAVY, client="heavy") for _ in range(4)]
    stranger = submit(jobs, GOOD, client="stranger")
    seen = []

    class Watching(ScriptedDecoder):
        def decode(self, data: bytes, **options: Any) -> Decoded:
            seen.append(outcomes(jobs, stranger)[0])
            return super().decode(data, **options)

    classifier(Watching(load_side(classifier))).classify([*heavy, stranger])
    assert seen == ["waiting", "waiting", "succeeded", "succeeded"], "one more would take too long"


def test_a_lone_picture_that_is_decoded_in_one_call_has_no_longer(
    classifier: Make, jobs: JobRecords
) -> None:
    """A TIFF may be hostile, and other pictures come while it is decoded."""
    lone = submit(jobs, b"1.1 call", client="lone")
    decoder = ScriptedDecoder(load_side(classifier))
    classifier(decoder).classify([lone])
    assert decoder.seconds == 1.0 and outcomes(jobs, lone) == ["waiting"]


def test_a_batch_ends_when_its_budget_is_spent_and_loses_no_picture(
    classifier: Make, jobs: JobRecords, redis: Redis
) -> None:
    refs = [submit(jobs, HOSTILE) for _ in range(32)] + [
        submit(jobs, GOOD, HOSTILE, LARGE, GOOD, HOSTILE, HOSTILE),
        submit(jobs, LARGE),
    ]
    taken(redis)
    decoder = ScriptedDecoder(load_side(classifier))
    batches = [(refs, False)]
    while batches:
        for batch, slow in batches:
            decoder.seconds = 0.0
            classifier(decoder).classify(batch, slow=slow)
            assert decoder.seconds < BUDGET.batch + (LIMIT if slow else TRIAL)
        batches = taken(redis)
    assert [outcomes(jobs, ref) for ref in refs[:32]] == [["decode_timeout"]] * 32
    timeout = "decode_timeout"
    ok = "succeeded"
    assert outcomes(jobs, refs[32]) == [ok, timeout, ok, ok, timeout, timeout]
    assert outcomes(jobs, refs[33]) == [ok]
    assert {jobs.reader.get(ref.job_id).state for ref in refs} == {JobState.COMPLETED}
    assert int(redis.get("outstanding_images:interactive") or 0) == 0
    assert not redis.zcard("outstanding:interactive") and not redis.keys("images:*")


def test_a_picture_that_waits_for_a_later_batch_has_used_no_attempt(
    classifier: Make, jobs: JobRecords, redis: Redis
) -> None:
    refs = [submit(jobs, HOSTILE) for _ in range(40)]
    for _ in range(5):  # more often than a part may be started
        classifier().classify(refs)
    waiting = [ref for ref in refs if outcomes(jobs, ref) == ["waiting"]]
    assert waiting
    for ref in waiting:
        assert redis.hget(keys.part(ref.job_id, 0), ref.attempts_field) == b"0"


def test_a_part_that_was_cancelled_meanwhile_is_not_put_back(
    jobs: JobRecords, redis: Redis
) -> None:
    ref = submit(jobs, HOSTILE, HOSTILE)
    jobs.parts.start([ref], Lane.INTERACTIVE)
    taken(redis)
    jobs.canceller.cancel(ref.job_id)
    jobs.parts.start([ref], Lane.INTERACTIVE)
    jobs.parts.put_back({ref: [0]}, Lane.INTERACTIVE)
    assert not taken(redis)


def test_a_single_picture_is_decoded_once(classifier: Make, jobs: JobRecords) -> None:
    decoder = ScriptedDecoder(load_side(classifier))
    ref = submit(jobs, LARGE)
    assert classifier(decoder).classify([ref]) == 1
    assert decoder.seconds == 1.0


@pytest.mark.long
def test_generated_slow_pictures_are_stopped_after_the_good_ones(
    classifier: Make, jobs: JobRecords, redis: Redis, pictures: list[Path]
) -> None:
    slow = [jpeg_of_many_passes(5_000 + k) for k in range(3)]
    engine_preset = classifier()._engine.model.preset
    limits = DecodeLimits(pixels=50_000_000, cpu_seconds=0.5, memory_bytes=400 * 2**20)
    budget = DecodeBudget(trial=Trial(cpu_seconds=0.2, pixels=10**8), batch=60)
    made = classifier(Decoder(engine_preset, limits), budget)
    hostile = [submit(jobs, data) for data in slow]
    good = submit(jobs, pictures[0].read_bytes())
    with redis.pubsub() as notices:  # type: ignore[no-untyped-call]
        notices.subscribe(keys.COMMITTED)
        made.classify([*hostile, good])
        for ref in hostile:
            made.classify([ref], slow=True)
        heard = iter(lambda: notices.get_message(timeout=1), None)
        ended = [each["data"].decode()[:32] for each in heard if each["type"] == "message"]
    assert ended == [good.job_id, *(ref.job_id for ref in hostile)]
    assert [outcomes(jobs, ref) for ref in hostile] == [["decode_timeout"]] * 3
