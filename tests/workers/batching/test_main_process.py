"""What reaches the main process of a worker is small, and what it sends does not hold it up."""

from __future__ import annotations

import os
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from billiard.reduction import ForkingPickler
from celery import Celery

from workers.batching import micro_batch
from workers.batching.batch import BatchFailed
from workers.batching.event_flush import send_events_once
from workers.batching.micro_batch import MicroBatch
from workers.batching.pool_process import run_batch

#: A message to the main process with at most so many bytes is written and read at once.
_AT_ONCE = 4096


def _deep(frames: int, error: Exception) -> None:
    if frames:
        _deep(frames - 1, error)
    raise error


@pytest.mark.parametrize("error", [ValueError("x" * 100_000), MemoryError()])
def test_the_error_of_a_batch_is_small(error: Exception) -> None:
    app = Celery("test", set_as_current=True)

    @app.task(name=f"fails with {type(error).__name__}")  # type: ignore[untyped-decorator]
    def fails(entries: list[Any], **_: Any) -> None:
        _deep(100, error)

    try:
        result = run_batch(1, fails.name, [["entry"]], ["id"], False, False, False)
    finally:
        app.close()
    failure, _ = result
    assert isinstance(failure, BatchFailed) and type(error).__name__ in str(failure)
    assert len(bytes(ForkingPickler.dumps((1, (5, None, (True, result), 7))))) < _AT_ONCE


class Pool:
    """Celery's pool, as far as its results are concerned. It notes what is read."""

    def __init__(self, fd: int, *, had_a_loop: bool) -> None:
        self._pool = self
        self._fileno_to_outq = {fd: "process"}
        self._registered_with_event_loop = had_a_loop
        self.read: list[bytes] = []

    def handle_result_event(self, fd: int) -> None:
        self.read.append(os.read(fd, 1))


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


@pytest.mark.parametrize("had_a_loop", [True, False])
def test_results_that_came_without_a_connection_are_read_at_the_next(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch, had_a_loop: bool
) -> None:
    """That is before the event loop runs. Its timers would come first, and kill a process."""

    class Task(MicroBatch):
        name = "batch"

    monkeypatch.setattr(micro_batch, "default_strategy", lambda *_, **__: "the strategy")
    pool = Pool(pipe[0], had_a_loop=had_a_loop)
    sent: list[dict[str, Any]] = []
    dispatcher = SimpleNamespace(
        send=lambda kind, **options: sent.append(options), on_send_buffered=None
    )
    consumer = SimpleNamespace(
        pool=pool, event_dispatcher=dispatcher, hub=None, timer=None, initial_prefetch_count=1
    )
    os.write(pipe[1], b"ar")  # accepted, and the result
    app = SimpleNamespace(conf=SimpleNamespace(task_time_limit=None))
    assert Task().start_strategy(app, consumer) == "the strategy"
    assert pool.read == ([b"a", b"r"] if had_a_loop else [])
    dispatcher.send("worker-heartbeat", retry=True)
    assert sent == [{"retry": False}]


def test_an_event_is_not_repeated_until_redis_takes_it() -> None:
    sent: list[dict[str, Any]] = []
    dispatcher = SimpleNamespace(send=lambda kind, **options: sent.append({kind: options}))
    send_events_once(SimpleNamespace(event_dispatcher=dispatcher))
    dispatcher.send("worker-heartbeat", freq=2, retry=True)
    assert sent == [{"worker-heartbeat": {"freq": 2, "retry": False}}]
    send_events_once(SimpleNamespace(event_dispatcher=None))  # events are off
