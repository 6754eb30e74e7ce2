"""What the tests of the records have in common: take messages and commit, as a worker does."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from typing import Any

from redis import Redis

from shared import keys
from shared.errors import EmptyFile
from shared.jobs import ItemState, Lane, Outcome, PartRef, Prediction
from shared.records.job_records import JobRecords
from shared.records.load import backlog
from shared.records.overdue.recovery import Recovered
from shared.records.work import MAX_ATTEMPTS

LANE = Lane.BULK

SUCCESS = Outcome(
    state=ItemState.SUCCEEDED, predictions=(Prediction(1, "cat", 0.9),), model_version="m-1"
)
CACHED = Outcome(state=ItemState.SUCCEEDED, model_version="m-1", cache_hit=True)
REFUSED = Outcome.failure(EmptyFile())

EMPTY = (0, 0, None)  #: The backlog of a lane without work.


def queued(redis: Redis, lane: Lane = LANE) -> list[list[PartRef]]:
    """The parts of each message in the queue, oldest message first."""
    texts: Any = redis.lrange(keys.queue(lane), 0, -1)
    return [_parts(text) for text in reversed(texts)]


def take_message(redis: Redis, lane: Lane = LANE, version: str = "") -> list[PartRef]:
    """Take the oldest message; gives its parts, none if the queue is empty."""
    text: Any = redis.rpop(keys.queue(lane, version))
    return _parts(text) if text else []


def _parts(text: bytes) -> list[PartRef]:
    body = json.loads(base64.b64decode(json.loads(text)["body"]))
    return [PartRef.from_message(part) for part in body[0][0]]


def commit(
    redis: Redis,
    jobs: JobRecords,
    ref: PartRef,
    outcomes: Mapping[int, Outcome] | None = None,
    *,
    lane: Lane = LANE,
) -> int:
    """Commit a part, with SUCCESS for all its images by default; gives the new outcomes."""
    positions: Iterable[int] = range(ref.images) if ref.only is None else [ref.only]
    pipe = redis.pipeline(transaction=False)
    jobs.parts.commit(pipe, ref, lane, outcomes or dict.fromkeys(positions, SUCCESS))
    [written] = pipe.execute()
    return int(written)


def wear_out(jobs: JobRecords, ref: PartRef) -> Recovered:
    """Start a part as often as allowed, with a worker that dies each time, and recover the lane."""
    for _ in range(MAX_ATTEMPTS):
        assert jobs.parts.start([ref], LANE)
    assert jobs.parts.start([ref], LANE) == []
    return jobs.recovery.recover(LANE)


def bury(redis: Redis, jobs: JobRecords, ref: PartRef) -> PartRef:
    """Let workers die on a part and then on its first image; gives that image."""
    take_message(redis)
    wear_out(jobs, ref)
    singles = [single for _ in range(ref.images) for single in take_message(redis)]
    assert wear_out(jobs, singles[0]) == Recovered(0, 0, 1)
    return singles[0]


def nothing_is_held(redis: Redis) -> bool:
    """Whether a lane's backlog is empty and no bytes of images are left."""
    held = redis.hgetall(keys.HELD)
    return (
        backlog.of_lane(redis, LANE) == EMPTY
        and held in ({}, {b"total": b"0"})
        and not redis.keys("images:*")
        and not redis.keys("staged*")
    )
