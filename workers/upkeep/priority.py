"""The priority of a worker on a machine that it shares with web and Redis.

Web and Redis come first. To accept or refuse a picture must not take until earlier pictures are
classified.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from shared.jobs import Lane

#: Nice values; web and Redis have 0. On a busy core `interactive` gets a third of web's share, and
#: `bulk` two fifths of that. With less, a client with heavy single pictures would take nearly all
#: from the jobs of others. Higher values make probes faster, but an interactive picture slower
#: while the bulk lane is full.
_NICENESS = {Lane.INTERACTIVE: 5, Lane.BULK: 9}

#: Linux first divides the cores between sessions. `nice` counts only within one. See sched(7).
_AUTOGROUP = Path("/proc/self/autogroup")
#: Only root may set it at any time. All others together may do so once in 0.1 s, and the workers of
#: a machine start together.
_ATTEMPTS, _PAUSE_SECONDS = 20, 0.1


def lower_for(lane: Lane) -> None:
    """Give a worker of this lane a lower priority than web and Redis."""
    lower(_NICENESS[lane])


def lower(niceness: int) -> None:
    """Give this process and its children this nice value, unless they have a higher one.

    Between containers this has no effect. There, Compose's `cpu_shares` and the requests of
    Kubernetes set the priority.
    """
    os.setpriority(os.PRIO_PROCESS, 0, max(niceness, os.getpriority(os.PRIO_PROCESS, 0)))
    if os.getsid(0) == os.getpid():  # In a terminal this would be the shell's session.
        _lower_session(niceness)


def _lower_session(niceness: int) -> None:
    for _ in range(_ATTEMPTS):
        try:
            _AUTOGROUP.write_text(str(niceness))
            return
        except BlockingIOError:  # Another worker has just set its own.
            time.sleep(_PAUSE_SECONDS)
        except OSError:  # The file is missing or read-only.
            return
