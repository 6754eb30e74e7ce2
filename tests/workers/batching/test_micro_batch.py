"""Batches of a real Celery worker with a real Redis. One worker runs all tests of this file."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from redis import Redis

from quickstart import redis_server
from tests.support.local_service import free_port
from tests.workers.batching.running_worker import Worker, running_worker, task_events, until


@pytest.fixture(scope="module")
def shared_worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    """Its Redis is its own, because other tests empty theirs."""
    folder = tmp_path_factory.mktemp("worker")
    with redis_server.running(folder / "redis", free_port()) as url, Redis.from_url(url) as redis:
        with running_worker(url, redis, folder / "log") as running:
            yield running


@pytest.fixture
def worker(shared_worker: Worker) -> Iterator[Worker]:
    shared_worker.forget()
    yield shared_worker
    until(shared_worker.settled)


def test_an_idle_worker_runs_each_message_by_itself(worker: Worker) -> None:
    for k in range(9):
        worker.run(f"m{k}")
    assert [len(run) for run in worker.runs()] == [1] * 9


@pytest.mark.long
@pytest.mark.alone
def test_an_idle_worker_adds_no_delay(worker: Worker) -> None:
    def seconds_for_one(name: str) -> float:
        started = time.perf_counter()
        worker.run(name)
        return time.perf_counter() - started

    times = sorted(seconds_for_one(f"m{k}") for k in range(9))
    assert times[4] < 0.1


def test_batches_under_load_are_full_and_in_order(worker: Worker) -> None:
    worker.occupy()
    names = [f"m{k}" for k in range(24)]
    for name in names:
        worker.send(name)
    worker.release(held=26)
    until(lambda: len(worker.finished()) == 26)

    # Two processes record their batches, so the order of the records may differ.
    batches = [each["names"] for each in worker.began()[2:]]
    assert sorted(batches) == sorted([names[:8], names[8:16], names[16:]])


def test_the_size_of_a_batch_is_its_number_of_images(worker: Worker) -> None:
    worker.occupy()
    for name, images in [("a", 5), ("b", 3), ("c", 6), ("d", 3), ("huge", 40), ("e", 1)]:
        worker.send(name, images=images)
    worker.release(held=8)
    until(lambda: len(worker.finished()) == 8)
    batches = [each["names"] for each in worker.began()[2:]]
    # Small messages go first, and "a" is overtaken only once.
    assert sorted(batches) == [["a"], ["c"], ["e", "b", "d"], ["huge"]]


def test_a_batch_gets_whether_it_is_alone(worker: Worker) -> None:
    time.sleep(0.3)  # Batches of an earlier test may have overlapped until now.
    worker.occupy()
    assert [each["alone"] for each in worker.began()] == [True, False]
    worker.release(held=2)
    until(worker.settled)
    time.sleep(0.3)
    assert worker.run("later")["alone"]


def test_an_exception_reaches_every_request_of_its_batch(worker: Worker) -> None:
    with task_events(worker) as seen:
        worker.occupy()
        ids = [worker.send("bad", once="raise"), worker.send("neighbour")]
        worker.release(held=4)
        until(lambda: all("task-failed" in seen.get(each, []) for each in ids))
    until(worker.settled)
    worker.run("after")


def test_running_out_of_memory_fails_the_batch_and_not_the_worker(worker: Worker) -> None:
    with task_events(worker) as seen:
        failed = worker.send("greedy", once="memory")
        until(lambda: "task-failed" in seen.get(failed, []))
    worker.run("after")
    assert worker.process.poll() is None


def test_revoked_and_expired_messages_take_no_place_in_a_batch(worker: Worker) -> None:
    worker.occupy()
    revoked = [worker.send(f"revoked-{k}") for k in range(7)]
    worker.send("expired", expires=2)  # The worker has received it by then.
    worker.send("kept-0")
    worker.send("kept-1")
    until(lambda: worker.redis.hlen("unacked") == 12)
    # The reply shows that every revocation has arrived.
    assert worker.app.control.revoke(revoked, reply=True, timeout=20, limit=1)
    time.sleep(2)
    worker.release(held=12)
    until(lambda: len(worker.finished()) == 4)

    # Revoked messages would have taken seven of the eight places.
    assert worker.began()[2]["names"] == ["kept-0", "kept-1"]


def test_task_events_show_each_message(worker: Worker) -> None:
    with task_events(worker) as seen:
        worker.occupy()
        ids = [worker.send(f"m{k}") for k in range(5)]
        worker.release(held=7)
        until(lambda: all("task-succeeded" in seen.get(each, []) for each in ids))
    for each in ids:
        assert seen[each] == ["task-received", "task-started", "task-succeeded"]
