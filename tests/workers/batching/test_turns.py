"""Clients take turns with the messages that run alone: each may be slow."""

from __future__ import annotations

from shared.message import ALONE
from tests.workers.batching.scripted_pool import Message, Pool, Task
from workers.batching.micro_batch import Batcher


def alone(name: str) -> Message:
    """A message whose client is the first letter of its name."""
    return Message(name, ALONE, client=name[0])


def in_order(pool: Pool) -> list[str]:
    return [name for names, _ in pool.batches for name in names]


def test_a_client_waits_for_one_slow_message_of_another() -> None:
    pool = Pool()
    batcher = Batcher(Task(), pool)
    for k in range(4):
        batcher.add(alone(f"a{k}"))
    batcher.add(alone("b0"))
    batcher.add(alone("b1"))
    batcher.add(alone("c0"))
    for k in range(6):
        pool.end(k)
    assert in_order(pool) == ["a0", "b0", "c0", "a1", "b1", "a2", "a3"]


def test_a_client_that_comes_later_is_next() -> None:
    pool = Pool()
    batcher = Batcher(Task(), pool)
    for name in ("a0", "a1", "b0", "b1"):
        batcher.add(alone(name))
    pool.end(0)
    batcher.add(alone("c0"))
    for k in range(1, 4):
        pool.end(k)
    assert in_order(pool) == ["a0", "b0", "c0", "a1", "b1"]
    assert not batcher.waiting


def test_a_client_with_few_pictures_gets_into_the_next_batch() -> None:
    pool = Pool(num_processes=1)
    batcher = Batcher(Task(), pool)
    batcher.add(Message("running", 1))
    for k in range(60):
        batcher.add(Message(f"many{k}", 1, client="many"))
    batcher.add(Message("few0", 1, client="few"))
    batcher.add(Message("few1", 1, client="few"))
    batcher.add(Message("nobody", 1))
    pool.end(0)
    _, (batch, _) = pool.batches
    assert batch[:5] == ["many0", "few0", "nobody", "many1", "few1"]


def test_a_large_message_does_not_end_a_batch_of_small_ones() -> None:
    pool = Pool(num_processes=1)
    batcher = Batcher(Task(), pool)
    batcher.add(Message("running", 1))
    batcher.add(Message("large", 8, client="large"))
    for k in range(40):
        batcher.add(Message(f"small{k}", 1, client="small"))
    pool.end(0)
    pool.end(1)
    _, (first, _), (second, _) = pool.batches
    assert first == [f"small{k}" for k in range(8)]
    assert second == ["large"], "it is overtaken once"
