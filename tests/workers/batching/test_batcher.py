"""The rule of batching with a pool and a clock of the test."""

from __future__ import annotations

import time

import pytest

from shared.message import ALONE
from tests.conftest import Clock
from tests.workers.batching.scripted_pool import Consumer, Message, Pool, Task
from workers.batching.micro_batch import _QUIET_SECONDS, Batcher
from workers.batching.pool_process import recall


@pytest.fixture
def pool() -> Pool:
    return Pool()


@pytest.fixture
def batcher(pool: Pool) -> Batcher:
    return Batcher(Task(), pool)


def test_a_message_goes_to_a_free_process_at_once(batcher: Batcher, pool: Pool) -> None:
    batcher.add(Message("a"))
    batcher.add(Message("b"))
    assert [names for names, _ in pool.batches] == [["a"], ["b"]]
    batcher.add(Message("c"))
    assert len(pool.batches) == 2 and batcher.waiting == 1


def test_a_process_that_becomes_free_gets_all_that_waits(batcher: Batcher, pool: Pool) -> None:
    for k in range(14):
        batcher.add(Message(f"{k}"))
    pool.end(1)
    assert pool.batches[2][0] == [f"{k}" for k in range(2, 10)], "eight fit"
    pool.end(0)
    assert pool.batches[3][0] == ["10", "11", "12", "13"]
    assert batcher.waiting == 0 and batcher.running == 2


def test_a_small_message_overtakes_a_large_one_once(batcher: Batcher, pool: Pool) -> None:
    for k in range(2):
        batcher.add(Message(f"busy-{k}"))
    for message in (Message("large", 8), Message("a"), Message("b")):
        batcher.add(message)
    pool.end(0)
    assert pool.batches[2][0] == ["a", "b"]
    batcher.add(Message("c"))
    pool.end(1)
    assert pool.batches[3][0] == ["large"]
    pool.end(2)
    assert pool.batches[4][0] == ["c"]
    assert batcher.waiting == 0


def test_messages_that_are_gone_take_no_place(batcher: Batcher, pool: Pool) -> None:
    for k in range(2):
        batcher.add(Message(f"busy-{k}"))
    for message in (Message("gone", 7, gone=True), Message("a", 5), Message("b", 3)):
        batcher.add(message)
    pool.end(0)
    assert sorted(pool.batches[2][0]) == ["a", "b"]
    batcher.add(Message("gone, too", gone=True))
    pool.end(1)
    assert len(pool.batches) == 3 and batcher.idle, "nothing was left to run"


