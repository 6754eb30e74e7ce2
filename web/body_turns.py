"""Bodies are read in turns: who sends as fast as it is read would leave nobody else served."""

from __future__ import annotations

import threading
import time
from collections import deque
from pathlib import Path

import gevent

#: What may be read without asking: of a picture of usual size, and of one that comes slowly and
#: lets others go on by itself.
_FREE_BYTES = 2**18

#: How long a body is read after that, and how long it waits then. A pause of 0 would only let go on
#: who has begun: gevent looks for what else has come a thousand such later.
_TURN_SECONDS = 0.01
_SHORTEST_SECONDS = 0.0001

#: Where cores are short, to take in more of what is to be done would leave less of it done, and web
#: without a core for refusals. The pause is so many times what the turn waited for a core, and the
#: more, the more people come. A folder that is uploaded to a busy machine pays for the first only.
_PATIENCE = 30
_MOST_PATIENCE = 100

#: When the latest requests came.
_came: deque[float] = deque(maxlen=_MOST_PATIENCE)

#: Held in the pause: after each look for what else has come, one body goes on. Were it all of them,
#: a refusal would wait for as many turns as there are uploads.
_pause = threading.Lock()

#: Nanoseconds that the main thread has run, and has waited for a core; see proc(5).
_SCHEDULED = Path("/proc/self/schedstat")


def request_came() -> None:
    """Of whatever kind: somebody wants an answer."""
    _came.append(time.monotonic())


class BodyTurns:
    """Of one body."""

    def __init__(self) -> None:
        self._read = 0
        self._turn: _Turn | None = None

    def add(self, read: int) -> None:
        """After bytes were read. Lets others go on where the turn is over."""
        self._read += read
        if self._read < _FREE_BYTES:
            return
        if self._turn is None:
            self._turn = _Turn()
        elif (seconds := self._turn.pause()) is not None:
            with _pause:
                gevent.sleep(seconds)
            self._read, self._turn = 0, None


class _Turn:
    def __init__(self) -> None:
        self._began = time.monotonic()
        self._waited = _waited_for_core()

    def pause(self) -> float | None:
        """Seconds to wait; None where the turn is not over yet."""
        now = time.monotonic()
        lasted = now - self._began
        if lasted < _TURN_SECONDS:
            return None
        # Of a turn in which a slow client was waited for, as of one of the usual length.
        waited = (_waited_for_core() - self._waited) * _TURN_SECONDS / lasted
        came = sum(now - each < 1 for each in _came)
        return max(_SHORTEST_SECONDS, max(_PATIENCE, came) * waited)


def _waited_for_core() -> float:
    """Seconds so far; 0 where the kernel does not count them."""
    try:
        return int(_SCHEDULED.read_text().split()[1]) / 1e9
    except OSError:
        return 0.0
