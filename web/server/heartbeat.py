"""The sign of life of a web process, which gunicorn's main process reads every second."""

from __future__ import annotations

import math
import time
from typing import Any

from gunicorn.workers.workertmp import WorkerTmp

#: A main process that has not read for longer was stopped itself.
_STOPPED_SECONDS = 5.0


class Heartbeat(WorkerTmp):  # type: ignore[misc]
    """A main process that was stopped together with the web process does not end it on waking."""

    def __init__(self, cfg: Any) -> None:
        super().__init__(cfg)
        self._awake_since = -math.inf
        self._read_at = time.monotonic()

    def last_update(self) -> float:
        """The time of the last sign of life, and at least the time when the main process woke."""
        now = time.monotonic()
        if now - self._read_at > _STOPPED_SECONDS:
            self._awake_since = now
        self._read_at = now
        return max(float(super().last_update()), self._awake_since)
