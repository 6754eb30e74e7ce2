"""How many messages of a worker's queue wait in the worker."""

from __future__ import annotations

import math
import time
from typing import Any

#: A batch that took so many seconds is long. One of 32 usual pictures takes a part of that.
_LONG_SECONDS = 0.5
#: After a long batch others are expected for so many seconds. Short ones may come in between.
_EXPECTED_SECONDS = 5.0


class Prefetch:
    """Sets how many messages the consumer has at most, with those that run.

    Several messages wait to fill the next batch. While batches are long, each message that waits
    delays all those of other clients behind it. Then only one waits, so that no process is idle.
    Messages that must run alone do not count.

    Celery changes this number for tasks with an ETA, and its event loop tells the broker. After a
    reconnect it sets the number anew, so it is not counted up and down here.
    """

    def __init__(self, *, one_if_long: bool) -> None:
        self._consumer: Any = None  #: None until there is a connection.
        self._one_if_long = one_if_long
        self._long_until = -math.inf

    def connect(self, consumer: Any) -> None:
        self._consumer = consumer

    def note_batch(self, seconds: float) -> None:
        """A batch of messages that need not run alone has ended after so many seconds."""
        if seconds >= _LONG_SECONDS:
            self._long_until = time.monotonic() + _EXPECTED_SECONDS

    def set(self, *, processes: int, alone: int) -> None:
        """`alone`: messages that must run alone and wait."""
        if self._consumer:
            usual = self._consumer.initial_prefetch_count
            if self._one_if_long and time.monotonic() < self._long_until:
                usual = min(usual, processes + 1)
            self._consumer.qos.value = usual + alone
