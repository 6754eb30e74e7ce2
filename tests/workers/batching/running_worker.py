"""A real Celery worker of `batching_app`, with two pool processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from celery import Celery
from redis import Redis

from shared.message import IMAGES
from shared.settings import Settings
from tests.support.servers import redis_users
from workers.celery_app import make_celery

_HERE = Path(__file__).parent
_ROOT = _HERE.parents[2]


class Worker:
    def __init__(self, process: subprocess.Popen[bytes], app: Celery, redis: Redis) -> None:
        self.process = process
        self.app = app
        self.redis = redis

    def send(self, name: str, *, images: int = 1, **options: Any) -> str:
        """Send a message with one entry; returns its task id."""
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

    def run(self, name: str) -> dict[str, Any]:
        """Send a message and wait for its end; returns how its batch began."""
        self.send(name)
        until(lambda: name in self.finished())
        return next(each for each in self.began() if name in each["names"])

    def pool_processes(self) -> list[int]:
        main = self.process.pid
        children = Path(f"/proc/{main}/task/{main}/children").read_text()
        return [int(process) for process in children.split()]

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
        """Open the gate once the worker holds this many messages, the running ones included."""
        until(lambda: self.redis.hlen("unacked") == held)
        self.redis.set("open", 1)

    def has_two_free_processes(self) -> None:
        """Fail unless two batches run side by side."""
        self.forget()
        self.occupy()
        self.release(held=2)
        until(lambda: len(self.finished()) == 2)

    def settled(self) -> bool:
        """Whether no message waits or is unacknowledged."""
        return not self.redis.llen("interactive") and not self.redis.hlen("unacked")

    def forget(self) -> None:
        """Delete what earlier batches have recorded."""
        self.redis.delete("began", "runs", "open")


@contextmanager
def running_worker(redis_url: str, redis: Redis, log: Path) -> Iterator[Worker]:
    """The worker has the rights of the Redis user `worker`."""
    redis_users.create(redis)
    redis.acl_log_reset()
    url = redis_users.address(redis_url, "worker")
    environment = os.environ | {"REDIS_URL": url, "PYTHONPATH": f"{_ROOT}:{_HERE}"}
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
        worker.run("ready")
        worker.forget()
        yield worker
        assert not redis_users.refusals(redis)
    finally:
        app.close()
        if process.poll() is None:  # A test may have stopped it, and its id may be in use again.
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        # The BRPOP of a dead worker would take the next test's first message.
        until(lambda: not redis.info("clients")["blocked_clients"])


def until(condition: Callable[[], object], seconds: float = 30) -> None:
    """Wait for a condition. The time only ends a test that would hang."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition was not met"
        time.sleep(0.01)


@contextmanager
def task_events(worker: Worker) -> Iterator[dict[str, list[str]]]:
    """The types of the task events that Flower would receive, by task id."""
    seen: dict[str, list[str]] = {}
    stop = threading.Event()

    def note(event: dict[str, Any]) -> None:
        if event["type"].startswith("task-") and event["type"] != "task-sent":
            seen.setdefault(event["uuid"], []).append(event["type"])

    def follow() -> None:
        with worker.app.connection_for_read() as connection:
            receiver = worker.app.events.Receiver(connection, handlers={"*": note})
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
