"""Celery's consumer, which waits for a Redis that is away or refuses writes."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from celery.worker import state
from celery.worker.consumer import Consumer as CeleryConsumer
from kombu import Queue

logger = logging.getLogger(__name__)

_RETRY_SECONDS = 1.0


class Consumer(CeleryConsumer):  # type: ignore[misc]
    """Connects again within a second, where Celery's own pauses grow to half a minute.

    It logs the reason once, and once more when the reason changes.
    """

    #: Called at each attempt, because timers stand still while the consumer waits.
    while_waiting: Callable[[], None] = staticmethod(lambda: None)

    def consume_also(self, queue: str) -> None:
        """Consume another queue from now on, over reconnects, too. A second call changes nothing.

        Call it in the event loop, which runs only while there is a connection.
        """
        queues = self.app.amqp.queues
        if queue not in queues:
            queues.add(Queue(queue))
            self.add_task_queue(queue)

    def ensure_connected(self, conn: Any) -> Any:
        """Called by Celery with each new connection. Returns it once Redis accepts writes."""
        reason = ""
        while True:
            try:
                conn.ensure_connection(max_retries=0, reraise_as_library_errors=False)
                break
            except conn.recoverable_connection_errors as error:
                if reason != str(error):
                    reason = str(error)
                    logger.error("waiting for Redis at %s: %s", conn.as_uri(), reason)
            self.while_waiting()
            time.sleep(_RETRY_SECONDS)
            state.maybe_shutdown()
        if reason:
            logger.warning("Redis accepts writes again")
        self.first_connection_attempt = False
        return conn
