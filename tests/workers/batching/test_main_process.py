"""What reaches the main process of a worker is small, and what it sends does not hold it up."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from billiard.reduction import ForkingPickler
from celery import Celery

from workers.batching.batch import BatchFailed
from workers.batching.event_flush import send_events_once
from workers.batching.micro_batch import _run

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
        result = _run(fails.name, [["entry"]], ["id"], False, False)
    finally:
        app.close()
    failure, _ = result
    assert isinstance(failure, BatchFailed) and type(error).__name__ in str(failure)
    assert len(bytes(ForkingPickler.dumps((1, (5, None, (True, result), 7))))) < _AT_ONCE


def test_an_event_is_not_repeated_until_redis_takes_it() -> None:
    sent: list[dict[str, Any]] = []
    dispatcher = SimpleNamespace(send=lambda kind, **options: sent.append({kind: options}))
    send_events_once(SimpleNamespace(event_dispatcher=dispatcher))
    dispatcher.send("worker-heartbeat", freq=2, retry=True)
    assert sent == [{"worker-heartbeat": {"freq": 2, "retry": False}}]
    send_events_once(SimpleNamespace(event_dispatcher=None))  # events are off
