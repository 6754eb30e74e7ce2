"""Records of a newer release, which has added fields: this release ignores what it does not know.

During an upgrade, and after a way back, old and new programs read each other's records.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from redis import Redis

from shared import keys
from shared.jobs import (
    Durations,
    ItemError,
    ItemState,
    Lane,
    Outcome,
    PartRef,
    Prediction,
)
from shared.records.job_records import JobRecords
from shared.records.load import backlog
from shared.serving import model_info
from tests.shared.records.parts import bury, commit
from tests.support.stored_jobs import new_job, new_model

FUTURE = {"added_later": {"a": [1]}}


def with_more(value: Any) -> Any:
    """JSON in which each object has another field, and each list of an item another value."""
    if isinstance(value, dict):
        return {name: with_more(each) for name, each in value.items()} | FUTURE
    return value


def change(redis: Redis, key: str, field: str, more: Any = with_more) -> None:
    stored = json.loads(redis.hget(key, field) or "")
    redis.hset(key, field, json.dumps(more(stored)))


def test_an_outcome() -> None:
    outcome = Outcome(
        state=ItemState.SUCCEEDED,
        predictions=(Prediction(1, "cat", 0.5),),
        model_version="m-1",
        durations=Durations(queue_ms=1, preprocess_ms=2, inference_ms=3),
        error=ItemError(code="none", message="none"),
        reaching=1,
    )
    stored = with_more(json.loads(outcome.to_json()))
    stored["predictions"] = [[*each, "added later"] for each in stored["predictions"]]
    assert Outcome.from_json(json.dumps(stored)) == outcome


def test_the_announced_model(redis: Redis) -> None:
    info = new_model()
    # Only the announcement itself has fields: `thresholds` is by label.
    redis.set(keys.MODEL, json.dumps(json.loads(model_info.to_json(info)) | FUTURE))
    assert model_info.read(redis) == info


def test_a_job_and_its_part(redis: Redis, jobs: JobRecords) -> None:
    job = new_job(2)
    jobs.submitter.accept([job])
    redis.hset(keys.job(job.id), "added_later", "1")

    def more(spec: dict[str, Any]) -> dict[str, Any]:
        items = [[*item, "added later"] for item in spec["items"]]
        return with_more(spec) | {"items": items}

    change(redis, keys.part(job.id, 0), "spec", more)
    redis.hset(keys.part(job.id, 0), "added_later", "1")

    ref = PartRef(job.id, 0, 2)
    [work] = jobs.parts.start([ref], Lane.BULK)
    assert len(work.images) == len(work.digests) == 2
    assert jobs.reader.digests(job.id, 0) == ["0", "1"]
    assert commit(redis, jobs, ref) == 2
    assert jobs.reader.get(job.id).succeeded == 2
    assert [item.state for item in jobs.reader.items(job.id, 0, 2)] == [ItemState.SUCCEEDED] * 2


def test_a_dead_letter(redis: Redis, jobs: JobRecords) -> None:
    job = new_job(1)
    jobs.submitter.accept([job])
    member = bury(redis, jobs, PartRef(job.id, 0, 1)).member
    [before] = jobs.dead_letters.all()
    change(redis, keys.DEAD_LETTERS, member)
    assert jobs.dead_letters.all() == [before]


@pytest.mark.parametrize("lane", Lane)
def test_a_message(redis: Redis, jobs: JobRecords, lane: Lane) -> None:
    """Recovery reads the oldest message, and a worker reads the parts of each."""
    job = new_job(2, lane)
    jobs.submitter.accept([job])
    text = redis.rpop(keys.queue(lane))
    assert isinstance(text, bytes)
    sent = json.loads(text)
    arguments, options, embedded = json.loads(base64.b64decode(sent["body"]))
    [parts] = arguments
    arguments = [[[*part, *[None] * (4 - len(part)), "added later"] for part in parts]]
    sent["body"] = base64.b64encode(json.dumps([arguments, options, embedded]).encode()).decode()
    sent["headers"] |= FUTURE
    redis.rpush(keys.queue(lane), json.dumps(sent))

    jobs.recovery.recover(lane)
    assert backlog.of_lane(redis, lane).parts == 1
    assert [PartRef.from_message(part) for part in arguments[0]] == [PartRef(job.id, 0, 2)]
