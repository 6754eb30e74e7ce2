"""A client is seen although the slow messages of another one fill the worker."""

from __future__ import annotations

import pytest
from redis import Redis

from shared import keys
from shared.jobs import PART_SIZE, Lane, PartRef
from shared.message import ALONE, message
from shared.records.fairness.waiting_clients import next_clients
from tests.workers.batching.scripted_pool import Message, Pool, Task
from workers.batching.micro_batch import Batcher
from workers.batching.pool_process import recall
from workers.upkeep.queue_watch import QueueWatch

LANE = Lane.BULK


@pytest.fixture
def pool() -> Pool:
    return Pool()


@pytest.fixture
def batcher(pool: Pool) -> Batcher:
    """Both processes are busy with slow messages, and a quick one of the same client waits."""
    task = Task()
    task.keeps_one_free = False
    made = Batcher(task, pool)
    for k in range(2):
        made.add(Message(f"slow {k}", ALONE, client="slow"))
    made.add(Message("not tried yet", client="slow"))
    return made


@pytest.fixture
def watch(redis: Redis, batcher: Batcher) -> QueueWatch:
    return QueueWatch(redis, batcher, LANE, lambda: ["", "m-1"])


def queue(redis: Redis, client: str, *, version: str = "", alone: bool = False) -> None:
    text = message(LANE, [PartRef("j", 0, PART_SIZE)], version=version, alone=alone, client=client)
    redis.lpush(keys.queue(LANE, version), text)


def is_recalled(pool: Pool) -> bool:
    return recall.asked(pool.numbers[0])


@pytest.mark.parametrize("version", ["", "m-1"])
def test_a_message_that_does_not_arrive_recalls_a_batch(
    redis: Redis, watch: QueueWatch, pool: Pool, batcher: Batcher, version: str
) -> None:
    """A job of five pictures waited for 9 s behind slow pictures of another client."""
    queue(redis, "slow", version=version)
    watch.tick()
    assert not is_recalled(pool), "it is the same client"
    queue(redis, "other", version=version)
    watch.tick()
    assert is_recalled(pool)
    pool.end(0)
    assert pool.batches[2][0] == ["not tried yet"], "so there is room for the next message"


def test_a_part_that_waits_for_its_round_recalls_a_batch(
    redis: Redis, watch: QueueWatch, pool: Pool
) -> None:
    redis.zadd(keys.clients(LANE), {"slow": 3, keys.slow("slow"): 1e12, keys.slow("two"): 1e12})
    watch.tick()
    assert not is_recalled(pool)
    redis.zadd(keys.clients(LANE), {"other": 4})
    watch.tick()
    assert is_recalled(pool)


def test_nothing_is_read_while_a_process_may_take_messages(
    redis: Redis, watch: QueueWatch, pool: Pool, batcher: Batcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool.end(0)
    monkeypatch.delattr("workers.upkeep.queue_watch.next_clients")
    watch.tick()
    assert not batcher.all_run_alone


def test_an_outage_is_left_to_the_sign_of_life(batcher: Batcher, pool: Pool) -> None:
    away = Redis(port=1)
    QueueWatch(away, batcher, LANE, lambda: [""]).tick()
    assert not is_recalled(pool)


def test_slow_messages_and_those_without_a_client_tell_nothing(redis: Redis) -> None:
    queue(redis, "slow", alone=True)
    queue(redis, "")
    queue(redis, "other")
    assert next_clients(redis, LANE, [""]) == {"other"}
