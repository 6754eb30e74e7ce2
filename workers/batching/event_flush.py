"""Task events leave together, not one by one.

Celery buffers task events and flushes them in the next turn of its loop: a publish to Redis for
nearly every event, and the one for `task-received` stands between a message and the free process
that waits for it. Flower does not mind a twentieth of a second.
"""

from __future__ import annotations

from typing import Any

_SECONDS = 0.05


def flush_events_together(consumer: Any) -> None:
    """Let the consumer's present event dispatcher flush at most once in `_SECONDS`.

    To be called at every connect: the dispatcher is another one then. A full buffer still leaves
    at once.
    """
    dispatcher, hub = consumer.event_dispatcher, consumer.hub
    if not (dispatcher and dispatcher.on_send_buffered and hub):
        return  # events are off, or there is no event loop to wait in
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
