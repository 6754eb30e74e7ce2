"""Pictures that are slow to decode do not delay the other pictures of their batch."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from redis import Redis

from shared import keys
from shared.errors import DecodeTimeout
from shared.jobs import PART_SIZE, JobState, Lane, NewItem, NewJob, PartRef, new_job_id
from shared.message import ALONE, IMAGES
from shared.records.job_records import JobRecords
from shared.result_cache import ResultCache
from shared.settings import Settings
from shared.thumbnails import Thumbnails
from tests.pipeline.hostile.hostile_pictures import jpeg_of_many_passes
from tests.workers.engine.tiny_export import tiny_settings
from workers.classify.decoding import DecodeBudget
from workers.classify.tasks import BatchClassifier
from workers.decode.decoder import Decoded, Decoder, Trial
from workers.decode.limits import DecodeLimits
from workers.engine import load_engine

SETTINGS = Settings(lane=Lane.INTERACTIVE)
LIMIT = SETTINGS.max_decode_seconds
BUDGET = DecodeBudget.of(SETTINGS)
TRIAL = BUDGET.trial.cpu_seconds if BUDGET.trial else 0.0
#: The seconds that the decoder below needs. HEAVY is just not slow.
GOOD, HEAVY, LARGE, HOSTILE = b"0.02", b"0.29", b"1", b"1000"
#: Its header says that it has many pixels.
MANY_PIXELS = b"2.5 many"


class ScriptedDecoder:
    """Needs as many seconds as the bytes say, up to the limit. No time passes.

    A picture of many pixels ends its first try at once.
    """

    def __init__(self, side: int) -> None:
        self._pixels = np.zeros((side, side, 3), np.uint8)
        self.seconds = 0.0  #: Of the present batch.

    def decode(self, data: bytes, *, trial: Trial | None = None) -> Decoded:
        if trial and b"many" in data:
            return Decoded(DecodeTimeout(), 0.0)
        needed, limit = float(data.split()[0]), trial.cpu_seconds if trial else LIMIT
        self.seconds += min(needed, limit)
        pixels = DecodeTimeout() if needed > limit else self._pixels
        return Decoded(pixels, 1000 * min(needed, limit))


Make = Callable[..., BatchClassifier]


@pytest.fixture
def classifier(redis: Redis, jobs: JobRecords, tmp_path: Path) -> Make:
    engine = load_engine(tiny_settings(tmp_path))

    def make(decoder: object = None, budget: DecodeBudget = BUDGET) -> BatchClassifier:
        return BatchClassifier(
            decoder or ScriptedDecoder(engine.model.preset.crop_size),  # type: ignore[arg-type]
            engine,
            redis,
            jobs.parts,
            ResultCache(redis, ttl_seconds=60),
            Thumbnails(redis, ttl_seconds=60),
            lane=Lane.INTERACTIVE,
            budget=budget,
        )

    return make


def submit(jobs: JobRecords, *pictures: bytes, client: str = "") -> PartRef:
    """A job of these pictures."""
    items = [NewItem(name="p", digest=f"{data!r}", data=data) for data in pictures]
    job_id = new_job_id()
    job = NewJob(id=job_id, lane=Lane.INTERACTIVE, top_k=1, items=items, client=client)
    jobs.submitter.accept([job])
    return PartRef(job_id, 0, len(items))


def taken(redis: Redis) -> list[tuple[list[PartRef], bool]]:
    """The parts of each message that waits, and whether they run alone. Then none waits.

    Parts of a job are put back into the queue of its model version.
    """
    queues: Any = redis.keys(f"{keys.queue(Lane.INTERACTIVE)}*")
    texts = [text for queue in queues for text in reversed(redis.lrange(queue, 0, -1))]
    messages = [json.loads(text) for text in texts]
    if queues:
        redis.delete(*queues)
    bodies = [json.loads(base64.b64decode(each["body"])) for each in messages]
    return [
        ([PartRef(*part) for part in body[0][0]], message["headers"][IMAGES] == ALONE)
        for body, message in zip(bodies, messages, strict=True)
    ]


def outcomes(jobs: JobRecords, ref: PartRef) -> list[str]:
    """What became of each picture: `succeeded`, the code of its error, or `waiting`."""
    items = jobs.reader.part_items(ref.job_id, ref.number)
    return [
        (
            (item.outcome.error.code if item.outcome.error else item.outcome.state.value)
            if item.outcome
            else "waiting"
        )
        for item in items
    ]


def test_good_pictures_are_answered_in_the_first_batch_however_many_slow_ones_it_has(
    classifier: Make, jobs: JobRecords, redis: Redis
) -> None:
    hostile = [submit(jobs, HOSTILE, client="hostile") for _ in range(15)]
    good = submit(jobs, GOOD, client="good")
    taken(redis)
    assert classifier().classify([*hostile, good]) == 1
    assert outcomes(jobs, good) == ["succeeded"]
    again = taken(redis)
    tried = hostile[:4]  # for 0.3 s each
    assert again == [(hostile[4:], False), *(([ref], True) for ref in tried)]


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
    assert classifier().classify([ref]) == 2
    batches = 0
    while parts := taken(redis):
        assert parts == [([ref], True)]
        assert classifier().classify([ref], slow=True) == 1
        batches += 1
    ok = "succeeded"
    assert outcomes(jobs, ref) == [ok, ok, "decode_timeout", ok, ok]
    assert jobs.reader.get(ref.job_id).state == JobState.COMPLETED and batches == 3


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
    sizes: list[int] = []
    decode = decoder.decode

    def noted(data: bytes, *, trial: Trial | None = None) -> Decoded:
        sizes.append(len(data))
        return decode(data, trial=trial)

    decoder.decode = noted  # type: ignore[method-assign]
    classifier(decoder).classify(refs)
    return sizes


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


def test_an_answer_leaves_before_many_heavy_pictures_of_its_batch(
    classifier: Make, jobs: JobRecords
) -> None:
    heavy = [submit(jobs, HEAVY, client="heavy") for _ in range(4)]
    stranger = submit(jobs, GOOD, client="stranger")
    seen = []

    class Watching(ScriptedDecoder):
        def decode(self, data: bytes, *, trial: Trial | None = None) -> Decoded:
            seen.append(outcomes(jobs, stranger)[0])
            return super().decode(data, trial=trial)

    classifier(Watching(load_side(classifier))).classify([*heavy, stranger])
    assert seen == ["waiting", "waiting", "succeeded", "succeeded", "succeeded"]


def test_an_answer_leaves_before_the_next_picture_of_a_client_with_a_slow_one(
    classifier: Make, jobs: JobRecords
) -> None:
    hostile = [submit(jobs, HOSTILE, client="hostile") for _ in range(2)]
    good = submit(jobs, GOOD, client="good")
    seen = []

    class Watching(ScriptedDecoder):
        def decode(self, data: bytes, *, trial: Trial | None = None) -> Decoded:
            seen.append(outcomes(jobs, good)[0])
            return super().decode(data, trial=trial)

    classifier(Watching(load_side(classifier))).classify([*hostile, good])
    assert seen == ["waiting", "waiting", "succeeded"]


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


def load_side(classifier: Make) -> int:
    return classifier()._engine.model.preset.crop_size


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
