"""Dynamic batching, with a real Celery worker and a real Redis."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from redis import Redis

from shared.message import IMAGES
from shared.settings import Settings
from workers.celery_app import make_celery
from workers.batching.micro_batch import _QUIET_SECONDS

_HERE = Path(__file__).parent
_ROOT = _HERE.parents[2]


class Worker:
    """A worker with two pool processes, and what it did."""

    def __init__(self, process: subprocess.Popen[bytes], app: Celery, redis: Redis) -> None:
        self.process = process
        self.app = app
        self.redis = redis

    def send(self, name: str, *, images: int = 1, **options: Any) -> str:
        expires = options.pop("expires", None)
        result = self.app.send_task(
            "batch",
            args=[[{"name": name, **options}]],
            queue="interactive",
            headers={IMAGES: images},
            expires=expires,
            ignore_result=True,
        )
        return str(result.id)

    def began(self) -> list[dict[str, Any]]:
        return [json.loads(each) for each in self.redis.lrange("began", 0, -1)]

    def runs(self) -> list[list[str]]:
        return [json.loads(each) for each in self.redis.lrange("runs", 0, -1)]

    def finished(self) -> list[str]:
        return [name for run in self.runs() for name in run]

    def occupy(self) -> None:
        """Keep both pool processes busy until `release`."""
        self.redis.delete("open")
        before = len(self.began())
        for k in range(2):
            self.send(f"busy-{before}-{k}", gate=True)
            until(lambda: len(self.began()) == before + k + 1)

    def release(self, *, held: int) -> None:
        """Let them go on, once the worker holds this many messages, theirs included."""
        until(lambda: self.redis.hlen("unacked") == held)
        self.redis.set("open", 1)

    def has_two_free_processes(self) -> None:
        self.redis.delete("began", "runs")
        self.occupy()
        self.release(held=2)
        until(lambda: len(self.finished()) == 2)

    def settled(self) -> bool:
        """Nothing waits and nothing is unacknowledged."""
        return not self.redis.llen("interactive") and not self.redis.hlen("unacked")


@contextmanager
def running_worker(redis_url: str, redis: Redis, log: Path) -> Iterator[Worker]:
    environment = os.environ | {"REDIS_URL": redis_url, "PYTHONPATH": f"{_ROOT}:{_HERE}"}
    arguments = "worker --concurrency 2 --without-mingle --without-gossip -l INFO -E".split()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", "batching_app", *arguments],
            env=environment,
            cwd=_ROOT,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    app = make_celery(Settings(redis_url=redis_url))
    worker = Worker(process, app, redis)
    try:
        worker.send("ready")
        until(lambda: worker.finished() == ["ready"], seconds=20)
        redis.delete("began", "runs")
        yield worker
    finally:
        app.close()
        with suppress(ProcessLookupError):  # a test may have stopped it
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        # A dead worker's BRPOP would take the next test's first message with it.
        until(lambda: not redis.info("clients")["blocked_clients"])


def until(condition: Callable[[], object], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


@pytest.fixture
def worker(redis_url: str, redis: Redis, tmp_path: Path) -> Iterator[Worker]:
    with running_worker(redis_url, redis, tmp_path / "log") as running:
        yield running


def test_an_idle_worker_adds_no_delay(worker: Worker) -> None:
    def seconds_for_one(name: str) -> float:
        started = time.perf_counter()
        worker.send(name)
        until(lambda: name in worker.finished())
        return time.perf_counter() - started

    times = sorted(seconds_for_one(f"m{k}") for k in range(9))
    assert times[4] < 0.1
    assert [len(run) for run in worker.runs()] == [1] * 9


def test_loaded_batches_are_full_and_in_order(worker: Worker) -> None:
    worker.occupy()
    names = [f"m{k}" for k in range(24)]
    for name in names:
        worker.send(name)
    worker.release(held=26)
    until(lambda: len(worker.finished()) == 26)

    # Two processes tell of their batches: the lists' order is not that of their forming.
    batches = [each["names"] for each in worker.began()[2:]]
    assert sorted(batches) == sorted([names[:8], names[8:16], names[16:]])
    until(worker.settled)


def test_a_batch_is_sized_in_images(worker: Worker) -> None:
    worker.occupy()
    for name, images in [("a", 5), ("b", 3), ("c", 6), ("d", 3), ("huge", 40), ("e", 1)]:
        worker.send(name, images=images)
    worker.release(held=8)
    until(lambda: len(worker.finished()) == 8)
    batches = [each["names"] for each in worker.began()[2:]]
    assert sorted(batches) == [["a", "b"], ["c"], ["d"], ["e"], ["huge"]]


def test_a_batch_is_told_whether_it_is_alone(worker: Worker) -> None:
    worker.occupy()
    assert [each["alone"] for each in worker.began()] == [True, False]
    worker.release(held=2)
    until(worker.settled)
    time.sleep(_QUIET_SECONDS)
    assert _began(worker, "later")["alone"]


def test_a_batch_is_not_alone_soon_after_two_have_met(worker: Worker) -> None:
    def soon() -> dict[str, Any] | None:
        worker.occupy()
        met_at = worker.began()[-1]["at"]
        worker.release(held=2)
        until(worker.settled)
        began = _began(worker, f"soon-{met_at}")
        return began if began["at"] - met_at < _QUIET_SECONDS else None  # the machine was slow

    found: list[dict[str, Any]] = []
    until(lambda: found.extend(filter(None, [soon()])) or found)
    assert not found[0]["alone"]


def _began(worker: Worker, name: str) -> dict[str, Any]:
    worker.send(name)
    until(lambda: name in worker.finished())
    return worker.began()[-1]


def test_an_exception_reaches_every_request_of_its_batch(worker: Worker) -> None:
    with task_events(worker) as seen:
        worker.occupy()
        ids = [worker.send("bad", once="raise"), worker.send("neighbour")]
        worker.release(held=4)
        until(lambda: all("task-failed" in seen.get(each, []) for each in ids))
    until(worker.settled)
    worker.send("after")
    until(lambda: "after" in worker.finished())


def test_running_out_of_memory_fails_the_batch_and_not_the_worker(worker: Worker) -> None:
    with task_events(worker) as seen:
        failed = worker.send("greedy", once="memory")
        until(lambda: "task-failed" in seen.get(failed, []))
    worker.send("after")
    until(lambda: "after" in worker.finished())
    assert worker.process.poll() is None


def test_a_killed_pool_process_loses_nothing(worker: Worker) -> None:
    worker.occupy()
    names = {f"m{k}" for k in range(8)}
    for name in names - {"m0"}:
        worker.send(name)
    worker.send("m0", once="die")
    worker.release(held=10)
    until(lambda: names <= set(worker.finished()))
    until(worker.settled)
    finished = worker.finished()
    assert sorted(finished) == sorted(set(finished))

    worker.has_two_free_processes()


def test_a_cut_connection_loses_nothing_and_blocks_no_slot(worker: Worker) -> None:
    worker.occupy()
    names = {f"m{k}" for k in range(20)}
    for name in names:
        worker.send(name)
    until(lambda: worker.redis.hlen("unacked") == 22)

    _cut_every_connection(worker.redis)
    # Put back by the worker, and then taken again, the running ones too.
    worker.release(held=22)
    until(lambda: names <= set(worker.finished()), seconds=20)
    until(worker.settled, seconds=20)

    # What ran at the cut is delivered again, as our records expect; what waited ran once.
    finished = worker.finished()
    assert sorted(name for name in finished if name in names) == sorted(names)
    worker.has_two_free_processes()


def test_cuts_in_a_row_leave_the_worker_consuming(worker: Worker) -> None:
    cuts = 0
    for k in range(60):
        worker.send(f"m{k}", sleep=0.05)
        if k % 20 == 10:
            time.sleep(0.1)
            _cut_every_connection(worker.redis)
            cuts += 1
    # A cut may take a popped message with it, or the acknowledgement of one that has run: kombu's
    # gap, which our own records close. What counts here is that the worker goes on.
    until(
        lambda: not worker.redis.llen("interactive") and worker.redis.hlen("unacked") <= cuts,
        seconds=40,
    )
    time.sleep(1)  # ten times what a batch takes
    assert worker.redis.hlen("unacked") <= cuts
    worker.redis.delete("unacked", "unacked_index")
    for k in range(10):
        worker.send(f"after-{k}")
    until(lambda: {f"after-{k}" for k in range(10)} <= set(worker.finished()), seconds=20)
    until(worker.settled, seconds=20)
    worker.has_two_free_processes()


def test_revoked_and_expired_messages_take_no_slot(worker: Worker) -> None:
    worker.occupy()
    revoked = [worker.send(f"revoked-{k}") for k in range(7)]
    worker.send("expired", expires=3)  # time for the worker to take it
    worker.send("kept-0")
    worker.send("kept-1")
    until(lambda: worker.redis.hlen("unacked") == 12)
    # Answered: every revocation has arrived.
    assert worker.app.control.revoke(revoked, reply=True, timeout=5)
    time.sleep(3)
    worker.release(held=12)
    until(lambda: len(worker.finished()) == 4)

    # Seven of eight places would have gone to revoked messages.
    assert worker.began()[2]["names"] == ["kept-0", "kept-1"]
    until(worker.settled)


def test_task_events_show_each_message(worker: Worker) -> None:
    with task_events(worker) as seen:
        worker.occupy()
        ids = [worker.send(f"m{k}") for k in range(5)]
        worker.release(held=7)
        until(lambda: all("task-succeeded" in seen.get(each, []) for each in ids))
    for each in ids:
        assert seen[each] == ["task-received", "task-started", "task-succeeded"]


def test_a_batch_over_its_time_limit_is_killed_and_frees_its_slot(
    redis_url: str, redis: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIME_LIMIT", "1")
    with running_worker(redis_url, redis, tmp_path / "log") as worker:
        worker.send("stuck", sleep=60)
        until(lambda: worker.began())
        stuck = worker.began()[0]["pid"]
        until(lambda: not Path(f"/proc/{stuck}").exists(), seconds=15)
        worker.has_two_free_processes()


def test_a_stopping_worker_gives_back_what_waits(worker: Worker, tmp_path: Path) -> None:
    worker.occupy()
    for k in range(5):
        worker.send(f"m{k}")
    until(lambda: worker.redis.hlen("unacked") == 7)
    worker.process.send_signal(signal.SIGTERM)
    # It has heard the signal while both processes are busy, and its loop has turned once more.
    until(lambda: b"Warm shutdown" in (tmp_path / "log").read_bytes())
    time.sleep(0.2)
    worker.release(held=7)
    worker.process.wait(timeout=10)

    assert sorted(worker.finished()) == ["busy-0-0", "busy-0-1"]
    assert worker.redis.llen("interactive") == 5
    assert worker.redis.hlen("unacked") == 0


@contextmanager
def task_events(worker: Worker) -> Iterator[dict[str, list[str]]]:
    """Types of the task events seen so far, by task id, as Flower would hear them."""
    seen: dict[str, list[str]] = {}
    stop = threading.Event()

    def note(event: dict[str, Any]) -> None:
        if event["type"] != "task-sent":
            seen.setdefault(event["uuid"], []).append(event["type"])

    def follow() -> None:
        with worker.app.connection_for_read() as connection:
            receiver = worker.app.events.Receiver(connection, handlers={"*": _note_tasks(note)})
            while not stop.is_set():
                try:
                    receiver.capture(limit=None, timeout=0.2)
                except TimeoutError:
                    continue

    before = _subscriptions(worker.redis)
    thread = threading.Thread(target=follow)
    thread.start()
    try:
        until(lambda: _subscriptions(worker.redis) > before)
        yield seen
    finally:
        stop.set()
        thread.join()


def _subscriptions(redis: Redis) -> int:
    return int(redis.pubsub_numpat()) + len(redis.pubsub_channels("*"))


def _note_tasks(note: Callable[[dict[str, Any]], None]) -> Callable[[dict[str, Any]], None]:
    return lambda event: note(event) if event["type"].startswith("task-") else None


def _cut_every_connection(redis: Redis) -> None:
    """Cut all of Redis's clients but ourselves."""
    for kind in ("normal", "pubsub"):
        redis.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")
