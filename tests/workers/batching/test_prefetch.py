"""While batches are long, only one message waits in a worker of the lane `bulk`."""

from __future__ import annotations

import time

import pytest

from shared.message import ALONE
from tests.workers.batching.scripted_pool import Consumer, Message, Pool, Task
from workers.batching import prefetch
from workers.batching.micro_batch import Batcher


class BulkTask(Task):
    prefetches_less_if_long = True


@pytest.fixture
def pool() -> Pool:
    return Pool()


@pytest.fixture
def consumer() -> Consumer:
    return Consumer()


def batcher_of(task: Task, pool: Pool, consumer: Consumer) -> Batcher:
    batcher = Batcher(task, pool)
    batcher.forget_old_connection(consumer)
    return batcher


def test_after_a_long_batch_one_message_waits(
    pool: Pool, consumer: Consumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    batcher = batcher_of(BulkTask(), pool, consumer)
    batcher.add(Message("a"))
    batcher.add(Message("b"))
    monkeypatch.setattr(prefetch, "_LONG_SECONDS", 0.0)
    pool.end(0)
    assert consumer.qos.value == batcher.processes + 1
    batcher.add(Message("c"))
    monkeypatch.setattr(prefetch, "_LONG_SECONDS", 0.5)
    pool.end(1)
    assert consumer.qos.value == batcher.processes + 1, "short batches may come in between"
    moved_on = time.monotonic() + 6
    monkeypatch.setattr(time, "monotonic", lambda: moved_on)
    batcher.add(Message("d"))
    assert consumer.qos.value == consumer.initial_prefetch_count


def test_slow_messages_do_not_count(
    pool: Pool, consumer: Consumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prefetch, "_LONG_SECONDS", 0.0)
    batcher = batcher_of(BulkTask(), pool, consumer)
    batcher.add(Message("slow", ALONE))
    pool.end(0)
    assert consumer.qos.value == consumer.initial_prefetch_count


def test_pictures_of_the_interactive_lane_are_prefetched_to_fill_a_batch(
    pool: Pool, consumer: Consumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prefetch, "_LONG_SECONDS", 0.0)
    batcher = batcher_of(Task(), pool, consumer)
    batcher.add(Message("a"))
    pool.end(0)
    assert consumer.qos.value == consumer.initial_prefetch_count