def test_a_batch_is_alone_if_no_other_ran_for_a_while(
    batcher: Batcher, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    batcher.add(Message("first"))
    batcher.add(Message("beside it"))
    assert [alone for _, alone in pool.batches] == [True, False]
    pool.end(0)
    pool.end(1)
    clock.now += _QUIET_SECONDS / 2
    batcher.add(Message("soon after"))
    assert not pool.batches[2][1]
    pool.end(2)
    clock.now += _QUIET_SECONDS
    batcher.add(Message("later"))
    assert pool.batches[3][1]


def test_after_a_reconnect_only_accepted_batches_hold_a_slot(batcher: Batcher, pool: Pool) -> None:
    for name in ("accepted", "not accepted", "waiting"):
        batcher.add(Message(name))
    pool.accept(0)
    batcher.forget_old_connection(Consumer())
    assert (batcher.running, batcher.waiting) == (1, 0)
    batcher.add(Message("delivered again"))
    assert pool.batches[2][0] == ["delivered again"]


def test_a_pool_that_is_closing_leaves_no_slot_blocked(batcher: Batcher, pool: Pool) -> None:
    pool.closing = True
    batcher.add(Message("a"))
    assert (pool.batches, batcher.running) == ([], 0)


def test_messages_that_run_alone_alternate_with_batches_of_the_others(pool: Pool) -> None:
    pool.num_processes = 1
    batcher = Batcher(Task(), pool)
    batcher.add(Message("first"))
    for name in ("slow 1", "slow 2", "slow 3"):
        batcher.add(Message(name, ALONE))
    for name in ("a", "b"):
        batcher.add(Message(name))
    assert batcher.waiting == 5
    pool.end(0)
    batcher.add(Message("c"))
    for batch in range(1, 4):
        pool.end(batch)
    names = [names for names, _ in pool.batches]
    assert names == [["first"], ["slow 1"], ["a", "b", "c"], ["slow 2"], ["slow 3"]]


def test_small_messages_overtake_a_large_one_only_once(pool: Pool) -> None:
    """Also if a message that runs alone comes between."""
    pool.num_processes = 1
    batcher = Batcher(Task(), pool)
    batcher.add(Message("first"))
    most = Task.max_batch_size
    for message in (Message("large", most), Message("small 1"), Message("slow 1", ALONE)):
        batcher.add(message)
    batcher.add(Message("slow 2", ALONE))
    for batch in range(4):
        pool.end(batch)
        batcher.add(Message(f"small {batch + 2}"))
    names = [names for names, _ in pool.batches]
    assert names.index(["large"]) <= 4, names


@pytest.mark.parametrize("processes", [2, 4])
def test_messages_that_run_alone_leave_a_process_for_the_others(pool: Pool, processes: int) -> None:
    pool.num_processes = processes
    batcher = Batcher(Task(), pool)
    for k in range(6):
        batcher.add(Message(f"slow {k}", ALONE))
    assert pool.slow == [True] * (processes - 1) and batcher.idle
    batcher.add(Message("a"))
    assert pool.batches[-1][0] == ["a"] and not pool.slow[-1] and not batcher.idle
    pool.end(processes - 1)
    assert len(pool.batches) == processes, "the process stays free for the others"
    pool.end(0)
    assert pool.batches[-1][0] == [f"slow {processes - 1}"]


@pytest.fixture
def bulk(pool: Pool) -> Batcher:
    """That of a worker which may use all processes for messages that run alone."""
    task = Task()
    task.keeps_one_free = False
    return Batcher(task, pool)


def test_messages_that_run_alone_may_get_all_processes(bulk: Batcher, pool: Pool) -> None:
    """While nobody else is there, also if their client sends others that may be quick."""
    for k in range(3):
        bulk.add(Message(f"slow {k}", ALONE, client="slow"))
    assert pool.slow == [True, True]
    bulk.add(Message("not tried yet", client="slow"))
    assert not recalled(bulk, pool)
    pool.end(0)
    pool.end(1)
    assert [names for names, _ in pool.batches[2:]] == [["not tried yet"], ["slow 2"]]


def test_a_message_of_another_client_recalls_one_batch(
    bulk: Batcher, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    for k in range(5):
        bulk.add(Message(f"slow {k}", ALONE, client="slow"))
    bulk.add(Message("other", client="other"))
    bulk.add(Message("other, too", client="other"))
    assert recalled(bulk, pool) == [0]
    pool.end(0)
    assert pool.batches[2][0] == ["other", "other, too"] and not recalled(bulk, pool)
    pool.end(2)
    assert len(pool.batches) == 3, "the process stays free for the next message of the others"
    clock.now += 1.5
    pool.end(1)
    assert pool.slow[3:] == [True, True], "nobody else is there any more"


def test_suspect_pictures_leave_a_process_for_the_others(bulk: Batcher, pool: Pool) -> None:
    for k in range(3):
        bulk.add(Message(f"suspect {k}", ALONE))
    pool.end(0)
    assert pool.batches == [(["suspect 0"], True), (["suspect 1"], False)]


def recalled(batcher: Batcher, pool: Pool) -> list[int]:
    """The batches that run and are to end soon."""
    numbers = [each.number for each in batcher._running]
    return [pool.numbers.index(number) for number in numbers if recall.asked(number)]


def test_a_process_more_than_the_batches_at_once_is_for_messages_that_run_alone(
    pool: Pool,
) -> None:
    task = Task()
    task.batches_at_once = 1
    batcher = Batcher(task, pool)
    for name in ("a", "b"):
        batcher.add(Message(name))
    assert [names for names, _ in pool.batches] == [["a"]] and not batcher.idle
    batcher.add(Message("slow 1", ALONE))
    batcher.add(Message("slow 2", ALONE))
    assert pool.batches[1][0] == ["slow 1"]
    pool.end(0)
    assert pool.batches[2][0] == ["b"]
    pool.end(1)
    assert pool.batches[3][0] == ["slow 2"] and batcher.waiting == 0


def test_waiting_messages_that_run_alone_leave_room_for_others_to_arrive(pool: Pool) -> None:
    batcher, consumer = Batcher(Task(), pool), Consumer()
    batcher.forget_old_connection(consumer)
    batcher.add(Message("a"))
    for k in range(3):
        batcher.add(Message(f"slow {k}", ALONE))
    assert consumer.qos.value == 16 + 2
    consumer.qos.value = 16  # Celery sets it anew some time after a reconnect.
    pool.end(1)
    assert consumer.qos.value == 16 + 1
    pool.end(2)
    assert consumer.qos.value == 16
    batcher.add(Message("slow 3", ALONE))
    batcher.forget_old_connection(consumer := Consumer())
    assert consumer.qos.value == 16


def test_a_paused_worker_returns_what_waits_and_ends_what_runs(pool: Pool) -> None:
    returned: list[str] = []
    batcher = Batcher(Task(), pool, put_back=lambda message: returned.append(message.id))
    for name in ("runs", "runs too", "next", "later"):
        batcher.add(Message(name))
    assert batcher.parts == 2
    batcher.pause()
    assert returned == ["later", "next"], "the next one goes last to the head of the queue"
    pool.end(0)
    batcher.add(Message("was on its way"))
    assert returned[2:] == ["was on its way"]
    assert (len(pool.batches), batcher.waiting, batcher.running) == (2, 0, 1)
    batcher.resume()
    batcher.add(Message("next"))
    assert pool.batches[2][0] == ["next"]


def test_messages_that_cannot_be_returned_wait_and_run_later(pool: Pool) -> None:
    def put_back(message: Message) -> None:
        raise ConnectionError

    batcher = Batcher(Task(), pool, put_back=put_back)
    for name in ("runs", "runs too", "waits"):
        batcher.add(Message(name))
    with pytest.raises(ConnectionError):
        batcher.pause()
    pool.end(0)
    assert len(pool.batches) == 2
    batcher.resume()
    assert pool.batches[2][0] == ["waits"]
