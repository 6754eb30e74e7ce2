"""Whose turn it is, where programs share a machine's cores: web and Redis come before a worker.

A refusal, and the acceptance of a picture, must not wait until the pictures before it are computed.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from shared.jobs import Lane

#: As `nice` counts; web and Redis have 0. Of a core that all want, `interactive` gets a third of
#: what web gets, and `bulk` a fifth of that: a micro-batch must still end within its time limit.
#: Further from web, probes are quicker and a person's picture beside a full bulk lane is slower.
_NICENESS = {Lane.INTERACTIVE: 5, Lane.BULK: 12}

#: See sched(7): Linux shares cores out between sessions first, and `nice` counts within one only.
_AUTOGROUP = Path("/proc/self/autogroup")


def step_back(lane: Lane) -> None:
    """Let this process, and those that it starts, come after web and Redis of the same machine.

    Between containers it changes nothing: there Compose's `cpu_shares` and Kubernetes' requests do.
    """
    niceness = _NICENESS[lane]
    os.setpriority(os.PRIO_PROCESS, 0, max(niceness, os.getpriority(os.PRIO_PROCESS, 0)))
    if os.getsid(0) == os.getpid():  # in a terminal it would be the shell's session as well
        with suppress(OSError):  # not there, or not ours to say
            _AUTOGROUP.write_text(str(niceness))
