"""Sends Celery's task events in groups.

Celery flushes its buffer of task events in the next pass of its event loop. That is a publish to
Redis for nearly every event, and the event `task-received` delays its message on the way to a free
process. Flower does not need its events sooner than after 50 ms.
"""

from __future__ import annotations

from typing import Any

_SECONDS = 0.05


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
