"""A worker obeys the operator, and keeps the last decision in an outage."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import pytest
from redis import Redis

from shared import keys
from shared.jobs import Lane
from shared.operation import lane_states
from shared.operation.lane_states import LaneState
from shared.redis_client import connect
from workers.batching.micro_batch import Batcher
from workers.broker import transport
from workers.upkeep.lane_watch import LaneWatch


class Worker:
    """Of the lane `bulk`."""

    paused = False

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False


@pytest.fixture(autouse=True)
def take_messages_again() -> Iterator[None]:
    yield
    transport.pause(False)


def decide(redis: Redis, lane: Lane, state: LaneState) -> None:
    lane_states.decide(redis, lane, state, by="root", reason="")


@pytest.mark.parametrize("state", LaneState)
def test_a_worker_takes_parts_in_the_states_that_say_so(redis: Redis, state: LaneState) -> None:
    worker = Worker()
    watch = LaneWatch(redis, cast(Batcher, worker), Lane.BULK)
    decide(redis, Lane.INTERACTIVE, LaneState.PAUSED)
    watch.tick()
    assert not worker.paused, "the other lane"
    decide(redis, Lane.BULK, state)
    watch.tick()
    assert worker.paused is transport.Channel.paused is not state.works
    decide(redis, Lane.BULK, LaneState.OPEN)
    watch.tick()
    assert not worker.paused and not transport.Channel.paused


def test_a_worker_that_starts_in_a_paused_lane_takes_nothing(redis: Redis) -> None:
    decide(redis, Lane.BULK, LaneState.PAUSED)
    worker = Worker()
    LaneWatch(redis, cast(Batcher, worker), Lane.BULK).tick()
    assert worker.paused and transport.Channel.paused


def test_an_outage_of_redis_changes_nothing(redis: Redis) -> None:
    worker = Worker()
    worker.paused = True
    away = connect("redis://127.0.0.1:1/0", max_connections=1)
    LaneWatch(away, cast(Batcher, worker), Lane.BULK).tick()
    assert worker.paused


def test_the_decision_of_a_newer_release_is_obeyed(redis: Redis) -> None:
    record = '{"format": 2, "accepts": false, "works": false, "until": 7, "by": "x"}'
    redis.hset(keys.LANE_STATES, "bulk", record)
    assert lane_states.read(redis, Lane.BULK).state is LaneState.CLOSED
    assert lane_states.read(redis, Lane.INTERACTIVE).state is LaneState.OPEN
