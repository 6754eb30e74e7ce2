"""Bodies are read in turns: who sends as fast as it is read would leave nobody else served."""

from __future__ import annotations

import math
import threading
import time
from pathlib import Path

import gevent

#: Reads without a pause before them: a picture of usual size, by 64 KiB. Somebody waits for it, and
#: would wait for all folders that are being uploaded.
_FREE_READS = 4

#: How long a body is read while others wait, and how long it waits for them then. A pause of 0
#: would only let go on who has begun: gevent looks for what else has come a thousand such later.
_TURN_SECONDS = 0.003
_PAUSE_SECONDS = 0.0001

#: Where cores are short, taking in more of what is to be done would leave less of it done, and web
#: without a core for refusals. The pause is so many times what a turn waited for a core; at most:
_PATIENCE = 30
_LONGEST_PAUSE_SECONDS = 0.3

#: Held in the pause: after each look for what else has come, one body goes on. Were it all of them,
#: a refusal would wait for as many turns as there are uploads.
_pause = threading.Lock()

#: Nanoseconds that this thread has run, and has waited for a core; see proc(5).
_SCHEDULED = Path("/proc/thread-self/schedstat")


class BodyTurns:
    """Of one body."""

    def __init__(self) -> None:
        self._free = _FREE_READS
        self._ends = math.inf
        self._waited = 0.0

    def take(self) -> None:
        """Before each read. The first turn begins here; where one is over, others go on."""
        if self._free:
            self._free -= 1
            return
        if time.monotonic() > self._ends:
            waited = _waited_for_core() - self._waited
            pause = min(max(_PAUSE_SECONDS, _PATIENCE * waited), _LONGEST_PAUSE_SECONDS)
            with _pause:
                gevent.sleep(pause)
            self._ends = math.inf
        if self._ends == math.inf:
            self._ends = time.monotonic() + _TURN_SECONDS
            self._waited = _waited_for_core()


def _waited_for_core() -> float:
    """Seconds so far; 0 where the kernel does not count them."""
    try:
        return int(_SCHEDULED.read_text().split()[1]) / 1e9
    except OSError:
        return 0.0
