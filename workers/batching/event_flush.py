"""Sends Celery's events in groups, and never waits for Redis with one.

Celery flushes its buffer of task events in the next pass of its event loop. That is a publish to
Redis for nearly every event, and the event `task-received` delays its message on the way to a free
process. Flower does not need its events sooner than after 50 ms.

Celery repeats an event of the worker, such as its heartbeat, until Redis takes it. Meanwhile the
event loop stands still: no result of a pool process is read, and the worker seems dead.
"""

from __future__ import annotations

from typing import Any

_SECONDS = 0.05


def send_events_once(consumer: Any) -> None:
    """Let the consumer's event dispatcher keep an event that Redis does not take.

    It sends the event after the next connect. Call this at every connect, as the function below.
    """
    dispatcher = consumer.event_dispatcher
    if dispatcher:
        send = dispatcher.send
        dispatcher.send = lambda *args, **options: send(*args, **options | {"retry": False})


def flush_events_together(consumer: Any) -> None:
    """Make the consumer's event dispatcher flush at most once in `_SECONDS`.

    Call it at every connect, because the consumer then has a new dispatcher. A full buffer is still
    sent at once.
    """
    dispatcher, hub = consumer.event_dispatcher, consumer.hub
    if not (dispatcher and dispatcher.on_send_buffered and hub):
        return  # Events are off, or there is no event loop.
    waiting = False

    def flush() -> None:
        nonlocal waiting
        waiting = False
        dispatcher.flush()

    def flush_soon() -> None:
        nonlocal waiting
        if not waiting:
            waiting = True
            hub.call_later(_SECONDS, flush)

    dispatcher.on_send_buffered = flush_soon
