"""A batch that an outage of Redis has ended is in the queue again as soon as Redis is back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import (
    BusyLoadingError,
    ConnectionError as RedisConnectionError,
    NoPermissionError,
    OutOfMemoryError,
    RedisError,
    ResponseError,
)

from shared import keys
from shared.jobs import JobState, Lane, PartRef
from shared.records.job_records import JobRecords
from tests.workers.classify.new_classifier import new_classifier
from tests.workers.classify.scripted import GOOD, ScriptedDecoder, submit, taken
from tests.workers.engine.tiny_export import tiny_settings
from workers.classify import outage
from workers.classify.tasks import BatchClassifier
from workers.engine import load_engine


class DecoderDuring(ScriptedDecoder):
    """Does something at the first picture, in the middle of the batch."""

    def __init__(self, side: int, action: Callable[[], object]) -> None:
        super().__init__(side)
        self._actions = [action]

    def decode(self, data: bytes, **options: Any) -> Any:
        while self._actions:
            self._actions.pop()()
        return super().decode(data, **options)


@pytest.fixture
def make(redis: Redis, jobs: JobRecords, tmp_path: Any) -> Callable[..., BatchClassifier]:
    engine = load_engine(tiny_settings(tmp_path))

    def make(action: Callable[[], object] = int, patience: float = 20) -> BatchClassifier:
        decoder = DecoderDuring(engine.model.preset.crop_size, action)
        return new_classifier(engine, redis, jobs, decoder=decoder, patience=patience)

    return make


def assert_done_by_the_next_delivery(
    classifier: BatchClassifier, redis: Redis, jobs: JobRecords, ref: PartRef
) -> None:
    attempts = redis.hget(keys.part(ref.job_id, ref.number), ref.attempts_field)
    assert int(attempts or 0) == 0, "an outage is no attempt"
    [(parts, _)] = taken(redis)
    assert classifier.classify(parts) == 2
    assert jobs.reader.get(ref.job_id).state is JobState.COMPLETED


def paused(redis: Redis, milliseconds: int) -> Callable[[], object]:
    """Redis answers nobody. A client waits for a second."""
    return lambda: redis.client_pause(milliseconds, all=True)


@pytest.mark.parametrize("before", ["the start", "the commit"])
def test_a_redis_that_stands_still(
    make: Callable[..., BatchClassifier], redis: Redis, jobs: JobRecords, before: str
) -> None:
    ref = submit(jobs, GOOD, GOOD)
    taken(redis)
    if before == "the start":
        classifier = make()
        paused(redis, 4000)()
    else:
        classifier = make(paused(redis, 4000))
    with pytest.raises(outage.RedisAway, match="return to the queue (now|when)"):
        classifier.classify([ref])
    assert_done_by_the_next_delivery(classifier, redis, jobs, ref)


def test_a_redis_that_stays_away_leaves_the_parts_to_their_deadline(
    make: Callable[..., BatchClassifier], redis: Redis, jobs: JobRecords
) -> None:
    ref = submit(jobs, GOOD, GOOD)
    taken(redis)
    classifier = make(paused(redis, 1500), patience=0)
    with pytest.raises(outage.RedisAway, match="return to the queue (now|when)"):
        classifier.classify([ref])
    assert not taken(redis)
    assert redis.zcard(keys.outstanding(Lane.INTERACTIVE)) == 1


def test_a_fault_that_a_repetition_meets_again_is_not_repeated_at_once(
    make: Callable[..., BatchClassifier], redis: Redis, jobs: JobRecords
) -> None:
    ref = submit(jobs, GOOD, GOOD)
    taken(redis)
    count = keys.outstanding_images(Lane.INTERACTIVE)
    classifier = make(lambda: redis.set(count, "no number"))
    with pytest.raises(ResponseError, match="not an integer"):
        classifier.classify([ref])
    assert redis.zcard(keys.outstanding(Lane.INTERACTIVE)) == 1 and not taken(redis)


def test_a_fault_that_comes_up_after_an_outage_is_raised() -> None:
    errors = [RedisConnectionError("away"), ResponseError("WRONGTYPE")]

    def act() -> None:
        raise errors.pop(0)

    with pytest.raises(ResponseError, match="WRONGTYPE"):
        outage.after_outage(act, seconds=20)
    assert not errors


@pytest.mark.parametrize("error", [OutOfMemoryError, NoPermissionError, BusyLoadingError])
def test_refusals_that_end_by_themselves_or_by_an_operator(error: type[RedisError]) -> None:
    assert outage.is_outage(error("as Redis words it"))


@pytest.mark.parametrize(
    ("refusal", "setting"),
    [("MISCONF", None), ("NOREPLICAS", "min-replicas-to-write")],
)
def test_refusals_for_which_redis_py_has_no_class(
    redis: Redis, refusal: str, setting: str | None
) -> None:
    error: RedisError = ResponseError(f"{refusal} as Redis words it")
    if setting:
        redis.config_set(setting, 1)
        try:
            redis.set("refused", 1)
        except ResponseError as real:
            error = real
        finally:
            redis.config_set(setting, 0)
    assert outage.is_outage(error)
    assert not outage.is_outage(ResponseError("WRONGTYPE Operation against a key"))
